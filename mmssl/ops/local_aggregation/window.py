"""The window of a local operator: kernel, stride, padding and dilation, and what shapes follow from them."""

from __future__ import annotations

from typing import NamedTuple

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

    def keeps_size(self) -> bool:
        """Whether the output has the size of the input, position by position."""
        return self.stride == (1, 1) and all(
            2 * padding == dilation * (kernel - 1)
            for kernel, padding, dilation in zip(
                self.kernel, self.padding, self.dilation, strict=True
            )
        )


def pair(value: int | tuple[int, int] | list[int], name: str, *, least: int) -> tuple[int, int]:
    """`value` for both axes, checked.

    Args:
        value: One number for both axes, or (vertical, horizontal).
        name: What it is, for the message.
        least: Smallest number allowed.

    Raises:
        ValueError: It is not one or two whole numbers, or one is below `least`.
    """
    both = (value, value) if isinstance(value, int) else tuple(value)
    if len(both) != 2 or not all(isinstance(each, int) and each >= least for each in both):
        raise ValueError(
            f"{name} is a whole number of at least {least}, or two of them (vertical, horizontal), "
            f"not {value!r}"
        )
    return both[0], both[1]


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
    if groups < 1 or channels % groups or weight_channels % groups:
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
