"""Matrix products with all bits of float32, whatever the run has asked for elsewhere.

torch has two ways of asking for less: `torch.set_float32_matmul_precision` and, from 2.9 on, `fp32_precision`
of each backend. They share their state, and torch refuses to read the first where the second has been used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


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
    belongs to the process: other threads see the change.

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
