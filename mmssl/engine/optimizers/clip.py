"""Gradient clipping tensor by tensor, as DINO and EsViT do it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


@torch.no_grad()
def clip_per_tensor(parameters: Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale each gradient by max_norm / (norm + 1e-6) where that is below 1.

    Not the norm of all gradients together: a layer with a large gradient leaves the others alone. Nothing
    waits for the device.

    Args:
        parameters: Those without a gradient are skipped.
        max_norm: Greatest norm of a single gradient.

    Returns:
        Norm of all gradients together before clipping, for the log.

    Example:
        >>> weight = torch.zeros(2, requires_grad=True)
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> clip_per_tensor([weight], 1.0), weight.grad
        (tensor(5.), tensor([0.6000, 0.8000]))
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return torch.zeros(())
    norms = torch.stack(torch._foreach_norm(gradients))
    factors = (max_norm / (norms + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, list(factors.unbind()))
    return norms.norm()
