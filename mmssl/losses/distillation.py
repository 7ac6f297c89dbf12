"""Cross-entropy between what the teacher and the student say of a view or a region.

View level: DINO (Caron et al. 2021, arXiv 2104.14294, equation 3). Region level: EsViT (Li et al. 2022,
arXiv 2106.09785, equation 3; with the roles of teacher and student as in the code, microsoft/esvit).
Both are one sum over pairs of rows of an image; `pairs` says which rows and with what weight.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def pair_weights(sizes: Sequence[int], num_teacher_views: int = 2) -> Tensor:
    """What a row of a student view weighs beside each teacher view: all pairs of views weigh the same.

        1 / (number of pairs * T_v), and 0 where both are the same crop

    With one row per view this is the `pairs` matrix of DINO.

    Args:
        sizes: Rows T_v of each student view, the teacher's views first; 1 on the level of views.
        num_teacher_views: Views Q that the teacher saw.

    Returns:
        (sum_v T_v, Q) float64; the sum of all entries is 1.

    Raises:
        ValueError: There is no pair of different views.

    Example:
        >>> pair_weights([1, 1, 1])
        tensor([[0.0000, 0.2500],
                [0.2500, 0.0000],
                [0.2500, 0.2500]], dtype=torch.float64)
    """
    num_pairs = len(sizes) * num_teacher_views - min(len(sizes), num_teacher_views)
    if num_pairs < 1:
        raise ValueError("A student view needs a teacher view that is another crop; there is none.")
    view = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    weight = 1 / (num_pairs * torch.tensor(sizes, dtype=torch.float64)[view])
    different = view[:, None] != torch.arange(num_teacher_views)
    return weight[:, None] * different


def distillation(
    student: Tensor, teacher: Tensor, pairs: Tensor, *, temperature: float = 0.1
) -> Tensor:
    """Cross-entropy of student rows with the teacher rows that they are paired with.

        loss = - 1/B sum_b sum_sm pairs[b, s, m] < teacher[b, m], log softmax(student[b, s] / temperature) >

    Args:
        student: (B, S, K) logits; the only argument with a gradient.
        teacher: (B, M, K) probabilities.
        pairs: (B, S, M) weights, or (S, M) for every image alike.
        temperature: Of the student.

    Returns:
        Scalar, float32 or float64, under autocast too.

    Example:
        >>> distillation(torch.zeros(1, 1, 4), torch.tensor([[[1.0, 0, 0, 0]]]), torch.ones(1, 1))
        tensor(1.3863)
    """
    dtype = torch.promote_types(student.dtype, torch.float32)
    log_probabilities = F.log_softmax(student.to(dtype) / temperature, dim=-1)
    with torch.autocast(student.device.type, enabled=False):
        scores = log_probabilities @ teacher.to(dtype).transpose(1, 2)
    return -(pairs.to(scores, non_blocking=True) * scores).sum() / len(student)


def mixed_distillation(
    student: Tensor, teacher: Tensor, pairs: Tensor, mixing: Tensor, *, temperature: float = 0.1
) -> Tensor:
    """The same for views that the student saw mixed with other images of the batch.

        loss = - 1/B sum_bj sum_vq pairs[v, q] mixing[v, b, j] < teacher[b, q], log softmax(student[j, v]) >

    With identities for `mixing` it is `distillation`.

    Args:
        student: (B, V, K) logits of mixed views; the only argument with a gradient.
        teacher: (B, Q, K) probabilities of clean views.
        pairs: (V, Q) weights, see `pair_weights`.
        mixing: (V, B, B) share of image b in the mixed image j.
        temperature: Of the student.

    Returns:
        Scalar, float32 or float64.
    """
    dtype = torch.promote_types(student.dtype, torch.float32)
    log_probabilities = F.log_softmax(student.to(dtype) / temperature, dim=-1)
    with torch.autocast(student.device.type, enabled=False):
        scores = torch.einsum("bqk,jvk->vqbj", teacher.to(dtype), log_probabilities)
    weights = pairs.to(scores, non_blocking=True)[:, :, None, None] * mixing.to(scores)[:, None]
    return -(weights * scores).sum() / len(student)
