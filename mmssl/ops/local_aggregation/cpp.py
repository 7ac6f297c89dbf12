"""Local aggregation on CPUs: what calls `aggregation.cpp`."""

from __future__ import annotations

import ctypes
import functools
import warnings
from pathlib import Path

import torch
from torch import Tensor

from mmssl.ops.cpp_library import cpp_library
from mmssl.ops.local_aggregation.window import Window

SOURCE = Path(__file__).with_name("aggregation.cpp")
TYPES = {
    (torch.float32, torch.float32): 0,
    (torch.float64, torch.float64): 1,
    (torch.bfloat16, torch.bfloat16): 2,
    (torch.bfloat16, torch.float32): 3,
}
"""Types of maps and of weights that there are loops for, and their numbers there."""


def runs_cpp(implementation: str, x: Tensor, weight: Tensor) -> bool:
    """Whether the operator runs by C++ for these tensors; compiles it where it is needed for the first time.

    Args:
        implementation: "cpp", or "auto" (where it can), else not.
        x: (N, C, H, W) values.
        weight: Their weights.

    Raises:
        ValueError: "cpp" for tensors that are not on a CPU, or of other types than `TYPES`.
        RuntimeError: "cpp" without a compiler.

    Example:
        >>> runs_cpp("shifted", torch.zeros(1), torch.zeros(1))
        False
    """
    fits = x.device.type == "cpu" and (x.dtype, weight.dtype) in TYPES
    if implementation == "auto":
        return fits and _is_available()
    if implementation != "cpp":
        return False
    if not fits:
        raise ValueError(
            f'implementation="cpp" needs tensors on a CPU, of types (values, weights) among {list(TYPES)}; '
            f'these are {x.dtype} and {weight.dtype} on {x.device}: use "auto"'
        )
    cpp_library(SOURCE)
    return True


@functools.cache
def _is_available() -> bool:
    try:
        cpp_library(SOURCE)
    except RuntimeError as error:
        warnings.warn(
            f"local_aggregation runs by shifted maps, which takes about 3 times as long: {error}",
            stacklevel=2,
        )
        return False
    return True


def forward_cpp(x: Tensor, weight: Tensor, window: Window, groups: int, y: Tensor) -> None:
    """Write the result to `y`.

    Args:
        x: (N, C, H, W) values.
        weight: (N, G, Cw, kh * kw, Ho, Wo).
        window: Taps of an output position.
        groups: Blocks of channels.
        y: (N, G * C, Ho, Wo) to be written.
    """
    _compute("y", x, weight, y, window, groups)


def backward_cpp(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    window: Window,
    groups: int,
    grad_x: Tensor | None,
    grad_weight: Tensor | None,
) -> None:
    """Write the gradients that are wanted.

    Args:
        grad: (N, G * C, Ho, Wo) of the result.
        x: (N, C, H, W) values.
        weight: (N, G, Cw, kh * kw, Ho, Wo).
        window: Taps of an output position.
        groups: Blocks of channels.
        grad_x: Like x, to be written, or None.
        grad_weight: Like weight, to be written, or None.
    """
    grad = grad.to(x.dtype)
    if grad_x is not None:
        _compute("x", grad_x, weight, grad, window, groups)
    if grad_weight is not None:
        # nothing is written for taps outside of the map
        _compute("weight", x, grad_weight.zero_(), grad, window, groups)


def _compute(
    wanted: str, x: Tensor, weight: Tensor, y: Tensor, window: Window, groups: int
) -> None:
    """Write `wanted` ("y", "x" or "weight") from the two others; x, weight and y may be gradients."""
    shared = weight.shape[2] // groups
    shares = x.shape[1] // weight.shape[2]
    # `Problem` in the file
    numbers = [torch.get_num_threads(), x.shape[0], groups, shares, shared, weight.shape[1]]
    numbers += [*x.shape[2:], *weight.shape[4:]]
    for each in window:
        numbers += each
    numbers += [*x.stride(), *weight.stride(), *y.stride()]
    cpp_library(SOURCE).local_aggregation(
        ctypes.c_int(("y", "x", "weight").index(wanted)),
        ctypes.c_int(TYPES[x.dtype, weight.dtype]),
        (ctypes.c_int64 * len(numbers))(*numbers),
        *(ctypes.c_void_p(each.data_ptr()) for each in (x, weight, y)),
    )
