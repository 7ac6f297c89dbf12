"""Local aggregation as operators of torch: compilers, exporters and autocast see one node.

They take pairs; what users call is in the package itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmssl.ops.implementation import on_device, runs_kernels
from mmssl.ops.local_aggregation.cpp import backward_cpp, forward_cpp, runs_cpp
from mmssl.ops.local_aggregation.shifted import backward_shifted, forward_shifted
from mmssl.ops.local_aggregation.window import Window

_OPTIONS = (
    "int[2] kernel_size, int[2] stride, int[2] padding, int[2] dilation, int groups, "
    "str implementation"
)


def _window(*pairs: Sequence[int]) -> Window:
    return Window(*((each[0], each[1]) for each in pairs))


def _empty_result(x: Tensor, weight: Tensor) -> Tensor:
    """An output, channels innermost where those of x are."""
    # dense or not: also a part of the channels of a larger map keeps its layout
    innermost = x.stride(1) == 1 and x.shape[1] > 1
    layout = torch.channels_last if innermost else torch.contiguous_format
    size = (x.shape[0], weight.shape[1] * x.shape[1], weight.shape[4], weight.shape[5])
    return torch.empty(size, dtype=x.dtype, device=x.device, memory_format=layout)


def _empty_gradients(
    x: Tensor, weight: Tensor, need_x: bool, need_weight: bool
) -> tuple[Tensor, Tensor]:
    return (
        torch.empty_like(x) if need_x else x.new_empty(0),
        torch.empty_like(weight) if need_weight else weight.new_empty(0),
    )


@torch.library.custom_op(
    "mmssl::local_aggregation",
    mutates_args=(),
    schema=f"(Tensor x, Tensor weight, {_OPTIONS}) -> Tensor",
)
def aggregate(
    x: Tensor,
    weight: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    implementation: str,
) -> Tensor:
    """The result.

    Args:
        x: (N, C, H, W) values.
        weight: (N, G, Cw, kh * kw, Ho, Wo).
        kernel_size: kh, kw.
        stride: Vertical and horizontal.
        padding: Vertical and horizontal.
        dilation: Vertical and horizontal.
        groups: Blocks of channels.
        implementation: "auto", "cpp", "shifted" or "triton"; see `runs_kernels` and `runs_cpp`.

    Returns:
        (N, G * C, Ho, Wo).
    """
    y = _empty_result(x, weight)
    forward = forward_shifted
    if runs_kernels(implementation, x):
        from mmssl.ops.local_aggregation.triton import forward_triton as forward
    elif runs_cpp(implementation, x, weight):
        forward = forward_cpp
    if y.numel():
        with on_device(y, "local_aggregation"):
            forward(x, weight, _window(kernel_size, stride, padding, dilation), groups, y)
    return y


@aggregate.register_fake
def _(x: Tensor, weight: Tensor, *options: Any) -> Tensor:
    return _empty_result(x, weight)


@torch.library.custom_op(
    "mmssl::local_aggregation_backward",
    mutates_args=(),
    schema=(
        f"(Tensor grad, Tensor x, Tensor weight, {_OPTIONS}, bool need_x, bool need_weight) -> "
        "(Tensor, Tensor)"
    ),
)
def aggregate_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    implementation: str,
    need_x: bool,
    need_weight: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients of the inputs of `aggregate`.

    Args:
        grad: (N, G * C, Ho, Wo) gradient of the result.
        x: As for `aggregate`.
        weight: As for `aggregate`.
        kernel_size: As for `aggregate`.
        stride: As for `aggregate`.
        padding: As for `aggregate`.
        dilation: As for `aggregate`.
        groups: As for `aggregate`.
        implementation: As for `aggregate`.
        need_x: Whether that of x is wanted.
        need_weight: Whether that of the weights is wanted.

    Returns:
        Gradients in the shapes and types of x and weight; an empty tensor where none is wanted.
    """
    grad_x, grad_weight = _empty_gradients(x, weight, need_x, need_weight)
    backward = backward_shifted
    if runs_kernels(implementation, x):
        from mmssl.ops.local_aggregation.triton import backward_triton as backward
    elif runs_cpp(implementation, x, weight):
        backward = backward_cpp
    if grad.numel():
        window = _window(kernel_size, stride, padding, dilation)
        targets = (grad_x if need_x else None, grad_weight if need_weight else None)
        with on_device(grad, "local_aggregation"):
            backward(grad, x, weight, window, groups, *targets)
    return grad_x, grad_weight


@aggregate_backward.register_fake
def _(grad: Tensor, x: Tensor, weight: Tensor, *options: Any) -> tuple[Tensor, Tensor]:
    return _empty_gradients(x, weight, options[-2], options[-1])


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.options = inputs[2:]


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    need_x, need_weight = ctx.needs_input_grad[:2]
    grad_x, grad_weight = aggregate_backward(grad, x, weight, *ctx.options, need_x, need_weight)
    return (
        grad_x if need_x else None,
        grad_weight if need_weight else None,
        *(None for _ in ctx.options),
    )


def _refuse(ctx: Any, *grads: Tensor) -> None:
    raise NotImplementedError(
        "local_aggregation has no second derivative in this implementation; "
        'local_aggregation(..., implementation="reference") has.'
    )


aggregate.register_autograd(_differentiate, setup_context=_keep)
aggregate_backward.register_autograd(_refuse)
