"""Local aggregation (CoTNet): every output position sums its neighbourhood with weights of its own.

Contextual Transformer Networks for Visual Recognition (CoTNet), 2021, arXiv 2107.12292; compared with the
official code (goldens `agg_*`). `reference.py` is the formula.
"""

from __future__ import annotations

from torch import Tensor

from mmssl.ops.local_aggregation.reference import reference
from mmssl.ops.local_aggregation.window import Window, check_aggregation, pair

__all__ = ["local_aggregation"]

IMPLEMENTATIONS = ("auto", "reference")


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

    Args:
        x: (N, C, H, W) values; zero outside.
        weight: (N, G, Cw, kh * kw, Ho, Wo) weights of G heads. With q = Cw / groups, channel c of x is in
            block j = c // (C / groups) and has weight channel j * q + (c mod (C / groups)) mod q.
        kernel_size: Taps, vertical and horizontal.
        stride: Step between output positions.
        padding: Zeros around x.
        dilation: Step between taps.
        groups: Blocks of channels with weight channels of their own.
        implementation: "auto" or "reference".

    Returns:
        (N, G * C, Ho, Wo), channel head * C + c, in the dtype of x.

    Raises:
        ValueError: Shapes do not fit together, or there is no such implementation.

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
    check_aggregation(x, weight, window, groups)
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"implementation is one of {IMPLEMENTATIONS}, not {implementation!r}")
    return reference(x, weight, window, groups)
