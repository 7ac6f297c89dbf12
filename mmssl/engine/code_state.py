"""Which code a result was found with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path


def code_state(root: Path, folders: Sequence[str]) -> str:
    """A short name of the Python files of a checkout as they are, committed or not.

    Args:
        root: The checkout.
        folders: Folders in it whose `.py` files count, at any depth.
    """
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
