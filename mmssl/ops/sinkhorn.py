"""Optimal transport with entropic regularisation (Cuturi 2013, arXiv 1306.0895)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmssl.ops.collectives import max_over_ranks, sum_over_ranks, world_size


@torch.no_grad()
def transport_plan(
    similarity: Tensor, *, regularization: float = 0.05, num_iterations: int = 50
) -> Tensor:
    """Plan that moves equal masses on the rows to equal masses on the columns, gaining most similarity.

        argmax_P <P, similarity> + regularization * entropy(P),   rows of P sum to 1/n, columns to 1/m

    In the logarithmic domain, so no value over- or underflows.

    Args:
        similarity: (..., n, m).
        regularization: Smaller is closer to the unregularised plan, and slower.
        num_iterations: Alternating normalisations of rows and columns, columns last.

    Returns:
        (..., n, m) non-negative, columns summing to 1/m.

    Example:
        >>> transport_plan(torch.eye(2), regularization=0.1)
        tensor([[4.9998e-01, 2.2699e-05],
                [2.2699e-05, 4.9998e-01]])
    """
    log_plan = similarity / regularization
    rows, columns = similarity.shape[-2:]
    for _ in range(num_iterations):
        log_plan = log_plan - log_plan.logsumexp(dim=-1, keepdim=True) - math.log(rows)
        log_plan = log_plan - log_plan.logsumexp(dim=-2, keepdim=True) - math.log(columns)
    return log_plan.exp()


@torch.no_grad()
def balanced_codes(scores: Tensor, *, epsilon: float = 0.05, num_iterations: int = 3) -> Tensor:
    """Soft assignments of samples to prototypes that use all prototypes equally (Sinkhorn and Knopp).

        Q = argmax_Q <Q, scores> + epsilon * entropy(Q),  rows sum to 1, columns to B / K

    SwAV (Caron et al. 2020, arXiv 2006.09882), section 3.1, as far as `num_iterations` go: columns are
    normalised first, rows last. Samples are those of all processes, of which each gets its own codes. In the
    logarithmic domain and float32 at least, so no value over- or underflows.

    Args:
        scores: (B, K) of this process; the same number of prototypes everywhere.
        epsilon: Smaller makes codes harder.
        num_iterations: Normalisations of columns and rows.

    Returns:
        (B, K) rows that sum to 1, float32 or float64.

    Raises:
        ValueError: `epsilon` or `num_iterations` is not positive.

    Example:
        >>> balanced_codes(torch.tensor([[1.0, 0.9], [1.0, 0.0]]), epsilon=0.1).argmax(dim=1)
        tensor([1, 0])
    """
    if epsilon <= 0 or num_iterations < 1:
        raise ValueError(
            "balanced_codes needs epsilon > 0 and num_iterations >= 1, got "
            f"epsilon={epsilon}, num_iterations={num_iterations}."
        )
    log_codes = scores.to(torch.promote_types(scores.dtype, torch.float32)) / epsilon
    for _ in range(num_iterations):
        log_codes = log_codes - _log_sum_of_columns(log_codes)
        log_codes = log_codes.log_softmax(dim=1)
    return log_codes.exp()


def _log_sum_of_columns(logits: Tensor) -> Tensor:
    """(K,) logarithm of the sum of exp(logits) (B, K) over the samples of all processes."""
    local = logits.logsumexp(dim=0)
    if world_size() == 1:
        return local
    largest = max_over_ranks(local)
    return largest + sum_over_ranks((local - largest).exp()).log()
