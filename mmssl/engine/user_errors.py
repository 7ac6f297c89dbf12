"""Which errors concern whoever started a tool, and need a sentence instead of a traceback."""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

import mmssl
from mmssl.datasets.bad_files import TooManyBadFilesError
from mmssl.datasets.decode import UnreadableImageError

# what a full or locked disk says, and Pillow and matplotlib of a file name that names no picture format
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_NO_FORMAT = ("unknown file extension", "Format '")
_PACKAGE = Path(mmssl.__file__).resolve().parent
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)
# whoever raises them: of an image, of the machine
_TOLD = (TooManyBadFilesError, UnreadableImageError, torch.OutOfMemoryError)


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
    if isinstance(error, (*_ABSENT, *_TOLD)):
        return True
    if isinstance(error, OSError) and error.errno in _DISK:
        return True
    if isinstance(error, ValueError) and str(error).startswith(_NO_FORMAT):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return False
    source, line = Path(frames[-1].filename).resolve(), frames[-1].line or ""
    checked = [_PACKAGE] if tools is None else [_PACKAGE, tools.resolve()]
    return any(map(source.is_relative_to, checked)) and line.startswith("raise ")


@contextmanager
def told_errors(tool: str, *, start: str = "error: ") -> Iterator[None]:
    """End a program with one line where an error is one of its user's; others keep their traceback.

    Args:
        tool: `__file__` of the program, whose own checks count too.
        start: Of the line.

    Raises:
        SystemExit: With status 1, for an error of the user's (`is_user_error`).
    """
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, *_TOLD) as error:
        if not is_user_error(error, tools=Path(tool).parent):
            raise
        # the text of a KeyError is the representation of its message
        sys.exit(f"{start}{error.args[0] if isinstance(error, KeyError) else error}")
