"""A place for the features of a data set while they are extracted: the memory, or a file on a disk.

The file is for sets larger than the memory: the operating system reads and writes its pages as they are used.
n images with D values take n * D * 4 bytes (2 in float16).
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

DTYPES = {"float32": torch.float32, "float16": torch.float16}


class FeatureStore:
    """A matrix of features that closes itself.

    Args:
        num_rows: n, of this rank.
        dim: D.
        folder: Where to make the file; made if missing. `None` keeps the rows in memory. The file has no
            name: it is gone when the store is closed or the process ends, however that happens.
        dtype: `"float32"`, or `"float16"` for half the size at a precision of three digits.

    Raises:
        ValueError: Sizes below 0, or an unknown `dtype`.
        OSError: The folder cannot be written, or its disk has not enough space.

    Example:
        >>> with FeatureStore(2, 3) as store:
        ...     store.rows[torch.tensor([1])] = torch.ones(1, 3)
        ...     store.rows.tolist()
        [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """

    def __init__(
        self, num_rows: int, dim: int, *, folder: str | Path | None = None, dtype: str = "float32"
    ) -> None:
        if num_rows < 0 or dim < 1 or dtype not in DTYPES:
            raise ValueError(
                f"A store of features needs num_rows >= 0, dim >= 1 and dtype {' or '.join(DTYPES)}; "
                f"got {num_rows}, {dim} and {dtype!r}."
            )
        shape, kind = (num_rows, dim), DTYPES[dtype]
        if folder is None or num_rows == 0:
            self._rows: Tensor | None = torch.zeros(shape, dtype=kind)
        else:
            self._rows = _mapped(shape, kind, Path(folder))

    @property
    def rows(self) -> Tensor:
        """(n, D) the features, to be written by position and read; zeros at first.

        Raises:
            RuntimeError: The store is closed.
        """
        if self._rows is None:
            raise RuntimeError("The store of features is closed; read its rows before.")
        return self._rows

    def close(self) -> None:
        """Give the memory or the file back."""
        self._rows = None

    def __enter__(self) -> FeatureStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _mapped(shape: tuple[int, int], dtype: torch.dtype, folder: Path) -> Tensor:
    """A tensor in a file without a name, whose space on the disk is taken at once.

    Taken later, a full disk would kill the process (SIGBUS) instead of raising an error.
    """
    size = math.prod(shape) * dtype.itemsize
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix="features-", suffix=".bin", dir=folder)
    try:
        try:
            os.posix_fallocate(handle, 0, size)
        except OSError as error:
            free = shutil.disk_usage(folder).free
            raise OSError(
                error.errno,
                f"{folder} cannot take {size:,} bytes of features ({free:,} are free): "
                f"{error.strerror}. Choose a folder on another disk, or float16 for half the size "
                "(ClusterHook: store_dtype='float16')",
            ) from error
        return torch.from_file(name, shared=True, size=math.prod(shape), dtype=dtype).view(shape)
    finally:
        os.close(handle)
        os.unlink(name)
