"""The count of a momentum twin's updates, which files of the authors do not hold."""

from __future__ import annotations

import torch
from torch import Tensor

NUM_UPDATES = "twin.num_updates"


def twin_updates(number: int) -> dict[str, Tensor]:
    """The entry of our state dicts for a twin with so many updates behind it.

    Not 0: our runner takes 0 for "not trained yet" and would overwrite the twin by a copy of the online
    networks.

    Raises:
        ValueError: Below 1.
    """
    if number < 1:
        raise ValueError(f"num_updates must be at least 1, got {number}.")
    return {NUM_UPDATES: torch.tensor(number)}
