"""Average precision of a ranking: the figure of VOC and of its linear SVMs.

The PASCAL Visual Object Classes challenge (IJCV 2010), section 4.2; compared with `get_precision_recall` of
facebookresearch/vissl @09270ed and of salesforce/PCL. Deviation: images with equal scores share one
threshold, so that the order of the data set (often class by class) cannot decide among them; without ties
nothing differs.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Kind = Literal["area", "step", "11points"]


def average_precision(
    scores: Tensor, targets: Tensor, *, ignored: Tensor | None = None, kind: Kind = "area"
) -> Tensor:
    """Average precision of every class over N images.

    With precision p and recall r at every threshold, the highest scores first:

    - `area`: sum (r_i - r_{i-1}) max_{j >= i} p_j, the area under the monotone envelope (VOC since 2010).
    - `step`: sum (r_i - r_{i-1}) p_i, without the envelope (scikit-learn).
    - `11points`: mean over t = 0, .1, ..., 1 of max_{r_j >= t} p_j (VOC 2007).

    Args:
        scores: (N, C) or (N,), higher is more certain.
        targets: Of the same shape, true (or 1) where the class is present.
        ignored: Of the same shape, true where an image does not count for a class.
        kind: How the curve is summed.

    Returns:
        (C,) or scalar float64 in [0, 1]; NaN for a class that no image shows.

    Raises:
        ValueError: Shapes that differ, no image, scores that are NaN, or no such kind.

    Example:
        >>> average_precision(torch.tensor([3.0, 2.0, 1.0]), torch.tensor([1, 0, 1])).item()
        0.8333333333333333
    """
    if scores.shape != targets.shape or scores.ndim not in (1, 2) or len(scores) == 0:
        raise ValueError(
            "Average precision needs scores and targets of one shape, (N, C) or (N,) with N >= 1, got "
            f"{tuple(scores.shape)} and {tuple(targets.shape)}."
        )
    if scores.isnan().any():
        raise ValueError(f"{int(scores.isnan().sum())} of {scores.numel()} scores are NaN.")
    if kind not in ("area", "step", "11points"):
        raise ValueError(f"kind must be 'area', 'step' or '11points', got {kind!r}.")
    counted = torch.ones_like(targets, dtype=torch.bool) if ignored is None else ~ignored
    order = scores.argsort(dim=0, descending=True, stable=True)
    ranked, counted = scores.gather(0, order), counted.gather(0, order)
    hits = (targets.gather(0, order) > 0) & counted
    found, seen = hits.cumsum(0).double(), counted.cumsum(0).double()
    precision, recall = found / seen.clamp_min(1), found / found[-1]
    threshold = torch.ones_like(hits)
    threshold[:-1] = ranked[:-1] != ranked[1:]
    if kind == "step":
        return (hits * _at_own_threshold(precision, threshold)).sum(0) / found[-1]
    # Between thresholds the precision depends on the order among equals; it must not raise the envelope.
    precision = precision.masked_fill(~threshold, 0.0)
    if kind == "11points":
        levels = torch.linspace(0, 1, 11, dtype=torch.float64, device=scores.device)
        best = [precision.masked_fill(recall < level - 1e-12, 0.0).amax(0) for level in levels]
        return torch.stack(best).mean(0) + 0 * recall[-1]
    envelope = precision.flip(0).cummax(0).values.flip(0)
    return (hits * envelope).sum(0) / found[-1]


def _at_own_threshold(precision: Tensor, threshold: Tensor) -> Tensor:
    """The precision at the last rank of all images with the same score, at each of their ranks."""
    count = len(precision)
    rank = torch.arange(count, device=precision.device).view(-1, *[1] * (precision.ndim - 1))
    last = torch.where(threshold, rank, count).flip(0).cummin(0).values.flip(0)
    return precision.gather(0, last)
