"""Positions in a data set that name rows of a classifier."""

from __future__ import annotations

import torch
from torch import Tensor


def check_instances(index: Tensor, num_rows: int) -> None:
    """Complain about images (B,) that have no row.

    Raises:
        ValueError: An instance outside 0..N-1.
    """
    lowest, highest = torch.stack(index.aminmax()).tolist()  # one question to a GPU, not two
    if lowest < 0 or highest >= num_rows:
        raise ValueError(
            f"The classifier has {num_rows} rows, one for each training image, but the batch holds the "
            f"images {lowest}..{highest}. Set num_instances to the size of the data set."
        )
