"""Local aggregation on GPUs: which kernel, in tiles of which size.

Weights are read once for all channels that share them, results are written once, and nothing is added
atomically: results repeat bit by bit. Nothing but results is allocated, unless the gradient of the result
and x differ in whether channels are innermost: then the gradient is copied. Sums are in float32, in
float64 for float64.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from mmssl.ops.local_aggregation import channel_kernels, kernels
from mmssl.ops.local_aggregation.window import Window

MAX_OFFSET = 2**31 - 1
"""Largest offset within an image that kernels reach with 32 bits; images are always found with 64."""

MANY = 16
"""Taps from which on threads read fewer channels at once, for want of registers."""


class Tile(NamedTuple):
    """What a program owns: `rows` x `positions` positions, and weight channels with all that share them.

    `taps_first` says that neighbouring threads go along the taps of a weight channel where these are
    innermost in memory, not along weight channels: more instructions, fewer lines of the cache for each.
    """

    rows: int
    channels: int
    positions: int
    warps: int = 4
    taps_first: bool = False


def reaches_far(*tensors: Tensor) -> bool:
    """Whether an offset within an image of one of the tensors is above `MAX_OFFSET`.

    Args:
        tensors: (N, ...) each.
    """
    return any(
        sum((n - 1) * step for n, step in zip(each.shape[1:], each.stride()[1:], strict=True))
        > MAX_OFFSET
        for each in tensors
    )


def map_tile(height: int, width: int, shared: int, *, taps: int) -> Tile:
    """The tile for maps whose positions are neighbours in memory, with few threads beyond their border.

    Args:
        height: Of the result.
        width: Of the result.
        shared: Weight channels of a group.
        taps: Of the window; the more, the fewer rows, for all products of a thread are written out.
    """
    rows = 4 if taps <= 9 else 2 if taps <= 25 else 1
    rows = min(rows, triton.next_power_of_2(height))
    places = triton.cdiv(height, rows) * width
    if places >= 1024:
        # little is lost beyond the border, and all large maps have the same kernels
        return Tile(rows, 1, 128)
    covered = {size: triton.cdiv(places, size) * size for size in (128, 64, 32, 16)}
    fitting = [size for size, total in covered.items() if total <= 1.15 * places]
    positions = fitting[0] if fitting else min(covered, key=lambda size: covered[size])
    channels = min(triton.next_power_of_2(shared), 128 // positions)
    return Tile(rows, channels, positions)


def channel_tile(shared: int, *, taps: int, taps_first: bool) -> Tile:
    """The tile for maps whose channels are neighbours in memory.

    Args:
        shared: Weight channels of a group.
        taps: Of the window; a thread holds the weights of all.
        taps_first: See `Tile`.
    """
    channels = min(triton.next_power_of_2(shared), 8)
    return Tile(1, channels, (512 if taps <= MANY else 256) // channels, taps_first=taps_first)


def _is_flat(weight: Tensor) -> bool:
    """Whether one stride leads from every position of the weights to the next."""
    return weight.stride(4) == weight.shape[5] * weight.stride(5)


def _alignment(shared: int, x: Tensor, y: Tensor, most: int) -> int:
    """How many channels of maps with innermost channels can be read at once, up to `most` or 16 bytes."""
    most = min(most, 16 // max(x.element_size(), y.element_size()))
    numbers = (shared, x.stride(0), *x.stride()[2:], y.stride(0), *y.stride()[2:])
    return math.gcd(most, *numbers)


class _Job(NamedTuple):
    """One of the three passes: its kernels, and over which positions and channels it goes."""

    kernel: Any
    channel_kernel: Any
    over_input: bool
    over_heads: bool
    over_shares: bool


def _order(weight: Tensor, job: _Job, tile: Tile) -> str:
    """Along what neighbouring threads go where they read or write weights."""
    if weight.stride(3) != 1:
        return "positions"
    return "taps" if tile.taps_first and not job.over_input else "channels"


FORWARD = _Job(kernels.forward_kernel, channel_kernels.forward_kernel, False, True, True)
GRAD_X = _Job(kernels.grad_x_kernel, channel_kernels.grad_x_kernel, True, False, True)
GRAD_WEIGHT = _Job(
    kernels.grad_weight_kernel, channel_kernels.grad_weight_kernel, False, True, False
)


def launch(
    job: _Job,
    x: Tensor,
    weight: Tensor,
    y: Tensor,
    window: Window,
    groups: int,
    tile: Tile | None = None,
) -> None:
    """Run one pass over all images.

    Args:
        job: `FORWARD`, `GRAD_X` or `GRAD_WEIGHT`.
        x: (N, C, H, W) values or their gradient.
        weight: (N, G, Cw, kh * kw, Ho, Wo) weights or their gradient.
        y: (N, G * C, Ho, Wo) result or its gradient.
        window: Taps of an output position.
        groups: Blocks of channels.
        tile: What a program owns; chosen if None.
    """
    height, width = x.shape[2:]
    heads, weight_channels, _, rows, columns = weight.shape[1:]
    shared, shares = weight_channels // groups, x.shape[1] // weight_channels
    lines, line = (height, width) if job.over_input else (rows, columns)
    by_channel = x.stride(1) == y.stride(1) == 1 and x.shape[1] > 1 and _is_flat(weight)
    if tile is None and by_channel:
        tile = channel_tile(shared, taps=window.num_taps, taps_first=not job.over_shares)
    elif tile is None:
        tile = map_tile(lines, line, shared, taps=window.num_taps)
    share_tile = min(triton.next_power_of_2(shares), 8)
    channel_blocks = triton.cdiv(shared, tile.channels)
    share_blocks = triton.cdiv(shares, share_tile)
    blocks = triton.cdiv(triton.cdiv(lines, tile.rows) * line, tile.positions)
    units = channel_blocks * groups
    units *= (heads if job.over_heads else 1) * (share_blocks if job.over_shares else 1)
    grid = (blocks * units * x.shape[0],)
    taps = (heads, *window.kernel, *window.stride, *window.padding, *window.dilation)
    options = dict(
        EVEN=shared % tile.channels == 0 and shares % share_tile == 0,
        INT=tl.int64 if reaches_far(x, weight, y) else tl.int32,
        SUM=tl.float64 if torch.float64 in (x.dtype, weight.dtype, y.dtype) else tl.float32,
        SHARES=share_tile, CHANNELS=tile.channels, POSITIONS=tile.positions, num_warps=tile.warps,
    )  # fmt: skip
    if by_channel:
        # sums over shares need all of them in one thread, which leaves room for four channels
        most = 2 if window.num_taps > MANY else 8 if job.over_shares else 4
        align = _alignment(shared, x, y, most)
        strides = [(each.stride(0), *each.stride()[2:]) for each in (x, y)]
        job.channel_kernel[grid](
            x, weight, y,
            height, width, rows, columns, groups, shared // align, shares,
            channel_blocks, share_blocks, blocks,
            *(stride // align for stride in strides[0]),
            *weight.stride()[:4], weight.stride(5),
            *(stride // align for stride in strides[1]),
            *taps, ORDER=_order(weight, job, tile), ALIGN=align,
            TAPS=triton.next_power_of_2(window.num_taps), **options,
        )  # fmt: skip
    else:
        job.kernel[grid](
            x, weight, y,
            height, width, rows, columns, groups, shared, shares,
            channel_blocks, share_blocks, blocks,
            *x.stride(), *weight.stride(), *y.stride(),
            *taps, UNIT=x.stride(3) == weight.stride(5) == y.stride(3) == 1,
            ROWS=tile.rows, **options,
        )  # fmt: skip


def forward_triton(x: Tensor, weight: Tensor, window: Window, groups: int, y: Tensor) -> None:
    """Write the result to `y`; arguments as for `reference`.

    Args:
        x: (N, C, H, W) values.
        weight: (N, G, Cw, kh * kw, Ho, Wo).
        window: Taps of an output position.
        groups: Blocks of channels.
        y: (N, G * C, Ho, Wo) to be written.
    """
    launch(FORWARD, x, weight, y, window, groups)


def backward_triton(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    window: Window,
    groups: int,
    grad_x: Tensor | None,
    grad_weight: Tensor | None,
) -> None:
    """Write the gradients that are wanted.

    Args:
        grad: (N, G * C, Ho, Wo) of the result.
        x: (N, C, H, W) values.
        weight: (N, G, Cw, kh * kw, Ho, Wo).
        window: Taps of an output position.
        groups: Blocks of channels.
        grad_x: Like x, to be written, or None.
        grad_weight: Like weight, to be written, or None.
    """
    if (grad.stride(1) == 1) != (x.stride(1) == 1):
        # a layout of its own would cost more than this copy
        layout = torch.channels_last if x.stride(1) == 1 else torch.contiguous_format
        grad = grad.contiguous(memory_format=layout)
    if grad_x is not None:
        launch(GRAD_X, grad_x, weight, grad, window, groups)
    if grad_weight is not None:
        launch(GRAD_WEIGHT, x, grad_weight, grad, window, groups)
