"""Redundancy reduction: the same number says the same of both views, and no two numbers say the same.

Barlow Twins: Self-Supervised Learning via Redundancy Reduction, 2021, arXiv 2103.03230, equation 1.
"""

from __future__ import annotations

from torch import Tensor


def redundancy_reduction(correlation: Tensor, *, off_diagonal_weight: float) -> Tensor:
    """Squared distance of a cross-correlation matrix to the identity.

        sum_i (c_ii - 1)^2 + w * sum_{i != j} c_ij^2

    | correlation     | value             |
    |-----------------|-------------------|
    | identity        | 0                 |
    | zeros           | D                 |
    | all ones        | w * D * (D - 1)   |

    Args:
        correlation: (D, D) of the numbers of one view with those of the other, over the whole batch of all
            processes; it learns.
        off_diagonal_weight: w, lambda of the article.

    Returns:
        Scalar of the matrix's type.

    Raises:
        ValueError: The matrix is not square.

    Example:
        >>> import torch
        >>> redundancy_reduction(torch.ones(3, 3), off_diagonal_weight=0.5)
        tensor(3.)
    """
    if correlation.ndim != 2 or correlation.shape[0] != correlation.shape[1]:
        raise ValueError(
            f"A cross-correlation matrix is square, got shape {tuple(correlation.shape)}."
        )
    dim = len(correlation)
    # every D + 1 numbers the diagonal comes by: a view without it, and no copy of the matrix
    rest = correlation.flatten()[:-1].view(dim - 1, dim + 1)[:, 1:]
    return (correlation.diagonal() - 1).square().sum() + off_diagonal_weight * rest.square().sum()
