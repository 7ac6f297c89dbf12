"""SmallMapConv2d: a convolution that is one matrix product where its output has very few positions.

For CPUs and weights with channels last only. Convolution kernels of CPUs are made for large maps: the last
stage of a ResNet at 64 px (2x2 positions, 512 channels) takes three to four times as long in them as in a
product of gathered windows. tools/benchmarks/small_map_conv.py measures both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MAX_POSITIONS = 4
"""Of the output: with 4x4 positions the windows cost more than they save."""
MIN_CHANNELS = 256
"""Of input and output: below, both ways take microseconds."""
MIN_BATCH = 4


class SmallMapConv2d(nn.Conv2d):
    """`Conv2d` with the same parameters and, but for rounding, the same results."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding = cast("tuple[int, int]", self.padding)  # `use_small_map_conv` leaves out names
        if not self._is_small(input, padding):
            return super()._conv_forward(input, weight, bias)
        return conv_by_product(input, weight, bias, self.stride, padding)

    def _is_small(self, images: Tensor, padding: tuple[int, int]) -> bool:
        if images.device.type != "cpu" or images.dim() != 4 or len(images) < MIN_BATCH:
            return False
        # else the weight would be laid out anew at each call, and the output otherwise than torch's
        if not self.weight.is_contiguous(memory_format=torch.channels_last):
            return False
        rows, columns = (
            (side + 2 * pad - kernel) // stride + 1
            for side, pad, kernel, stride in zip(
                images.shape[2:], padding, self.kernel_size, self.stride, strict=True
            )
        )
        return 0 < rows * columns <= MAX_POSITIONS


def conv_by_product(
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
) -> Tensor:
    """Convolution as the product of all windows with the weight; differentiable, also under autocast.

    Args:
        images: (N, C, H, W) floating.
        weight: (D, C, K, L), fastest with channels last.
        bias: (D,) or None.
        stride: Vertical and horizontal.
        padding: With zeros, vertical and horizontal.

    Returns:
        (N, D, H', W') with channels last.
    """
    kernel = weight.shape[2:]
    padded = F.pad(
        images.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0])
    )
    windows = padded.unfold(1, kernel[0], stride[0]).unfold(2, kernel[1], stride[1])
    number, rows, columns = windows.shape[:3]
    # in the order of a weight with channels last, so that neither is laid out anew
    windows = windows.permute(0, 1, 2, 4, 5, 3).reshape(number * rows * columns, -1)
    output = F.linear(windows, weight.permute(0, 2, 3, 1).flatten(1), bias)
    return output.view(number, rows, columns, -1).permute(0, 3, 1, 2)


def use_small_map_conv(model: nn.Module) -> int:
    """Make a `SmallMapConv2d` of every convolution that could gain by it; parameters stay as they are.

    Left out are convolutions with groups, dilation, few channels, a single position as kernel, or padding
    that is not zeros and a number, and subclasses of `Conv2d`.

    Args:
        model: Changed in place.

    Returns:
        The number of these convolutions.
    """
    found = 0
    for module in model.modules():
        if type(module) is nn.Conv2d and _could_gain(module):
            module.__class__ = SmallMapConv2d  # hooks, copies and state dicts go on as before
            found += 1
    return found


def _could_gain(conv: nn.Conv2d) -> bool:
    return (
        conv.groups == 1
        and conv.dilation == (1, 1)
        and conv.kernel_size != (1, 1)
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
        and min(conv.in_channels, conv.out_channels) >= MIN_CHANNELS
    )
