"""ReleasedWindows: the windows of PIC's released program, one after another, from numpy's old generator."""

from __future__ import annotations

import numpy as np

from mmssl.ops.progress_bar import progress_bar

# Fewer windows than this are walked in seconds.
_MANY = 100


class ReleasedWindows:
    """The walk of one process, number by number as bl0/PIC's `SubsetSlidingWindowSampler` makes it.

        shuffle indices; start = 0
        a window:  if reshuffle and start + window > period: shuffle indices
                   take indices[(start + 0 .. window - 1) mod period], shuffled
                   start = (start + stride) mod period

    In the released program `period` is the length of its sampler, which is the window (so it never leaves the
    first `window` indices); the number of indices is what was meant.

    Args:
        indices: (n,) the images of the process.
        window: Images of a window.
        stride: Images that the next window begins later.
        period: See above.
        reshuffle: See above.
        seed: Of numpy's global generator there.
    """

    def __init__(
        self,
        indices: np.ndarray,
        window: int,
        *,
        stride: int,
        period: int,
        reshuffle: bool,
        seed: int,
    ) -> None:
        self._source = indices
        self._window, self._stride, self._period = window, stride, period
        self._reshuffle = reshuffle
        self.seed = seed
        self._begin()

    def _begin(self) -> None:
        self._random = np.random.RandomState(self.seed)
        self._indices = self._source.copy()
        self._random.shuffle(self._indices)
        self._start, self._number = 0, -1
        self._taken = self._indices[:0]

    def window(self, number: int) -> np.ndarray:
        """The images of the `number`-th window, from 0, in their order.

        Costs the windows since the last one that was asked for, with a bar if they are many; going back
        costs all from the first.

        Args:
            number: Of the window.
        """
        if number < self._number:
            self._begin()
        ahead = number - self._number
        title = f"Walking through {ahead} windows" if ahead >= _MANY else ""
        with progress_bar(title, ahead) as advance:
            for _ in range(ahead):
                self._step()
                advance(1)
        return self._taken

    def _step(self) -> None:
        if self._reshuffle and self._start + self._window > self._period:
            self._random.shuffle(self._indices)
        self._taken = self._indices[(self._start + np.arange(self._window)) % self._period]
        self._random.shuffle(self._taken)
        self._start = (self._start + self._stride) % self._period
        self._number += 1
