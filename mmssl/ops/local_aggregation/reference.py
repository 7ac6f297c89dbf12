"""Local aggregation as its formula: one shifted product for every tap, differentiated by autograd.

Contextual Transformer Networks for Visual Recognition (CoTNet), 2021, arXiv 2107.12292, section 3.2;
compared with a simulation of the official CUDA kernels (goldens `agg_*`).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mmssl.ops.local_aggregation.window import Window
from mmssl.ops.local_window import sum_type


def reference(x: Tensor, weight: Tensor, window: Window, groups: int) -> Tensor:
    """The definition, in differentiable operations that every exporter knows (pad, slice, multiply, add).

        y[n, head*C + c, h, w] = sum_t weight[n, head, q(c), t, h, w] * x[n, c, tap t of (h, w)]

    where taps outside the map add nothing, whatever their weights, and q(c) as `local_aggregation` says:
    within a block of channels, neighbours have different weights. Sums are in float32 at least.

    Args:
        x: (N, C, H, W) values.
        weight: (N, G, Cw, kh * kw, Ho, Wo) weights of every output position.
        window: Taps of an output position.
        groups: Blocks of channels.

    Returns:
        (N, G * C, Ho, Wo) in the dtype of x.
    """
    wide = sum_type(x, weight)
    rows, columns = weight.shape[4:]
    (down, right), (step_down, step_right) = window.padding, window.stride
    padded = F.pad(x.to(wide), (right, right, down, down))
    # (N, 1, blocks, channels that share, weight channels of the block, H + 2p, W + 2p)
    shared = weight.shape[2] // groups
    padded = padded.unflatten(1, (1, groups, x.shape[1] // weight.shape[2], shared))
    # (N, G, blocks, 1, weight channels of the block, taps, Ho, Wo)
    inside = window.inside((x.shape[2], x.shape[3]), x.device)
    # zero times a weight that is not finite would not be zero
    weights = torch.where(inside, weight.to(wide), 0).unflatten(2, (groups, 1, shared))
    total = None
    for tap in range(window.num_taps):
        top = tap // window.kernel[1] * window.dilation[0]
        left = tap % window.kernel[1] * window.dilation[1]
        shifted = padded[
            ...,
            top : top + (rows - 1) * step_down + 1 : step_down,
            left : left + (columns - 1) * step_right + 1 : step_right,
        ]
        product = weights[..., tap, :, :] * shifted
        total = product if total is None else total + product
    assert total is not None
    return total.flatten(1, 4).to(x.dtype)
