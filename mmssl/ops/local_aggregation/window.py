"""The window of a local operator: kernel, stride, padding and dilation, and what shapes follow from them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Window(NamedTuple):
    """Which input positions an output position looks at; each entry is (vertical, horizontal).

    Tap (i, j) of output position (h, w) is input position
    (h * stride - padding + i * dilation, w * stride - padding + j * dilation).
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    @property
    def num_taps(self) -> int:
        """Positions of the window; tap (i, j) has the index i * kernel[1] + j."""
        return self.kernel[0] * self.kernel[1]

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the output for an input of `height` x `width`; may be below 1."""
        rows, columns = (
            (size + 2 * self.padding[axis] - self.dilation[axis] * (self.kernel[axis] - 1) - 1)
            // self.stride[axis]
            + 1
            for axis, size in enumerate((height, width))
        )
        return rows, columns

    def inside(self, size: tuple[int, int], device: torch.device) -> Tensor:
        """Which taps lie in the map.

        Args:
            size: Height and width of the map.
            device: Of the result.

        Returns:
            (taps, Ho, Wo) whether the tap of the output position does.
        """
        axes = []
        for axis, places in enumerate(self.output_size(*size)):
            first = torch.arange(places, device=device) * self.stride[axis] - self.padding[axis]
            offset = torch.arange(self.kernel[axis], device=device) * self.dilation[axis]
            seen = first + offset[:, None]
            axes.append((seen >= 0) & (seen < size[axis]))
        rows, columns = axes
        return (rows[:, None, :, None] & columns[:, None]).flatten(0, 1)


def check_aggregation(x: Tensor, weight: Tensor, window: Window, groups: int) -> None:
    """Refuse what local aggregation is not defined for.

    Args:
        x: (N, C, H, W) values.
        weight: (N, G, Cw, kh * kw, Ho, Wo) weights.
        window: Taps of an output position.
        groups: Blocks of channels.

    Raises:
        TypeError: A tensor is not floating-point.
        ValueError: Dimensions, channels, groups or sizes do not fit together.
    """
    if x.dim() != 4 or weight.dim() != 6:
        raise ValueError(
            "local_aggregation takes values (N, C, H, W) and weights (N, heads, weight channels, taps, "
            f"output height, output width), not {tuple(x.shape)} and {tuple(weight.shape)}"
        )
    if not (x.is_floating_point() and weight.is_floating_point()):
        raise TypeError(
            f"local_aggregation takes floating-point tensors, not {x.dtype} and {weight.dtype}"
        )
    if x.device != weight.device:
        raise ValueError(
            f"values are on {x.device}, weights on {weight.device}: move one to the other's device"
        )
    channels, height, width = x.shape[1:]
    heads, weight_channels, taps = weight.shape[1:4]
    if channels % groups or weight_channels % groups:
        raise ValueError(
            f"groups={groups} has to divide the {channels} channels of the values and the "
            f"{weight_channels} channels of the weights"
        )
    if min(channels, heads, weight_channels) < 1 or channels % weight_channels:
        raise ValueError(
            f"the {weight_channels} weight channels (of {heads} heads) have to divide the {channels} "
            "channels of the values: each serves the same number of them"
        )
    if taps != window.num_taps:
        raise ValueError(
            f"a {window.kernel[0]} x {window.kernel[1]} window has {window.num_taps} taps, the weights "
            f"{tuple(weight.shape)} have {taps} in dimension 3"
        )
    size = window.output_size(height, width)
    if min(size) < 1:
        raise ValueError(
            f"the window {window} does not fit into a map of {height} x {width}: use more padding or "
            "a smaller kernel"
        )
    expected = (x.shape[0], *size)
    if (weight.shape[0], *weight.shape[4:]) != expected:
        raise ValueError(
            f"for values {tuple(x.shape)} the weights need batch, height and width {expected}, theirs "
            f"are {(weight.shape[0], *weight.shape[4:])}"
        )
