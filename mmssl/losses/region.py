"""Which regions of two views of an image show the same thing.

EsViT (Li et al. 2022, arXiv 2106.09785, section 3.2): every region of the student learns from the most
similar region of the teacher. The article also tries optimal transport; its code is not published.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mmssl.losses.distillation import pair_weights
from mmssl.ops.sinkhorn import transport_plan

Match = Literal["argmax", "transport"]


@torch.no_grad()
def region_pairs(
    student: Tensor,
    teacher: Tensor,
    sizes: Sequence[int],
    *,
    num_teacher_views: int = 2,
    match: Match = "argmax",
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Weights of pairs of regions for `distillation`, from the features of the backbones.

    Each student region has one partner in every teacher view of another crop: the one of greatest cosine
    (`argmax`), or of greatest share in the optimal transport between the regions of both views
    (`transport`), which keeps many regions from choosing the same one. Partners are not one-to-one.

    Args:
        student: (B, S, C) features of the regions of all views, view by view.
        teacher: (B, Q T, C) features of the regions of the teacher's views, view by view.
        sizes: Regions of each student view; their sum is S.
        num_teacher_views: Views Q of the teacher, which are the student's first ones.
        match: `argmax` or `transport`.
        dtype: Precision of the products of unit vectors; default float32 at least, also under autocast.
            `torch.float16` matches as the official code does under autocast, with other choices where
            two regions are nearly equal.

    Returns:
        (B, S, Q T) float32; the weights of an image sum to 1.

    Raises:
        ValueError: Another number of rows than `sizes` says, or an unknown `match`.
    """
    if sum(sizes) != student.shape[1]:
        raise ValueError(f"sizes {list(sizes)} do not add up to {student.shape[1]} regions.")
    exact = torch.promote_types(student.dtype, torch.float32)
    with torch.autocast(student.device.type, enabled=False):
        queries, keys = (
            F.normalize(rows.to(exact), dim=-1).to(dtype or exact) for rows in (student, teacher)
        )
        cosine = (queries @ keys.transpose(1, 2)).unflatten(2, (num_teacher_views, -1))
    if match == "transport":
        parts = cosine.float().split(list(sizes), dim=1)
        plans = [transport_plan(part.transpose(1, 2)).transpose(1, 2) for part in parts]
        cosine = torch.cat(plans, dim=1)
    elif match != "argmax":
        raise ValueError(f"match must be 'argmax' or 'transport', got {match!r}.")
    best = cosine.argmax(dim=3, keepdim=True)
    partner = torch.zeros_like(cosine, dtype=torch.float32).scatter_(3, best, 1.0)
    weights = pair_weights(sizes, num_teacher_views).to(partner, non_blocking=True)
    return (partner * weights[:, :, None]).flatten(2)


def matched_regression(student: Tensor, teacher: Tensor, pairs: Tensor) -> Tensor:
    """Squared distance of student rows to the teacher rows that they are paired with.

        loss = 1/B sum_b sum_sm pairs[b, s, m] |student[b, s] - teacher[b, m]|^2

    The region loss "MSE" of the article's comparison, on rows of unit length.

    Args:
        student: (B, S, D) unit vectors that learn.
        teacher: (B, M, D) unit vectors.
        pairs: (B, S, M) weights.

    Returns:
        Scalar, float32 or float64.
    """
    dtype = torch.promote_types(student.dtype, torch.float32)
    with torch.autocast(student.device.type, enabled=False):
        cosine = student.to(dtype) @ teacher.to(dtype).transpose(1, 2)
    return (pairs.to(dtype) * (2 - 2 * cosine)).sum() / len(student)
