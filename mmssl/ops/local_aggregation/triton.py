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

    With `columns` = 2 a position stands for two neighbours along a row. At most `shares` of the channels that
    share a weight are worked on together. `taps_first` says that neighbouring threads go along the taps of a
    weight channel where these are innermost in memory, not along weight channels: more instructions, fewer
    lines of the cache for each. `registers` is the most that a thread may have.
    """

    rows: int
    channels: int
    positions: int
    warps: int = 4
    taps_first: bool = False
    columns: int = 1
    shares: int = 8
    registers: int | None = None


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


def map_tile(
    height: int, width: int, shared: int, *, taps: int, columns: int = 1, sums: bool = False
) -> Tile:
    """The tile for maps whose positions are neighbours in memory, with few threads beyond their border.

    There are but two numbers of positions, so that maps of many sizes have the same kernels.

    Args:
        height: Of the result.
        width: Of the result.
        shared: Weight channels of a group.
        taps: Of the window; the more, the fewer rows, for all products of a thread are written out.
        columns: Neighbours along a row that are read together, 1 or 2.
        sums: Whether a thread has a sum for each tap.
    """
    if sums and taps > 25:
        columns = 1
    rows = max((4 if taps <= 9 else 2 if taps <= 25 else 1) // columns, 1)
    rows = min(rows, triton.next_power_of_2(height))
    places = triton.cdiv(height, rows) * (width // columns)
    positions = 128 if triton.cdiv(places, 128) * 128 <= 1.15 * places else 16
    # with so many registers a multiprocessor has four blocks of four warps, or three
    most = 128 if taps <= 9 and (columns == 2 or not sums) else 168
    return Tile(
        rows,
        min(triton.next_power_of_2(shared), 128 // positions),
        positions,
        columns=columns,
        shares=4 if sums and columns == 1 and taps <= 25 else 8,
        registers=most if taps <= 25 else None,
    )


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


def _steps(tensor: Tensor, unit: int) -> list[int]:
    """Strides in units of `unit` numbers, the last as it is."""
    *steps, last = tensor.stride()
    return [step // unit for step in steps] + [last]


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


def _columns(x: Tensor, weight: Tensor, y: Tensor, window: Window) -> int:
    """How many neighbouring columns can be read at once: 2 where they lie together in all rows, else 1."""
    if x.stride(3) != 1 or weight.stride(5) != 1 or y.stride(3) != 1:
        return 1
    if window.stride[1] != 1 or window.dilation[1] != 1 or x.dtype == torch.float64:
        return 1
    numbers = (x.shape[3], y.shape[3], *x.stride()[:3], *weight.stride()[:5], *y.stride()[:3])
    return math.gcd(2, *numbers)


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
    pairs = 1 if by_channel else _columns(x, weight, y, window)
    if tile is None and by_channel:
        tile = channel_tile(shared, taps=window.num_taps, taps_first=not job.over_shares)
    elif tile is None:
        tile = map_tile(
            lines, line, shared, taps=window.num_taps, columns=pairs, sums=not job.over_shares
        )
    pairs = min(pairs, tile.columns)
    share_tile = min(triton.next_power_of_2(shares), tile.shares)
    channel_blocks = triton.cdiv(shared, tile.channels)
    share_blocks = triton.cdiv(shares, share_tile)
    blocks = triton.cdiv(triton.cdiv(lines, tile.rows) * (line // pairs), tile.positions)
    units = channel_blocks * groups
    units *= (heads if job.over_heads else 1) * (share_blocks if job.over_shares else 1)
    grid = (blocks * units * x.shape[0],)
    taps = (heads, *window.kernel, *window.stride, *window.padding, *window.dilation)
    options = dict(
        EVEN=shared % tile.channels == 0 and shares % share_tile == 0,
        INT=tl.int64 if reaches_far(x, weight, y) else tl.int32,
        SUM=tl.float64 if torch.float64 in (x.dtype, weight.dtype, y.dtype) else tl.float32,
        SHARES=share_tile, CHANNELS=tile.channels, POSITIONS=tile.positions,
        num_warps=tile.warps, maxnreg=tile.registers,
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
            *_steps(x, pairs), *_steps(weight, pairs), *_steps(y, pairs),
            *taps, UNIT=x.stride(3) == weight.stride(5) == y.stride(3) == 1,
            ROWS=tile.rows, COLUMNS=pairs, **options,
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
