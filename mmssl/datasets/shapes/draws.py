"""Counter-based random numbers that are bit-equal on every machine and for any worker count.

Only the raw words of Philox are used: numpy guarantees bit generators to be stable, but not the
distributions built on them, and those call the C library's logarithms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

# Taylor coefficients of sine and cosine; on [0, pi/4] the error is below 1e-12.
_SIN = (1.0, -1 / 6, 1 / 120, -1 / 5040, 1 / 362880, -1 / 39916800)
_COS = (1.0, -1 / 2, 1 / 24, -1 / 720, 1 / 40320, -1 / 3628800, 1 / 479001600)


def unit_vector(turn: float) -> tuple[float, float]:
    """Return (cos, sin) of ``turn`` full turns by additions and products only.

    The C library's functions differ in the last bit between machines; IEEE products do not.

    Args:
        turn: angle as a fraction of a full turn, any real number.

    Returns:
        Cosine and sine.

    Example:
        >>> unit_vector(0.0)
        (1.0, 0.0)
    """
    eighths = (turn - turn // 1.0) * 8.0
    octant = int(eighths) % 8
    rest = eighths - int(eighths)
    if octant % 2:
        rest = 1.0 - rest
    angle = rest * 0.7853981633974483
    square = angle * angle
    sine = cosine = 0.0
    for c in reversed(_SIN):
        sine = sine * square + c
    for c in reversed(_COS):
        cosine = cosine * square + c
    sine *= angle
    if octant in (1, 2, 5, 6):
        cosine, sine = sine, cosine
    return (-cosine if octant in (2, 3, 4, 5) else cosine), (-sine if octant >= 4 else sine)


class Draws:
    """The random numbers of one image: a pure function of (seed, stream, index).

    Args:
        seed: seed of the data set.
        stream: number of the split the image belongs to.
        index: number of the image in its split.
    """

    def __init__(self, seed: int, stream: int, index: int) -> None:
        mask = (1 << 64) - 1
        self._words = np.random.Philox(
            key=np.array([seed & mask, stream], np.uint64),
            counter=np.array([0, index, 0, 0], np.uint64),
        )
        self._buffer: list[int] = []

    def array(self, *shape: int) -> np.ndarray:
        """Return uniform numbers in [0, 1), float32, multiples of 2^-24.

        Args:
            *shape: shape of the result.
        """
        words = self._words.random_raw(int(np.prod(shape)))
        values = (words >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
        return values.reshape(shape)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Return one uniform number in [low, high)."""
        if not self._buffer:
            self._buffer = self._words.random_raw(64).tolist()
        return low + (high - low) * ((self._buffer.pop() >> 11) * 2.0**-53)

    def integer(self, low: int, high: int) -> int:
        """Return one integer from ``low`` to ``high``, both included."""
        return min(high, low + int(self.uniform(0.0, high - low + 1)))

    def choice(self, items: Sequence[T]) -> T:
        """Return one of ``items``."""
        return items[self.integer(0, len(items) - 1)]

    def happens(self, probability: float) -> bool:
        """Return True with the given probability; always draws one number."""
        return self.uniform() < probability
