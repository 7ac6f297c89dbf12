"""Files that are the old or the new one, whatever happens in between: a kill, a full disk, a reader."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """A file to write in place of another, which it replaces at the end; an error leaves the old one.

    Args:
        path: Of the file; its folder is made. What is to be written has the same suffix, and a name of this
            process alone.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "figures.json"
        >>> with written_whole(path) as partial:
        ...     _ = partial.write_text("{}")
        >>> path.read_text(), len(list(path.parent.iterdir()))
        ('{}', 1)
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text_atomically(path: str | Path, text: str) -> Path:
    """Write a text file in UTF-8 by `written_whole`, and return its path."""
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return Path(path)
