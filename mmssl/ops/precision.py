"""Matrix products with all bits of float32, whatever the run has asked for elsewhere.

torch has two ways of asking for less: `torch.set_float32_matmul_precision` and, from 2.9 on, `fp32_precision`
of each backend. They share their state, and torch refuses to read the first where the second has been used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


def _settings() -> list[tuple[Any, Any]]:
    """The new switches of matrix products, each with what it inherits from; none before torch 2.9."""
    backends: Any = torch.backends
    if not hasattr(backends.cuda.matmul, "fp32_precision"):
        return []
    return [(backends.cuda.matmul, backends.cudnn), (backends.mkldnn.matmul, backends.mkldnn)]


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Matrix products of float32 keep its 24 bits: no TF32, no bfloat16, no autocast.

    Either way of setting the precision is understood, also both mixed, and restored at the end. The precision
    belongs to the process: other threads see the change. A graph of `torch.compile` cannot change it and has
    the process's own; there autocast alone is off.

    Args:
        device: Where the products are computed.

    Example:
        >>> torch.set_float32_matmul_precision("high")
        >>> with full_float32(torch.device("cpu")):
        ...     torch.get_float32_matmul_precision()
        'highest'
        >>> torch.get_float32_matmul_precision()
        'high'
        >>> torch.set_float32_matmul_precision("highest")
    """
    if torch.compiler.is_compiling():
        with torch.autocast(device.type, enabled=False):
            yield
        return
    settings = _settings()
    # What is merely inherited goes back to being that, so that a later change of its origin still counts.
    saved = [
        "none" if own.fp32_precision == origin.fp32_precision else own.fp32_precision
        for own, origin in settings
    ]
    for own, _ in settings:
        own.fp32_precision = "ieee"
    # Only now can the old one be read; it is set too, as some kernels refuse to run if the two differ.
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        for (own, _), value in zip(settings, saved, strict=True):
            own.fp32_precision = value


def full_product(left: Tensor, right: Tensor) -> Tensor:
    """The matrix product (n, m) of (n, k) and (k, m) under `full_float32`, and so its gradients of any order.

    Around a product of torch `full_float32` reaches the forward pass only.

    Example:
        >>> full_product(torch.ones(1, 2), torch.eye(2))
        tensor([[1., 1.]])
    """
    return _FullProduct.apply(left, right)


class _FullProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor) -> Tensor:
        ctx.save_for_backward(left, right)
        with full_float32(left.device):
            return left @ right

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None]:
        left, right = ctx.saved_tensors
        wants_left, wants_right = ctx.needs_input_grad
        return (
            full_product(slope, right.T) if wants_left else None,
            full_product(left.T, slope) if wants_right else None,
        )
