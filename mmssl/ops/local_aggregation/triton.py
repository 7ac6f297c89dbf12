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
    share a weight are worked on together, and where channels are innermost in memory neighbouring threads
    have `lanes` of these. `registers` is the most that a thread may have.
    """

    rows: int
    channels: int
    positions: int
    warps: int = 4
    columns: int = 1
    shares: int = 8
    lanes: int = 1
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


def channel_tile(shared: int, shares: int, *, taps: int, sums: bool) -> Tile:
    """The tile for maps whose channels are neighbours in memory, of one warp.

    Args:
        shared: Weight channels of a group.
        shares: Channels that share a weight.
        taps: Of the window; a thread holds the weights of all.
        sums: Whether a thread has a sum for each tap; those of the lanes have to be added.
    """
    channels = min(triton.next_power_of_2(shared), 8 if sums else 32)
    # 64 channels that follow each other fill a line of the cache with two bytes each
    lanes = min(triton.next_power_of_2(shares), 2 if sums else min(max(64 // channels, 2), 4))
    # a thread has the weights, or the sums, of all taps
    fewer = 1 if taps <= MANY else 2 if taps <= 2 * MANY else 4
    positions = 256 // (channels * lanes * fewer)
    return Tile(1, channels, max(positions, 1), warps=1, lanes=lanes)


def _is_flat(weight: Tensor) -> bool:
    """Whether one stride leads from every position of the weights to the next."""
    return weight.stride(4) == weight.shape[5] * weight.stride(5)


def _alignment(shared: int, most: int, *tensors: Tensor) -> int:
    """How many numbers can be read at once, up to `most` or 16 bytes.

    Args:
        shared: Channels that follow each other.
        most: The most.
        tensors: In each the other dimensions have such strides.
    """
    most = min(most, 16 // max(each.element_size() for each in tensors))
    return math.gcd(most, shared, *(step for each in tensors for step in each.stride()))


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


def _is_packed(weight: Tensor, job: _Job) -> bool:
    """Whether threads read or write all taps of some weight channels as they lie in memory."""
    # the gradient of x has each tap at another position
    return not job.over_input and weight.stride(3) == 1 and weight.stride(2) == weight.shape[3]


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


class _Plan(NamedTuple):
    """What kernels of both families take: programs, sizes, the window, and what they are compiled for."""

    grid: tuple[int]
    sizes: tuple[int, ...]
    window: tuple[int, ...]
    options: dict[str, Any]


def _plan(
    job: _Job,
    x: Tensor,
    weight: Tensor,
    y: Tensor,
    window: Window,
    groups: int,
    tile: Tile,
    *,
    columns: int = 1,
    align: int = 1,
) -> _Plan:
    """Cut a pass into programs; `columns` neighbours are read together, weight channels count in `align`."""
    height, width = x.shape[2:]
    heads, weight_channels, _, rows, line = weight.shape[1:]
    shared, shares = weight_channels // groups, x.shape[1] // weight_channels
    lines, places = (height, width) if job.over_input else (rows, line)
    share_tile = min(triton.next_power_of_2(shares), tile.shares)
    channel_blocks = triton.cdiv(shared, tile.channels)
    share_blocks = triton.cdiv(shares, share_tile)
    blocks = triton.cdiv(triton.cdiv(lines, tile.rows) * (places // columns), tile.positions)
    units = channel_blocks * groups
    units *= (heads if job.over_heads else 1) * (share_blocks if job.over_shares else 1)
    options = dict(
        EVEN=shared % tile.channels == 0 and shares % share_tile == 0,
        INT=tl.int64 if reaches_far(x, weight, y) else tl.int32,
        SUM=tl.float64 if torch.float64 in (x.dtype, weight.dtype, y.dtype) else tl.float32,
        SHARES=share_tile, CHANNELS=tile.channels, POSITIONS=tile.positions,
        num_warps=tile.warps, maxnreg=tile.registers,
    )  # fmt: skip
    return _Plan(
        (blocks * units * x.shape[0],),
        (
            height, width, rows, line, groups, shared // align, shares,
            channel_blocks, share_blocks, blocks,
        ),
        (heads, *window.kernel, *window.stride, *window.padding, *window.dilation),
        options,
    )  # fmt: skip


def _launch_by_position(
    job: _Job, x: Tensor, weight: Tensor, y: Tensor, window: Window, groups: int, tile: Tile | None
) -> None:
    """Run the kernels of `kernels.py`."""
    columns = _columns(x, weight, y, window)
    if tile is None:
        height, width = x.shape[2:] if job.over_input else weight.shape[4:]
        shared, sums = weight.shape[2] // groups, not job.over_shares
        tile = map_tile(height, width, shared, taps=window.num_taps, columns=columns, sums=sums)
    columns = min(columns, tile.columns)
    plan = _plan(job, x, weight, y, window, groups, tile, columns=columns)
    job.kernel[plan.grid](
        x, weight, y, *plan.sizes, *_steps(x, columns), *_steps(weight, columns), *_steps(y, columns),
        *plan.window, UNIT=x.stride(3) == weight.stride(5) == y.stride(3) == 1,
        ROWS=tile.rows, COLUMNS=columns, **plan.options,
    )  # fmt: skip


def _launch_by_channel(
    job: _Job, x: Tensor, weight: Tensor, y: Tensor, window: Window, groups: int, tile: Tile | None
) -> None:
    """Run the kernels of `channel_kernels.py`."""
    shared, shares = weight.shape[2] // groups, x.shape[1] // weight.shape[2]
    if tile is None:
        tile = channel_tile(shared, shares, taps=window.num_taps, sums=not job.over_shares)
    is_packed = _is_packed(weight, job)
    # the first number of all positions: of x and y a channel, of the weights a tap
    maps = [x[:, 0], y[:, 0]] + ([weight[:, :, 0, 0, 0]] if is_packed else [])
    align = _alignment(shared, 2 if window.num_taps > MANY else 8, *maps)
    unit = align if is_packed else 1
    plan = _plan(job, x, weight, y, window, groups, tile, align=align)
    lanes = min(plan.options["SHARES"], tile.lanes)
    n, g, c, t, _, w = weight.stride()
    job.channel_kernel[plan.grid](
        x, weight, y, *plan.sizes, *(step // align for step in maps[0].stride()),
        n // unit, g // unit, c, t, w // unit, *(step // align for step in maps[1].stride()),
        *plan.window, PACKED=is_packed, TAPS_INNERMOST=t == 1, ALIGN=align,
        TAPS=triton.next_power_of_2(window.num_taps), LANES=lanes,
        **(plan.options | dict(SHARES=plan.options["SHARES"] // lanes)),
    )  # fmt: skip


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
    by_channel = x.stride(1) == y.stride(1) == 1 and x.shape[1] > 1 and _is_flat(weight)
    run = _launch_by_channel if by_channel else _launch_by_position
    run(job, x, weight, y, window, groups, tile)


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
