"""Which of several ways to compute an operator a call takes, and what all but the formula refuse."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.autograd import forward_ad

# asked once: a compiler that traces a call cannot ask
_HAS_TRITON = find_spec("triton") is not None
IMPLEMENTATIONS = ("auto", "reference", "shifted", "triton")
"""The formula, by shifted maps on any device, by kernels on a GPU; "auto" is one of the others."""


def checked_implementation(implementation: str, tensor: Tensor, *more: str) -> str:
    """What a call of the operator is recorded with.

    "auto" stays: a program that is traced on one device and runs on another chooses where it runs. Only
    exports to ONNX, whose devices know no operators of ours, get the formula.

    Args:
        implementation: One of `IMPLEMENTATIONS`.
        tensor: One of the operator's, on its device.
        *more: Names of implementations that only this operator has.

    Returns:
        One of `IMPLEMENTATIONS` or `more`.

    Raises:
        ValueError: An unknown name, or kernels for a tensor that is not on a GPU.

    Example:
        >>> checked_implementation("auto", torch.zeros(1))
        'auto'
    """
    names = (*IMPLEMENTATIONS, *more)
    if implementation not in names:
        raise ValueError(f"implementation is one of {names}, not {implementation!r}")
    if implementation == "auto" and torch.onnx.is_in_onnx_export():
        return "reference"
    if implementation == "triton" and not tensor.is_cuda and not _is_interpreted():
        raise ValueError(
            f'implementation="triton" needs tensors on a GPU, these are on {tensor.device}: use "auto"'
        )
    return implementation


def runs_kernels(implementation: str, tensor: Tensor) -> bool:
    """Whether the operator runs as Triton kernels on the device that `tensor` is on.

    Args:
        implementation: "auto" (kernels on a GPU that has Triton), "triton", or another.
        tensor: One of the operator's.

    Raises:
        ValueError: Kernels for a tensor that is not on a GPU.

    Example:
        >>> runs_kernels("auto", torch.zeros(1))
        False
    """
    if implementation == "auto":
        return tensor.is_cuda and _HAS_TRITON
    return implementation == "triton" == checked_implementation(implementation, tensor)


@contextmanager
def on_device(tensor: Tensor, operator: str) -> Iterator[None]:
    """Run kernels on the device of `tensor`, and say what to do where Triton cannot build what starts them.

    Args:
        tensor: One of the operator's.
        operator: Name of the public function, for the message.

    Raises:
        RuntimeError: There is no C compiler.
    """
    try:
        with torch.cuda.device_of(tensor):  # kernels start on the current device
            yield
    except RuntimeError as error:
        if "C compiler" not in str(error):
            raise
        raise RuntimeError(
            f"{operator}: Triton needs a C compiler to start its kernels. Install gcc or clang, or name "
            f'one in the variable CC; {operator}(..., implementation="shifted") does without.'
        ) from error


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
