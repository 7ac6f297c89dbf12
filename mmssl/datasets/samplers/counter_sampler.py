"""CounterSampler: (epoch, index) keys in an order that is a pure function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Iterator, Sized

import numpy as np
from torch.utils.data import Sampler

from mmssl.datasets.transforms import shuffled_positions
from mmssl.ops import collectives
from mmssl.registry import SAMPLERS


@SAMPLERS.register_module()
class CounterSampler(Sampler):
    """Yields `(epoch, index)`: all that a dataset of mmssl needs to render a sample.

    Rank r of R takes every R-th position from r on, so R processes of batch B see the same images
    per step as one process of batch R * B. Since the epoch travels with every key, persistent
    workers need not be told of it, and a resumed run continues in mid-epoch after `skip`, without
    loading what it skips.

    Args:
        dataset: Anything with a length. If it has an attribute `seed` that is None, it gets the
            seed of this sampler: that is how the seed of the runner reaches the views.
        shuffle: New order in every epoch; otherwise 0, 1, 2, ...
        seed: Seed of the run (the runner passes its own); None means 0.
        drop_last: When the ranks do not divide the dataset: True drops the tail, False repeats
            images from the beginning.
        rank: Of this process; default: the process group's.
        world_size: Number of processes; default: the process group's.

    Example:
        >>> sampler = CounterSampler(range(3), shuffle=False)
        >>> sampler.set_epoch(5)
        >>> list(sampler)
        [(5, 0), (5, 1), (5, 2)]
    """

    def __init__(
        self,
        dataset: Sized,
        shuffle: bool = True,
        *,
        seed: int | None = None,
        drop_last: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        self.length = len(dataset)
        self.shuffle = shuffle
        self.seed = 0 if seed is None else int(seed)
        self.drop_last = drop_last
        self.rank = collectives.rank() if rank is None else rank
        self.world_size = collectives.world_size() if world_size is None else world_size
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank must lie in 0..{self.world_size - 1}, got {self.rank}.")
        self.epoch = 0
        self._skip = 0
        if getattr(dataset, "seed", 0) is None:
            setattr(dataset, "seed", self.seed)  # noqa: B010 - `Sized` declares no such attribute
        if len(self) == 0:
            raise ValueError(
                f"The dataset has {self.length} images, too few for {self.world_size} processes."
            )

    def __len__(self) -> int:
        """Number of keys of a whole epoch on this rank, whatever is skipped."""
        whole, rest = divmod(self.length, self.world_size)
        return whole if self.drop_last or not rest else whole + 1

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The keys of the current epoch behind the skipped ones; the skip counts once."""
        epoch, start, self._skip = self.epoch, self._skip, 0
        if self.shuffle:
            order = shuffled_positions(self.length, self.seed, epoch)
        else:
            order = np.arange(self.length)
        # Positions wrap around to the start of the order where ranks do not divide the length.
        positions = (np.arange(start, len(self)) * self.world_size + self.rank) % self.length
        return ((epoch, int(index)) for index in order[positions])

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
