"""CounterSampler: (epoch, index) keys in an order that is a pure function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Sized

import numpy as np

from mmssl.datasets.samplers.keyed_sampler import KeyedSampler
from mmssl.datasets.transforms import shuffled_positions
from mmssl.registry import SAMPLERS


@SAMPLERS.register_module()
class CounterSampler(KeyedSampler):
    """Every image once in an epoch; see `KeyedSampler` for resuming and workers.

    Rank r of R takes every R-th position from r on, so R processes of batch B see the same images
    per step as one process of batch R * B.

    Args:
        dataset: See `KeyedSampler`.
        shuffle: New order in every epoch; otherwise 0, 1, 2, ...
        seed: See `KeyedSampler`.
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
        super().__init__(dataset, seed=seed, rank=rank, world_size=world_size)
        self.shuffle = shuffle
        self.drop_last = drop_last
        if len(self) == 0:
            raise ValueError(
                f"The dataset has {self.length} images, too few for {self.world_size} processes."
            )

    def __len__(self) -> int:
        """Number of keys of a whole epoch on this rank, whatever is skipped."""
        whole, rest = divmod(self.length, self.world_size)
        return whole if self.drop_last or not rest else whole + 1

    def keys(self, epoch: int, start: int) -> tuple[np.ndarray, np.ndarray]:
        """The epoch, and the images in its order."""
        if self.shuffle:
            order = shuffled_positions(self.length, self.seed, epoch)
        else:
            order = np.arange(self.length)
        # Positions wrap around to the start of the order where ranks do not divide the length.
        positions = (np.arange(start, len(self)) * self.world_size + self.rank) % self.length
        indices = order[positions]
        return np.broadcast_to(epoch, indices.shape), indices
