"""BadFiles: the unreadable files of a dataset, counted across its worker processes and the ranks."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from mmengine.logging import print_log
from torch import Tensor

from mmssl.ops.collectives import union

# Before a whole epoch has shown the true share, the run stops only on clear evidence: this many bad
# files, making up twice the allowed share of those tried (about ten standard deviations above it).
_EARLY_COUNT = 100
_EARLY_FACTOR = 2.0
_LISTED = 20


class TooManyBadFilesError(RuntimeError):
    """More files are unreadable than the configured share.

    Args:
        message: Says which; an error of a loader's worker is raised again with its traceback in front,
            which is left out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.rpartition(f"{type(self).__name__}: ")[2].strip())


class BadFiles:
    """Marks of the files that were tried and of those that failed, in shared memory.

    One byte per image, written by the worker that meets it and read by all: marking twice is
    harmless, so no lock is needed, and the count in the main process is that of all workers. Ranks
    share theirs in `merge_ranks`, which `BadFilesHook` calls after every epoch.

    Args:
        length: Number of images.
        max_ratio: Share of the dataset that may be unreadable.
        name: What messages call the dataset.
        path: Gives the path of an index, for messages.
    """

    def __init__(
        self, length: int, max_ratio: float, *, name: str, path: Callable[[int], str]
    ) -> None:
        if not 0.0 <= max_ratio <= 1.0:
            raise ValueError(f"max_bad_ratio must lie in [0, 1], got {max_ratio}.")
        self.max_ratio = max_ratio
        self._name = name
        self._path = path
        self._tried: Tensor = torch.zeros(length, dtype=torch.bool).share_memory_()
        self._bad: Tensor = torch.zeros(length, dtype=torch.bool).share_memory_()
        # numpy's view of the same memory: a single byte is written ten times faster
        self._tried_bytes = self._tried.numpy()
        self._bad_bytes = self._bad.numpy()

    def __getstate__(self) -> dict:
        state = self.__dict__.copy()
        # Views of shared memory; pickled to a spawned worker they would become copies.
        del state["_tried_bytes"], state["_bad_bytes"]
        return state

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._tried_bytes = self._tried.numpy()
        self._bad_bytes = self._bad.numpy()

    def __len__(self) -> int:
        """Number of files found unreadable so far, by any worker."""
        return int(self._bad.sum())

    def __contains__(self, index: int) -> bool:
        return bool(self._bad_bytes[index])

    def indices(self) -> list[int]:
        """The unreadable files so far."""
        return self._bad.nonzero().flatten().tolist()

    def note_tried(self, index: int) -> None:
        """Remember that an image was asked for."""
        self._tried_bytes[index] = True

    def add(self, index: int, reason: str) -> None:
        """Note an unreadable file and log it once.

        Raises:
            TooManyBadFilesError: The share of unreadable files is above the configured one.
        """
        if index not in self:
            self._bad_bytes[index] = True
            print_log(
                f"Skipped an unreadable image: {self._path(index)} ({reason})",
                logger="current",
                level=logging.WARNING,
            )
        self.check()

    def merge_ranks(self) -> None:
        """Add the marks of all ranks to those of this one; every rank has to call it."""
        self._tried |= union(self._tried)
        self._bad |= union(self._bad)

    def check(self) -> None:
        """Stop if there are too many.

        Raises:
            TooManyBadFilesError: The share of unreadable files is above the configured one.
        """
        count, total, tried = len(self), self._bad.numel(), int(self._tried.sum())
        certain = count > self.max_ratio * total
        evident = count >= _EARLY_COUNT and count > _EARLY_FACTOR * self.max_ratio * tried
        if certain or evident:
            raise TooManyBadFilesError(self._summary(count, tried, total))

    def _summary(self, count: int, tried: int, total: int) -> str:
        listed = [f"  {self._path(index)}" for index in self.indices()[:_LISTED]]
        if count > _LISTED:
            listed.append(f"  ... and {count - _LISTED} more (each is in the log)")
        return (
            f"{count} of the {tried} images of {self._name} read so far ({total} in all) are "
            f"unreadable, more than max_bad_ratio={self.max_ratio:g} allows. Repair or remove "
            "them, or raise max_bad_ratio:\n" + "\n".join(listed)
        )
