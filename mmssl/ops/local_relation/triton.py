"""Local relation on GPUs: one pass over the taps with a running softmax, and two backward kernels.

The backward pass computes the weights again from the log-sum-exp. One kernel gathers by output position
(queries, prior), one by input position (keys, values, saliency): nothing is added atomically, results
repeat bit by bit. Sums are in float32, in float64 for float64.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from mmssl.ops.local_relation.kernels import by_input_kernel, by_output_kernel, forward_kernel
from mmssl.ops.local_relation.relation import Gradients, Relation, sum_type
from mmssl.ops.local_relation.similarity import SIMILARITIES

MAX_OFFSET = 2**31 - 1
"""Largest offset within a tensor that the kernels reach with 32 bits."""


def _reaches_far(*tensors: Tensor) -> bool:
    """Whether an offset within one of the tensors needs 64 bits."""
    return any(
        sum((size - 1) * stride for size, stride in zip(each.shape, each.stride(), strict=True))
        > MAX_OFFSET
        for each in tensors
    )


def _options(
    query: Tensor, value: Tensor, relation: Relation, dtype: torch.dtype
) -> dict[str, Any]:
    """What the kernels are compiled for."""
    inner, outer = query.shape[1] // relation.groups, value.shape[1] // relation.groups
    rounded = triton.next_power_of_2(inner), triton.next_power_of_2(outer)
    return dict(
        KH=relation.kernel_size[0], KW=relation.kernel_size[1],
        SH=relation.stride[0], SW=relation.stride[1],
        DH=relation.dilation[0], DW=relation.dilation[1],
        SCALE=relation.scale, OUTSIDE=relation.outside, KIND=SIMILARITIES.index(relation.similarity),
        E=inner, M=outer, BE=rounded[0], BM=rounded[1],
        # some 16 sums for each thread of four warps
        BLOCK=max(min(2048 // max(rounded), 128), 16),
        SUM=tl.float64 if dtype == torch.float64 else tl.float32,
    )  # fmt: skip


def forward_triton(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    position_weight: Tensor,
    saliency: Tensor | None,
    relation: Relation,
    out: Tensor,
    log_total: Tensor,
) -> None:
    """`forward_shifted` by a kernel; same arguments."""
    options = _options(query, value, relation, sum_type(query, key, value, position_weight))
    places = out.shape[0] * out.shape[2] * out.shape[3]
    salient = key if saliency is None else saliency
    tensors = (query, key, value, salient, out, log_total)
    forward_kernel[(triton.cdiv(places, options["BLOCK"]), relation.groups)](
        query, key, value, position_weight.contiguous(), salient, out, log_total,
        *(each.stride() for each in tensors),
        places, *key.shape[2:], *query.shape[2:],
        **options, SALIENT=saliency is not None, WIDE=_reaches_far(*tensors),
    )  # fmt: skip


def backward_triton(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    position_weight: Tensor,
    saliency: Tensor | None,
    out: Tensor,
    log_total: Tensor,
    relation: Relation,
    into: Gradients,
) -> None:
    """`backward_shifted` by two kernels; same arguments."""
    options = _options(query, value, relation, log_total.dtype)
    salient, grad_salient = (key, into.key) if saliency is None else (saliency, into.saliency)
    seen = (grad, query, key, value, salient)
    options |= dict(
        SALIENT=saliency is not None,
        WIDE=_reaches_far(*seen, out, log_total, into.query, into.key, into.value, grad_salient),
    )
    sizes = (*key.shape[2:], *query.shape[2:])
    prior, mean = position_weight.contiguous(), torch.empty_like(log_total)
    places = out.shape[0] * out.shape[2] * out.shape[3]
    programs = triton.cdiv(places, options["BLOCK"])
    by_program = log_total.new_empty((programs, *position_weight.shape))
    tensors = (*seen, out, log_total, into.query)
    by_output_kernel[(programs, relation.groups)](
        grad, query, key, value, prior, salient, out, log_total, mean, into.query, by_program,
        *(each.stride() for each in tensors), places, *sizes, **options,
    )  # fmt: skip
    into.position_weight.copy_(by_program.sum(0))
    changed = (*seen, log_total, into.key, into.value, grad_salient)
    places = key.shape[0] * key.shape[2] * key.shape[3]
    by_input_kernel[(triton.cdiv(places, options["BLOCK"]), relation.groups)](
        grad, query, key, value, prior, salient, log_total, mean, into.key, into.value, grad_salient,
        *(each.stride() for each in changed), places, *sizes, **options,
    )  # fmt: skip
