"""Progress: where a training run stands."""

from __future__ import annotations

from typing import NamedTuple


class Progress(NamedTuple):
    """Position of the current iteration in a run.

    Attributes:
        iter: Finished iterations, 0 in the first one.
        max_iters: Iterations of the whole run.
        epoch: Finished epochs, 0 in the first one.
        max_epochs: Epochs of the whole run.
    """

    iter: int
    max_iters: int
    epoch: int
    max_epochs: int
