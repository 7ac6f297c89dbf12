"""ViewRandom: the random numbers of one view, a pure function of (seed, epoch, index, view)."""

from __future__ import annotations

import numpy as np

_MASK = (1 << 64) - 1
_BLOCK = 32


class ViewRandom:
    """A counter-based stream of random numbers (Philox 4x64) addressed by four integers.

    Nothing is remembered between views, so the same address gives the same numbers in any worker,
    on any rank, with any batch size, today and after a resume. All draws are derived from uniform
    doubles (53 bits of one Philox word each), never from numpy's distributions, whose streams may
    change between numpy versions.

    Args:
        seed: Seed of the run.
        epoch: Epoch, counted from 0.
        index: Position of the image in the dataset.
        view: Position of the view among the views of the image.

    Example:
        >>> first, again = ViewRandom(7, 0, 3, 1), ViewRandom(7, 0, 3, 1)
        >>> first.uniform(2.0, 4.0) == again.uniform(2.0, 4.0)
        True
    """

    __slots__ = ("_block", "_generator")

    def __init__(self, seed: int, epoch: int = 0, index: int = 0, view: int = 0) -> None:
        # The low counter words advance with the draws; the address sits in the high ones.
        self._generator = np.random.Generator(
            np.random.Philox(
                key=np.array([seed & _MASK, epoch & _MASK], dtype=np.uint64),
                counter=np.array([0, 0, index & _MASK, view & _MASK], dtype=np.uint64),
            )
        )
        self._block: list[float] = []

    def random(self) -> float:
        """The next uniform number in [0, 1)."""
        if not self._block:
            self._block = self._generator.random(_BLOCK).tolist()
            self._block.reverse()
        return self._block.pop()

    def uniform(self, low: float, high: float) -> float:
        """A uniform number in [low, high)."""
        return low + (high - low) * self.random()

    def integer(self, low: int, high: int) -> int:
        """A uniform integer in [low, high], both ends included."""
        return low + int(self.random() * (high - low + 1))

    def chance(self, prob: float) -> bool:
        """True with probability `prob`; always consumes one number."""
        return self.random() < prob

    def permutation(self, length: int) -> tuple[int, ...]:
        """A uniform permutation of 0 .. length - 1 (Fisher-Yates)."""
        items = list(range(length))
        for last in range(length - 1, 0, -1):
            other = self.integer(0, last)
            items[last], items[other] = items[other], items[last]
        return tuple(items)


def shuffled_positions(length: int, seed: int, epoch: int, *, stream: int = 0) -> np.ndarray:
    """The order of an epoch: a permutation (length,) int64, a pure function of its arguments.

    Args:
        length: Of the permutation.
        seed: Seed of the run.
        epoch: Epoch, counted from 0.
        stream: Tells permutations of one epoch apart.
    """
    key = np.array([seed & _MASK, epoch & _MASK], dtype=np.uint64)
    # The top counter word is set so that no view of any image shares the stream.
    counter = np.array([0, 0, stream & _MASK, _MASK], dtype=np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key, counter=counter))
    return np.argsort(generator.random(length), kind="stable")
