"""Make networks compute the same numbers each time they are asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from mmssl.ops.precision import full_float32


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Products and convolutions in whole float32, by algorithms that are not chosen by their speed.

    With `cudnn_benchmark`, as training has it, cuDNN measures several algorithms at the first batch of a size
    and takes the fastest: another one in a run that is resumed, with other rounding. Some of them add in an
    order that changes, and TF32 keeps 10 bits. Settings are those of before on leaving.

    Args:
        device: Where the network computes.

    Example:
        >>> torch.backends.cudnn.benchmark = True
        >>> with repeatable(torch.device("cpu")):
        ...     torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
        (False, True)
        >>> torch.backends.cudnn.benchmark
        True
        >>> torch.backends.cudnn.benchmark = False
    """
    cudnn: Any = torch.backends.cudnn
    chosen = cudnn.benchmark, cudnn.deterministic
    with full_float32(device), _whole_convolutions(cudnn):
        cudnn.benchmark, cudnn.deterministic = False, True
        try:
            yield
        finally:
            cudnn.benchmark, cudnn.deterministic = chosen


@contextmanager
def _whole_convolutions(cudnn: Any) -> Iterator[None]:
    """No TF32 in cuDNN, by the old switch and, from torch 2.9 on, by those of each kind of layer."""
    kinds = [cudnn.conv, cudnn.rnn] if hasattr(cudnn, "conv") else []
    # What is merely inherited goes back to being that.
    saved = [
        "none" if kind.fp32_precision == cudnn.fp32_precision else kind.fp32_precision
        for kind in kinds
    ]
    _set(kinds, ["ieee", "ieee"])
    try:
        allowed = cudnn.allow_tf32
    except RuntimeError:  # torch does not tell the old one if it differs: it is on
        allowed = True
    cudnn.allow_tf32 = False
    _set(kinds, ["ieee", "ieee"])  # setting the old one changed them
    try:
        yield
    finally:
        cudnn.allow_tf32 = allowed
        _set(kinds, saved)


def _set(kinds: list[Any], values: list[str]) -> None:
    for kind, value in zip(kinds, values, strict=False):
        kind.fp32_precision = value
