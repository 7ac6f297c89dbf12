"""Optimal transport with entropic regularisation (Cuturi 2013, arXiv 1306.0895)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


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
