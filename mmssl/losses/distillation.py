"""Cross-entropy between the teacher's and the student's distributions, over views and over regions.

View level: DINO (Caron et al. 2021, arXiv 2104.14294, equation 3). Region level: EsViT (Li et al. 2022,
arXiv 2106.09785, equation 3; with the roles of teacher and student as in the code, microsoft/esvit).
Both sum over pairs of a student view and a teacher view that are not the same crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

Implementation = Literal["fused", "reference"]
NO_PAIR = -1


def match_views(num_views: int, num_images: int, num_teacher_views: int = 2) -> Tensor:
    """Which teacher rows each student row is compared with: the other views of its image.

    Args:
        num_views: V, the teacher's views first.
        num_images: B.
        num_teacher_views: Views that the teacher saw.

    Returns:
        (V B, teacher views) rows of the teacher's (teacher views * B, ...), view-major on both sides;
        -1 where both are the same crop.

    Example:
        >>> match_views(3, 1).tolist()
        [[-1, 1], [0, -1], [0, 1]]
    """
    view = torch.arange(num_views).repeat_interleave(num_images)[:, None]
    image = torch.arange(num_images).repeat(num_views)[:, None]
    teacher = torch.arange(num_teacher_views)[None]
    return torch.where(view == teacher, NO_PAIR, teacher * num_images + image)


@torch.no_grad()
def match_regions(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """The most similar teacher region, by cosine, of every student region, in each other view.

    Args:
        student: For each view (B, T_v, C) region features; views of the teacher first.
        teacher: For each view of the teacher (B, T, C).

    Returns:
        (sum_v B T_v, teacher views) rows of the teacher's regions, which are stacked view by view and
        image by image; -1 where both are the same crop.
    """
    keys = [F.normalize(regions, dim=-1) for regions in teacher]
    rows = []
    for view, regions in enumerate(student):
        queries = F.normalize(regions, dim=-1)
        columns = []
        for other, candidates in enumerate(keys):
            if other == view:
                columns.append(regions.new_full(regions.shape[:2], NO_PAIR, dtype=torch.long))
                continue
            best = torch.einsum("bic,bjc->bij", queries, candidates).argmax(dim=2)
            images = torch.arange(len(best), device=best.device)[:, None]
            columns.append((other * len(best) + images) * candidates.shape[1] + best)
        rows.append(torch.stack(columns, dim=2).flatten(0, 1))
    return torch.cat(rows)


def pair_weights(sizes: Sequence[tuple[int, int]], num_teacher_views: int = 2) -> Tensor:
    """What multiplies the loss of each student row: pairs weigh the same, whatever their regions.

    1 / (number of pairs * B * T_v)

    Args:
        sizes: For each view its (images B, regions T_v); T_v is 1 on the level of views.
        num_teacher_views: Views that the teacher saw.

    Returns:
        (sum_v B T_v,) float64.

    Raises:
        ValueError: There is no pair of different views.
    """
    num_pairs = len(sizes) * num_teacher_views - min(len(sizes), num_teacher_views)
    if num_pairs < 1:
        raise ValueError("A student view needs a teacher view that is another crop; there is none.")
    parts = [
        torch.full((images * regions,), 1 / (num_pairs * images * regions), dtype=torch.float64)
        for images, regions in sizes
    ]
    return torch.cat(parts)


def distillation(
    student: Tensor,
    teacher: Tensor,
    matches: Tensor,
    weights: Tensor,
    *,
    temperature: float = 0.1,
    chunk_rows: int = 512,
    implementation: Implementation = "fused",
) -> Tensor:
    """Cross-entropy of student rows with the teacher rows they are matched with.

        loss = - sum_i w_i sum_q < p[m_iq], log softmax(s_i / temperature) >

    Computed in float32 at least. `fused` uses that targets sum to 1: a row with n partners costs
    n logsumexp(s) - < sum of its targets, s >, so one pass over the student's rows, in chunks, gives loss
    and gradient, and log-probabilities of pairs are never held. `reference` is the formula.

    Args:
        student: (N, K) logits; the only argument with a gradient.
        teacher: (M, K) probabilities.
        matches: (N, Q) int64 rows of `teacher`, -1 for no partner.
        weights: (N,) factors.
        temperature: Of the student.
        chunk_rows: Rows that `fused` works on at a time.
        implementation: `fused` or `reference`.

    Returns:
        Scalar, float32 or float64.

    Raises:
        ValueError: Shapes that do not fit, or another implementation.
    """
    if len(student) != len(matches) or len(student) != len(weights):
        raise ValueError(
            f"{len(student)} rows of the student need as many matches and weights, got {len(matches)} "
            f"and {len(weights)}."
        )
    dtype = torch.promote_types(student.dtype, torch.float32)
    weights = weights.to(student.device, dtype)
    matches = matches.to(student.device)
    if implementation == "fused":
        return _Distillation.apply(student, teacher, matches, weights, temperature, chunk_rows)
    if implementation != "reference":
        raise ValueError(f"implementation is 'fused' or 'reference', got {implementation!r}.")
    log_probabilities = F.log_softmax(student.to(dtype) / temperature, dim=1)
    loss = student.new_zeros((), dtype=dtype)
    for column in matches.unbind(dim=1):
        paired = column != NO_PAIR
        targets = teacher[column[paired]].to(dtype)
        loss = loss - (weights[paired] * (targets * log_probabilities[paired]).sum(dim=1)).sum()
    return loss


class _Distillation(torch.autograd.Function):
    """Loss and its gradient (n softmax(s / T) - sum of targets) w / T in one pass over chunks of rows."""

    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, matches: Tensor, weights: Tensor,
        temperature: float, chunk_rows: int,
    ) -> Tensor:  # fmt: skip
        dtype = weights.dtype
        gradient = torch.empty_like(student) if ctx.needs_input_grad[0] else None
        loss = student.new_zeros((), dtype=dtype)
        for start in range(0, len(student), chunk_rows):
            rows = slice(start, start + chunk_rows)
            logits = student[rows].to(dtype) / temperature
            target = torch.zeros_like(logits)
            for column in matches[rows].unbind(dim=1):
                paired = column != NO_PAIR
                if paired.all():
                    target += teacher[column]
                elif paired.any():
                    target[paired] += teacher[column[paired]].to(dtype)
            partners = (matches[rows] != NO_PAIR).sum(dim=1).to(dtype)
            normalizer = logits.logsumexp(dim=1)
            per_row = partners * normalizer - (target * logits).sum(dim=1)
            loss += (weights[rows] * per_row).sum()
            if gradient is not None:
                softmax = logits.sub_(normalizer[:, None]).exp_()
                softmax.mul_(partners[:, None]).sub_(target)
                gradient[rows] = softmax.mul_(weights[rows, None] / temperature)
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple:
        (gradient,) = ctx.saved_tensors
        return gradient * grad_output.to(gradient.dtype), None, None, None, None, None
