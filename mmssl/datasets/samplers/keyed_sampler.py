"""KeyedSampler: what samplers of (epoch, index) keys share: ranks, the seed, resuming inside an epoch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sized

import numpy as np
from torch.utils.data import Sampler

from mmssl.ops import collectives


class KeyedSampler(Sampler):
    """Yields `(epoch, index)`: all that a dataset of mmssl needs to render a sample.

    Since the epoch travels with every key, persistent workers need not be told of it, and a resumed
    run continues in mid-epoch after `skip`, without loading what it skips. A subclass says how long
    an epoch is on this rank (`__len__`) and what its keys are (`keys`).

    Args:
        dataset: Anything with a length. If it has an attribute `seed` that is None, it gets the
            seed of this sampler: that is how the seed of the runner reaches the views.
        seed: Seed of the run (the runner passes its own); None means 0. The loop of a resumed run
            sets the attribute again.
        rank: Of this process; default: the process group's.
        world_size: Number of processes; default: the process group's.
    """

    def __init__(
        self, dataset: Sized, *, seed: int | None, rank: int | None, world_size: int | None
    ) -> None:
        self.length = len(dataset)
        self.seed = 0 if seed is None else int(seed)
        self.rank = collectives.rank() if rank is None else rank
        self.world_size = collectives.world_size() if world_size is None else world_size
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank must lie in 0..{self.world_size - 1}, got {self.rank}.")
        self.epoch = 0
        self._skip = 0
        if getattr(dataset, "seed", 0) is None:
            setattr(dataset, "seed", self.seed)  # noqa: B010 - `Sized` declares no such attribute

    @abstractmethod
    def __len__(self) -> int:
        """Number of keys of a whole epoch on this rank, whatever is skipped."""

    @abstractmethod
    def keys(self, epoch: int, start: int) -> tuple[np.ndarray, np.ndarray]:
        """First and second numbers of the keys of `epoch`, without the first `start`: two int64 arrays."""

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The keys of the current epoch behind the skipped ones; the skip counts once."""
        start, self._skip = self._skip, 0
        epochs, indices = self.keys(self.epoch, start)
        return ((int(epoch), int(index)) for epoch, index in zip(epochs, indices, strict=True))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass."""
        self.epoch = int(epoch)

    def skip(self, num_samples: int) -> None:
        """Begin the next pass behind the first `num_samples` keys of this rank.

        Raises:
            ValueError: The epoch has fewer keys.
        """
        if not 0 <= num_samples <= len(self):
            raise ValueError(
                f"Cannot skip {num_samples} samples of an epoch with {len(self)} on this rank."
            )
        self._skip = num_samples
