"""Which of several ways to compute an operator a call takes, and what all but the formula refuse."""

from __future__ import annotations

import os
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.autograd import forward_ad

# asked once: a compiler that traces a call cannot ask
_HAS_TRITON = find_spec("triton") is not None
IMPLEMENTATIONS = ("auto", "reference", "shifted", "triton")
"""The formula, by shifted maps on any device, by kernels on a GPU; "auto" is one of the others."""


def chosen_implementation(implementation: str, tensor: Tensor) -> str:
    """What "auto" stands for; others as they are, checked.

    Args:
        implementation: One of `IMPLEMENTATIONS`. "auto" is "triton" on a GPU that has it, else "shifted", and
            the formula, which every exporter knows, while a model is exported to ONNX.
        tensor: One of the operator's, on its device.

    Returns:
        "reference", "shifted" or "triton".

    Raises:
        ValueError: An unknown name, or kernels for a tensor that is not on a GPU.

    Example:
        >>> chosen_implementation("auto", torch.zeros(1))
        'shifted'
    """
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"implementation is one of {IMPLEMENTATIONS}, not {implementation!r}")
    if implementation == "auto":
        if torch.onnx.is_in_onnx_export():
            return "reference"
        implementation = "triton" if tensor.is_cuda and _HAS_TRITON else "shifted"
    if implementation == "triton" and not tensor.is_cuda and not _is_interpreted():
        raise ValueError(
            f'implementation="triton" needs tensors on a GPU, these are on {tensor.device}: use "auto"'
        )
    return implementation


def _is_interpreted() -> bool:
    """Whether Triton runs kernels on the CPU; it reads its variable in the same way."""
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "on", "yes", "y")


def refuse_tangents(operator: str, *tensors: Tensor) -> None:
    """Refuse derivatives in forward mode, where torch would silently answer 0 for an operator of ours.

    Args:
        operator: Name of the public function, for the message.
        *tensors: Its inputs.

    Raises:
        NotImplementedError: An input carries a tangent.

    Example:
        >>> refuse_tangents("local_relation", torch.zeros(1))
    """
    if any(forward_ad.unpack_dual(each).tangent is not None for each in tensors):
        raise NotImplementedError(
            f"{operator} has no derivative in forward mode (torch.func.jvp, jacfwd, forward_ad) in this "
            f'implementation; {operator}(..., implementation="reference") has.'
        )
