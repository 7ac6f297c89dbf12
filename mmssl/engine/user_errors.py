"""Which errors concern whoever started a tool, and need a sentence instead of a traceback."""

from __future__ import annotations

import traceback
from pathlib import Path

import mmssl
from mmssl.datasets.bad_files import TooManyBadFilesError

_PACKAGE = Path(mmssl.__file__).resolve().parent
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)


def is_user_error(error: Exception, *, tools: Path | None = None) -> bool:
    """Whether an error is the answer of one of our checks, or a file that cannot be had.

    A check ends in a `raise` of this package, whose message says what to do. A `ValueError` that
    Python or another library raises, for instance in an assignment of too many values, comes from a
    bug, and its traceback must be seen.

    Args:
        error: As it was caught, with its traceback.
        tools: Folder of the program that runs, whose checks count too; `None` if it has none.
    """
    # an error of a loader's worker is raised again by torch
    if isinstance(error, (*_ABSENT, TooManyBadFilesError)):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return False
    source, line = Path(frames[-1].filename).resolve(), frames[-1].line or ""
    checked = [_PACKAGE] if tools is None else [_PACKAGE, tools.resolve()]
    return any(map(source.is_relative_to, checked)) and line.startswith("raise ")
