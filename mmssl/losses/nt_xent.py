"""NT-Xent: tell the other view of an image from all other views of a batch.

A Simple Framework for Contrastive Learning of Visual Representations (SimCLR), 2020, arXiv 2002.05709,
equation 1.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mmssl.ops.precision import full_product


def nt_xent(
    first: Tensor,
    second: Tensor,
    all_first: Tensor,
    all_second: Tensor,
    *,
    temperature: float,
    offset: int = 0,
    scale: float = 2.0,
) -> Tensor:
    """Cross-entropy of picking the other view of an image among all views of all images but the row itself.

        l(a, b)_i = - log( exp(a_i.B_i / t) / ( sum_j exp(a_i.B_j / t) + sum_{j != i} exp(a_i.A_j / t) ) )
        loss = scale / 2 * ( mean_i l(first, second)_i + mean_i l(second, first)_i )

    A and B are the rows of all processes, of which those of this one begin at `offset`. Nothing is
    normalised, gathered or detached here; products and softmax are in float32 at least, with all its bits,
    whatever autocast or TF32 would make of them, forward and backward.

    | rows                              | value at scale 1 |
    |-----------------------------------|------------------|
    | all the same                      | log(2N - 1)      |
    | a pair the same, else orthogonal  | log(1 + (2N - 2) exp(-1 / t)) |
    | one image                         | 0                |

    Args:
        first: (n, D) embeddings of the first views, unit rows; they learn.
        second: (n, D) those of the second views of the same images; they learn.
        all_first: (N, D) first views of all processes, in the order of ranks; they learn where the caller
            gathers with gradient.
        all_second: (N, D) second views of all processes.
        temperature: t.
        offset: Row of `all_first` and `all_second` that is this process's first.
        scale: 2 is the sum over both views that the released code takes, 1 the mean over all rows of
            the article.

    Returns:
        Scalar, float32 or float64.

    Raises:
        ValueError: Shapes that do not fit, or an offset outside the rows.

    Example:
        >>> views = torch.eye(4)[:2]
        >>> nt_xent(views, views, views, views, temperature=0.5, scale=1.0)  # log(1 + 2 exp(-2))
        tensor(0.2395)
    """
    if first.shape != second.shape or all_first.shape != all_second.shape:
        raise ValueError(
            "Both views need rows of the same shape, got "
            f"{tuple(first.shape)} and {tuple(second.shape)}, of all processes "
            f"{tuple(all_first.shape)} and {tuple(all_second.shape)}."
        )
    if not 0 <= offset <= len(all_first) - len(first):
        raise ValueError(
            f"The {len(first)} rows of this process must be among the {len(all_first)} of all, got "
            f"offset={offset}."
        )
    target = torch.arange(offset, offset + len(first), device=first.device)
    means = [
        F.cross_entropy(
            view_logits(rows, same, other, temperature=temperature, offset=offset), target
        )
        for rows, same, other in (
            (first, all_first, all_second),
            (second, all_second, all_first),
        )
    ]
    return scale / 2 * (means[0] + means[1])


def view_logits(
    rows: Tensor, same_view: Tensor, other_view: Tensor, *, temperature: float, offset: int = 0
) -> Tensor:
    """Similarities of rows with all rows of the other view, then of their own, divided by the temperature.

    Args:
        rows: (n, D) unit rows.
        same_view: (N, D) unit rows of the same view of all images; `rows` are in it from `offset` on.
        other_view: (N, D) unit rows of the other view of the same images.
        temperature: Divides the similarities.
        offset: Row of `same_view` where `rows` begin.

    Returns:
        (n, 2N) float32 or float64; a row with itself is -inf, its partner stands in column offset + row.
    """
    dtype = torch.promote_types(rows.dtype, torch.float32)
    everything = torch.cat([other_view.to(dtype), same_view.to(dtype)])
    logits = full_product(rows.to(dtype), everything.T) / temperature
    itself = torch.zeros_like(logits, dtype=torch.bool)
    itself.diagonal(len(other_view) + offset).fill_(True)
    return logits.masked_fill(itself, -torch.inf)
