"""Predictions: what a classifier says about the images of a batch."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Predictions(NamedTuple):
    """Scores of a batch, beside what is needed to count every image once.

    Attributes:
        index: (B,) int64 positions in the data set.
        label: (B,) or (B, C), as in `ViewBatch`.
        scores: (B, C) float32 logits.
    """

    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody needs
    label: Tensor
    scores: Tensor
