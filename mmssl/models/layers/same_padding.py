"""Convolution and pooling that pad as TensorFlow and JAX do under the name SAME.

Their output has ceil(size / stride) places, and what has to be added for that is split with the larger half
at the bottom and the right. Behind a stride of 2 and on even sizes this is another grid than that of torch's
symmetric padding: 3x3 windows are padded by (0, 1) instead of (1, 1), 7x7 windows by (2, 3) instead of
(3, 3).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def same_padding(size: int, *, window: int, stride: int) -> tuple[int, int]:
    """Places to add before and behind an axis.

    Args:
        size: Of the axis.
        window: Of the kernel along it.
        stride: Of the kernel along it.

    Example:
        >>> same_padding(224, window=7, stride=2), same_padding(7, window=3, stride=2)
        ((2, 3), (1, 1))
    """
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def _padded(maps: Tensor, window: int, stride: int, value: float) -> Tensor:
    rows, columns = (
        same_padding(int(size), window=window, stride=stride) for size in maps.shape[-2:]
    )
    return F.pad(maps, (*columns, *rows), value=value)


class SamePaddedConv2d(nn.Conv2d):
    """A convolution of a square kernel, not dilated, with SAME padding; names and shapes are `nn.Conv2d`'s.

    Args:
        in_channels: Of the input.
        out_channels: Of the output.
        kernel_size: Side of the kernel.
        stride: Of the kernel.
        bias: Whether there is one.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int, bias: bool
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, bias=bias)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, D, ceil(H / stride), ceil(W / stride))."""
        return super().forward(_padded(maps, self.kernel_size[0], self.stride[0], 0.0))


class SamePaddedMaxPool2d(nn.Module):
    """Maximum over square windows with SAME padding, which is never the maximum.

    Args:
        kernel_size: Side of the window.
        stride: Of the window.
    """

    def __init__(self, kernel_size: int, *, stride: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, C, ceil(H / stride), ceil(W / stride))."""
        padded = _padded(maps, self.kernel_size, self.stride, float("-inf"))
        return F.max_pool2d(padded, self.kernel_size, self.stride)


def pad_same(network: nn.Module) -> None:
    """Replace the strided convolutions and maximum pools of a network in place; weights stay as they are.

    Others are left, for windows of 1 and strides of 1 are padded alike by both rules.

    Args:
        network: With square kernels that are neither dilated nor grouped.
    """
    for name, child in list(network.named_children()):
        if isinstance(child, nn.Conv2d) and child.stride[0] > 1 and child.kernel_size[0] > 1:
            conv = SamePaddedConv2d(
                child.in_channels,
                child.out_channels,
                child.kernel_size[0],
                stride=child.stride[0],
                bias=child.bias is not None,
            )
            conv.weight, conv.bias = child.weight, child.bias
            setattr(network, name, conv)
        elif isinstance(child, nn.MaxPool2d):
            setattr(
                network,
                name,
                SamePaddedMaxPool2d(int(child.kernel_size), stride=int(child.stride)),
            )
        else:
            pad_same(child)
