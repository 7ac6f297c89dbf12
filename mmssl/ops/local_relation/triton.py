"""Local relation on GPUs: one pass over the taps with a running softmax, and two backward kernels.

The backward pass computes the weights again from the log-sum-exp. One kernel gathers by output position
(queries, prior), one by input position (keys, values, saliency): nothing is added atomically, results
repeat bit by bit. Sums are in float32, in float64 for float64.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from mmssl.ops.local_relation.kernels import by_input_kernel, by_output_kernel, forward_kernel
from mmssl.ops.local_relation.relation import Gradients, Relation, saliency_readers
from mmssl.ops.local_relation.similarity import SIMILARITIES
from mmssl.ops.local_window import sum_type

MAX_OFFSET = 2**31 - 1
"""Largest offset within a tensor that the kernels reach with 32 bits."""


def _reaches_far(*tensors: Tensor) -> bool:
    """Whether an offset within one of the tensors needs 64 bits."""
    return any(
        sum((size - 1) * stride for size, stride in zip(each.shape, each.stride(), strict=True))
        > MAX_OFFSET
        for each in tensors
    )


def _alignment(*maps: Tensor) -> int:
    """How many channels of all `maps` can be read at once where channels are innermost, 0 elsewhere."""
    if any(each.stride(1) != 1 for each in maps):
        return 0
    steps = (each.stride(axis) for each in maps for axis in (0, 2, 3))
    return math.gcd(16 // min(each.element_size() for each in maps), *steps)


def _options(
    query: Tensor, key: Tensor, value: Tensor, relation: Relation, dtype: torch.dtype
) -> dict[str, Any]:
    """What the kernels are compiled for."""
    inner, outer = query.shape[1] // relation.groups, value.shape[1] // relation.groups
    rounded = triton.next_power_of_2(inner), triton.next_power_of_2(outer)
    return dict(
        KH=relation.kernel_size[0], KW=relation.kernel_size[1],
        SH=relation.stride[0], SW=relation.stride[1],
        DH=relation.dilation[0], DW=relation.dilation[1],
        SCALE=relation.scale, OUTSIDE=relation.outside, KIND=SIMILARITIES.index(relation.similarity),
        E=inner, M=outer, BE=rounded[0], BM=rounded[1], EXTRA=key.shape[1] - query.shape[1],
        # some 16 sums for each thread of four warps
        BLOCK=max(min(2048 // max(rounded), 128), 16),
        SUM=tl.float64 if dtype == torch.float64 else tl.float32,
    )  # fmt: skip


def _steps(*tensors: Tensor, unit: int = 1) -> list[int]:
    """Strides in units of `unit` numbers, or as they are where it is 0."""
    return [step // max(unit, 1) for each in tensors for step in each.stride()]


def _sizes(places: Tensor, key: Tensor, query: Tensor) -> tuple[int, ...]:
    return places.shape[0] * places.shape[2] * places.shape[3], *key.shape[2:], *query.shape[2:]


def forward_triton(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    position_weight: Tensor,
    relation: Relation,
    out: Tensor,
    log_total: Tensor,
) -> None:
    """`forward_shifted` by a kernel; same arguments."""
    options = _options(query, key, value, relation, sum_type(query, key, value, position_weight))
    sizes = _sizes(out, key, query)
    tensors = (query, key, value, out, log_total)
    align = _alignment(value, out)
    forward_kernel[(triton.cdiv(sizes[0], options["BLOCK"]), relation.groups)](
        query, key, value, position_weight.contiguous(), out, log_total,
        *_steps(query, key), *_steps(value, out, unit=align), *_steps(log_total), *sizes,
        **options, ALIGN=align, WIDE=_reaches_far(*tensors),
    )  # fmt: skip


def backward_triton(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    position_weight: Tensor,
    out: Tensor,
    log_total: Tensor,
    relation: Relation,
    into: Gradients,
) -> None:
    """`backward_shifted` by two kernels; same arguments."""
    seen, prior = (grad, query, key, value), position_weight.contiguous()
    options = _options(query, key, value, relation, log_total.dtype)
    mean = log_total
    if into.any_of_logits():
        mean = torch.empty_like(log_total)
        _by_output(seen, prior, out, log_total, mean, options, into)
    if into.key is not None or into.value is not None:
        _by_input(seen, prior, log_total, mean, options, into)


def _by_output(
    seen: tuple[Tensor, Tensor, Tensor, Tensor],
    prior: Tensor,
    out: Tensor,
    log_total: Tensor,
    mean: Tensor,
    options: dict[str, Any],
    into: Gradients,
) -> None:
    """Write `mean`, and what is wanted of the gradients of the queries and the prior."""
    grad, query, key, value = seen
    # what is not wanted is not touched: any tensor stands for it
    grad_query = query if into.query is None else into.query
    sizes = _sizes(out, key, query)
    programs = triton.cdiv(sizes[0], options["BLOCK"])
    by_program = mean
    if into.position_weight is not None:
        by_program = mean.new_empty((programs, *prior.shape))
    tensors = (*seen, out, log_total, grad_query)
    align = _alignment(grad, value, out)
    by_output_kernel[(programs, prior.shape[0])](
        grad, query, key, value, prior, out, log_total, mean, grad_query, by_program,
        *_steps(grad, unit=align), *_steps(query, key), *_steps(value, out, unit=align),
        *_steps(log_total, grad_query), *sizes,
        **options, ALIGN=align, WIDE=_reaches_far(*tensors, by_program),
        QUERY=into.query is not None, PRIOR=into.position_weight is not None,
    )  # fmt: skip
    if into.position_weight is not None:
        into.position_weight.copy_(by_program.sum(0))


def _by_input(
    seen: tuple[Tensor, Tensor, Tensor, Tensor],
    prior: Tensor,
    log_total: Tensor,
    mean: Tensor,
    options: dict[str, Any],
    into: Gradients,
) -> None:
    """Write what is wanted of the gradients of keys and values."""
    grad, query, key, value = seen
    grad_key = key if into.key is None else into.key
    grad_value = value if into.value is None else into.value
    groups, extra = prior.shape[0], options["EXTRA"]
    by_group = mean
    if extra and into.key is not None:
        by_group = mean.new_empty((groups, key.shape[0], *key.shape[2:]))
    sizes = _sizes(key, key, query)
    tensors = (*seen, log_total, grad_key, grad_value)
    align = _alignment(grad, value, grad_value)
    by_input_kernel[(triton.cdiv(sizes[0], options["BLOCK"]), groups)](
        grad, query, key, value, prior, log_total, mean, grad_key, grad_value, by_group,
        *_steps(grad, unit=align), *_steps(query, key), *_steps(value, unit=align),
        *_steps(log_total, grad_key), *_steps(grad_value, unit=align), *sizes,
        **options, ALIGN=align, WIDE=_reaches_far(*tensors, by_group),
        KEY=into.key is not None, VALUE=into.value is not None,
    )  # fmt: skip
    if extra and into.key is not None:
        for channel, readers in enumerate(saliency_readers(groups, extra), query.shape[1]):
            into.key[:, channel] = by_group[readers].sum(0)
