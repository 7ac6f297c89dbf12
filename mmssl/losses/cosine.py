"""Cosine regression: pull one unit vector to another (BYOL, CARE)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


def unit_norm(embeds: Tensor, *, eps: float = 1e-12) -> Tensor:
    """Rows of length 1, computed in float32 at least.

    x / max(|x|, eps)

    Half-precision inputs are promoted, so that lengths are right under autocast.

    Args:
        embeds: (B, D) vectors.
        eps: Smallest length that is divided by.

    Returns:
        (B, D) unit vectors, float32 or float64.

    Example:
        >>> unit_norm(torch.tensor([[3.0, 4.0]]))
        tensor([[0.6000, 0.8000]])
    """
    return F.normalize(_at_least_float32(embeds), dim=1, eps=eps)


def cosine_regression(
    prediction: Tensor, target: Tensor, *, reduction: Literal["mean", "none"] = "mean"
) -> Tensor:
    """Squared distance of unit vectors.

    |p - t|^2 = 2 - 2 p.t          (nothing is normalised or detached here)

    Args:
        prediction: (B, D) unit vectors that learn.
        target: (B, D) unit vectors; the caller detaches them where the method does.
        reduction: `mean` over the batch, or `none`.

    Returns:
        Scalar, or (B,) with `none`; between 0 and 4.

    Raises:
        ValueError: Shapes differ, or an unknown reduction.

    Example:
        >>> cosine_regression(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
        tensor(2.)
    """
    if prediction.shape != target.shape:
        raise ValueError(
            f"prediction and target must have the same shape, got {tuple(prediction.shape)} and "
            f"{tuple(target.shape)}."
        )
    distance = 2 - 2 * (_at_least_float32(prediction) * _at_least_float32(target)).sum(dim=1)
    if reduction == "mean":
        return distance.mean()
    if reduction == "none":
        return distance
    raise ValueError(f"reduction must be 'mean' or 'none', got {reduction!r}.")


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
