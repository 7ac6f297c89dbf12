"""Local relation as operators of torch: compilers, exporters and autocast see one node.

They take pairs; what users call is in the package itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmssl.ops.implementation import on_device, runs_kernels
from mmssl.ops.local_relation.relation import Gradients, Relation
from mmssl.ops.local_relation.shifted import backward_shifted, forward_shifted
from mmssl.ops.local_window import sum_type

_OPTIONS = (
    "int[2] kernel_size, int groups, int[2] stride, int[2] dilation, float scale, float outside, "
    "str similarity, str implementation"
)
_INPUTS = "Tensor query, Tensor key, Tensor value, Tensor position_weight"


def _relation(
    kernel_size: Sequence[int],
    groups: int,
    stride: Sequence[int],
    dilation: Sequence[int],
    scale: float,
    outside: float,
    similarity: str,
) -> Relation:
    pairs = ((each[0], each[1]) for each in (kernel_size, stride, dilation))
    kernel_size, stride, dilation = pairs
    return Relation(kernel_size, groups, stride, dilation, scale, outside, similarity)


def _empty_results(
    query: Tensor, key: Tensor, value: Tensor, position_weight: Tensor, groups: int
) -> tuple[Tensor, Tensor]:
    """The result, channels innermost where those of the values are, and the log-sum-exp of every window."""
    # dense or not: also a part of the channels of a larger map keeps its layout
    innermost = value.stride(1) == 1 and value.shape[1] > 1
    size = (query.shape[2], query.shape[3])
    out = torch.empty(
        (value.shape[0], value.shape[1], *size),
        dtype=value.dtype,
        device=value.device,
        memory_format=torch.channels_last if innermost else torch.contiguous_format,
    )
    dtype = sum_type(query, key, value, position_weight)
    return out, query.new_empty((query.shape[0], groups, *size), dtype=dtype)


def _empty_gradients(inputs: Sequence[Tensor], needs: Sequence[bool]) -> tuple[Tensor, ...]:
    return tuple(
        torch.empty_like(each) if need else each.new_empty(0)
        for each, need in zip(inputs, needs, strict=True)
    )


@torch.library.custom_op(
    "mmssl::local_relation", mutates_args=(), schema=f"({_INPUTS}, {_OPTIONS}) -> (Tensor, Tensor)"
)
def relate(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    position_weight: Tensor,
    kernel_size: Sequence[int],
    groups: int,
    stride: Sequence[int],
    dilation: Sequence[int],
    scale: float,
    outside: float,
    similarity: str,
    implementation: str,
) -> tuple[Tensor, Tensor]:
    """The result, and the log-sum-exp of every window, which the backward pass needs.

    Args:
        query: (N, G e, Ho, Wo).
        key: (N, G e + extra, H, W), the extra channels a saliency.
        value: (N, G m, H, W).
        position_weight: (G, kh, kw).
        kernel_size: kh, kw.
        groups: G.
        stride: Vertical and horizontal.
        dilation: Vertical and horizontal.
        scale: Factor on the similarity.
        outside: Logit of a tap outside of the map.
        similarity: One of `SIMILARITIES`.
        implementation: "auto", "shifted" or "triton"; see `runs_kernels`.

    Returns:
        (N, G m, Ho, Wo) and (N, G, Ho, Wo).
    """
    relation = _relation(kernel_size, groups, stride, dilation, scale, outside, similarity)
    out, log_total = _empty_results(query, key, value, position_weight, groups)
    forward = forward_shifted
    if runs_kernels(implementation, value):
        from mmssl.ops.local_relation.triton import forward_triton as forward
    if out.numel():
        with on_device(out, "local_relation"):
            forward(query, key, value, position_weight, relation, out, log_total)
    return out, log_total


@relate.register_fake
def _(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    position_weight: Tensor,
    kernel_size: Sequence[int],
    groups: int,
    *options: Any,
) -> tuple[Tensor, Tensor]:
    return _empty_results(query, key, value, position_weight, groups)


@torch.library.custom_op(
    "mmssl::local_relation_backward",
    mutates_args=(),
    schema=(
        f"(Tensor grad, {_INPUTS}, Tensor out, Tensor log_total, {_OPTIONS}, bool[4] needs) -> "
        "(Tensor, Tensor, Tensor, Tensor)"
    ),
)
def relate_backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    position_weight: Tensor,
    out: Tensor,
    log_total: Tensor,
    kernel_size: Sequence[int],
    groups: int,
    stride: Sequence[int],
    dilation: Sequence[int],
    scale: float,
    outside: float,
    similarity: str,
    implementation: str,
    needs: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of the inputs of `relate`, see there for the arguments.

    Args:
        grad: (N, G m, Ho, Wo) gradient of the result.
        query: As for `relate`.
        key: As for `relate`.
        value: As for `relate`.
        position_weight: As for `relate`.
        out: (N, G m, Ho, Wo) its result.
        log_total: (N, G, Ho, Wo) its log-sum-exp.
        kernel_size: As for `relate`.
        groups: As for `relate`.
        stride: As for `relate`.
        dilation: As for `relate`.
        scale: As for `relate`.
        outside: As for `relate`.
        similarity: As for `relate`.
        implementation: As for `relate`.
        needs: Which of the four are wanted.

    Returns:
        Gradients in the shapes and types of the four inputs; an empty tensor where none is wanted.
    """
    relation = _relation(kernel_size, groups, stride, dilation, scale, outside, similarity)
    inputs = (query, key, value, position_weight)
    grads = _empty_gradients(inputs, needs)
    backward = backward_shifted
    if runs_kernels(implementation, value):
        from mmssl.ops.local_relation.triton import backward_triton as backward
    if out.numel():
        into = Gradients(*(each if need else None for each, need in zip(grads, needs, strict=True)))
        with on_device(out, "local_relation"):
            backward(grad, *inputs, out, log_total, relation, into)
    else:
        grads[3].zero_()
    return grads[0], grads[1], grads[2], grads[3]


@relate_backward.register_fake
def _(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    position_weight: Tensor,
    *options: Any,
) -> tuple[Tensor, ...]:
    return _empty_gradients((query, key, value, position_weight), options[-1])


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:4], *output)
    ctx.mark_non_differentiable(output[1])
    ctx.options = inputs[4:]


def _differentiate(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    needs = ctx.needs_input_grad[:4]
    grads = relate_backward(grad, *ctx.saved_tensors, *ctx.options, needs)
    wanted = (each if need else None for each, need in zip(grads, needs, strict=True))
    return (*wanted, *(None for _ in ctx.options))


def _refuse(ctx: Any, *grads: Tensor) -> None:
    raise NotImplementedError(
        "local_relation has no second derivative in this implementation; "
        'local_relation(..., implementation="reference") has.'
    )


relate.register_autograd(_differentiate, setup_context=_keep)
relate_backward.register_autograd(_refuse)
