"""PathTable: many file names in two arrays instead of a list of objects."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable

import numpy as np


class PathTable:
    """An immutable sequence of paths.

    A list of a million strings is copied page by page into every forked worker, because reading an
    object writes its reference count. Here all names lie in one byte array, which stays shared.

    Args:
        paths: The paths, in order.

    Example:
        >>> table = PathTable(["a.png", "b/c.png"])
        >>> len(table), table[1]
        (2, 'b/c.png')
    """

    def __init__(self, paths: Iterable[str]) -> None:
        encoded = [os.fsencode(path) for path in paths]
        self._ends = np.cumsum([len(path) for path in encoded], dtype=np.int64)
        self._bytes = np.frombuffer(b"".join(encoded), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"Position {index} of {len(self)} paths.")
        start = self._ends[index - 1] if index else 0
        return os.fsdecode(self._bytes[start : self._ends[index]].tobytes())

    def digest(self) -> bytes:
        """SHA-256 of all paths in their order."""
        found = hashlib.sha256(self._ends)
        found.update(self._bytes)
        return found.digest()
