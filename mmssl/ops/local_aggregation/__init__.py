"""Local aggregation (CoTNet): every output position sums its neighbourhood with weights of its own.

Contextual Transformer Networks for Visual Recognition (CoTNet), 2021, arXiv 2107.12292; compared with the
official code (goldens `agg_*`). `reference.py` is the formula, `cpp.py` what CPUs run, `shifted.py` what they
run without a compiler, `triton.py` what GPUs run.
"""

from __future__ import annotations

from torch import Tensor

from mmssl.ops.implementation import checked_implementation, refuse_tangents
from mmssl.ops.local_aggregation.operator import aggregate
from mmssl.ops.local_aggregation.reference import reference
from mmssl.ops.local_aggregation.window import Window, check_aggregation
from mmssl.ops.local_window import pair, whole_number

__all__ = ["local_aggregation"]


def local_aggregation(
    x: Tensor,
    weight: Tensor,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    *,
    implementation: str = "auto",
) -> Tensor:
    """Sum every neighbourhood of `x` with weights that differ from position to position.

        y[n, head * C + c, h, w] = sum_{i, j} weight[n, head, q(c), i * kw + j, h, w]
                                   * x[n, c, h * stride - padding + i * dilation, w * stride - ...]

    Inputs may have different types, as GroupNorm leaves them under autocast: sums are in float32 at least,
    each gradient has the type of its tensor. Maps may have any strides. The fast implementations keep only
    the inputs, allocate only results (on CPUs also up to a few megabytes to work with, "cpp" for each thread;
    on GPUs a copy of a gradient that comes in another layout than x), and repeat bit by bit.
    Second derivatives, derivatives in forward mode (`torch.func.jvp`) and `torch.func.grad`, `vjp` and
    `jacrev`, which torch refuses for operators of one's own, exist with "reference".

    Args:
        x: (N, C, H, W) values; zero outside.
        weight: (N, G, Cw, kh * kw, Ho, Wo) weights of G heads. With q = Cw / groups, channel c of x is in
            block j = c // (C / groups) and has weight channel j * q + (c mod (C / groups)) mod q.
        kernel_size: Taps, vertical and horizontal.
        stride: Step between output positions.
        padding: Zeros around x.
        dilation: Step between taps.
        groups: Blocks of channels with weight channels of their own.
        implementation: "reference" (the formula), "shifted" (any device), "cpp" (CPU; compiled when it first
            runs; float32, float64, bfloat16), "triton" (GPU), or "auto": the last of these that can run, and
            the formula while a model is exported to ONNX.

    Returns:
        (N, G * C, Ho, Wo), channel head * C + c, in the dtype of x.

    Raises:
        TypeError: A tensor is not floating-point.
        ValueError: Shapes, options or devices do not fit together, or there is no such implementation.
        RuntimeError: "cpp" without a C++ compiler.
        NotImplementedError: A derivative in forward mode (`torch.func.jvp`) of another than "reference".

    Example:
        >>> import torch
        >>> y = local_aggregation(torch.ones(1, 8, 4, 4), torch.ones(1, 1, 2, 9, 4, 4), 3, padding=1)
        >>> y[0, 0, 0].tolist()
        [4.0, 6.0, 6.0, 4.0]
    """
    window = Window(
        pair(kernel_size, "kernel_size", least=1),
        pair(stride, "stride", least=1),
        pair(padding, "padding", least=0),
        pair(dilation, "dilation", least=1),
    )
    groups = whole_number(groups, "groups", least=1)
    check_aggregation(x, weight, window, groups)
    implementation = checked_implementation(implementation, x, "cpp")
    if implementation == "reference":
        return reference(x, weight, window, groups)
    refuse_tangents("local_aggregation", x, weight)
    return aggregate(x, weight, *window, groups, implementation)
