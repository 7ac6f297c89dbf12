"""One program at a time in a folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Hold a folder that other programs with the same wish stay out of.

    The lock ends with its holder, however that ends, and with the last process that inherited the
    descriptor (`pass_fds` of `subprocess.Popen`): what a killed program left behind still holds the folder.

    Args:
        folder: It exists.

    Yields:
        The descriptor of the lock.

    Raises:
        BlockingIOError: Another program has it.
    """
    descriptor = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(
                f"Another call is at work in {folder}, or a command that a killed one left behind: wait "
                "for it, end it, or take another folder."
            ) from None
        yield descriptor
    finally:
        os.close(descriptor)
