"""GPU kernels of local aggregation where channels are innermost in memory (channels_last).

Their tiles are weight channels x positions x channels that share a weight: neighbouring threads have
neighbouring channels, and read several at once. All taps of the weights of a tile are read together, in
the order of memory; each then goes to the threads that own its positions. Names and sums are those of
`kernels.py`.
"""

# mypy: ignore-errors
# ruff: noqa: RUF005, RUF028, SIM905
from __future__ import annotations

import triton
import triton.language as tl

from mmssl.ops.local_aggregation.kernels import place, zeros

SIZES = (
    "height width rows columns groups shared shares channel_blocks share_blocks blocks "
    "x_n x_h x_w w_n w_g w_c w_t w_p y_n y_h y_w"
).split()
"""Run-time numbers that Triton is not to specialise on; `shared` and strides of x and y count in ALIGN."""


@triton.jit
def unstack(tile, COUNT: tl.constexpr):
    """The tiles [A, B] of a tile [A, B, COUNT], in order; COUNT is a power of 2."""
    if COUNT == 1:
        return (tl.reshape(tile, (tile.shape[0], tile.shape[1])),)
    else:
        even, odd = tl.split(tl.reshape(tile, (tile.shape[0], tile.shape[1], COUNT // 2, 2)))
        evens = unstack(even, COUNT // 2)
        odds = unstack(odd, COUNT // 2)
        found = ()
        for k in tl.static_range(COUNT // 2):
            found = found + (evens[k], odds[k])
        return found


@triton.jit
def stack(tiles, COUNT: tl.constexpr):
    """The inverse of `unstack`."""
    if COUNT == 1:
        return tl.reshape(tiles[0], (tiles[0].shape[0], tiles[0].shape[1], 1))
    else:
        evens = ()
        odds = ()
        for k in tl.static_range(COUNT // 2):
            evens = evens + (tiles[2 * k],)
            odds = odds + (tiles[2 * k + 1],)
        both = tl.join(stack(evens, COUNT // 2), stack(odds, COUNT // 2))
        return tl.reshape(both, (both.shape[0], both.shape[1], COUNT))


@triton.jit
def axes(CHANNELS: tl.constexpr, POSITIONS: tl.constexpr, TAPS: tl.constexpr, ORDER: tl.constexpr):
    """Numbers of weight channels, positions and taps on the axes of a tile of weights.

    Threads go along the first axis first. ORDER says which that is: "taps", "channels" or "positions".
    """
    if ORDER == "taps":
        return (
            tl.arange(0, CHANNELS)[None, :, None],
            tl.arange(0, POSITIONS)[None, None, :],
            tl.arange(0, TAPS)[:, None, None],
        )
    elif ORDER == "channels":
        return (
            tl.arange(0, CHANNELS)[:, None, None],
            tl.arange(0, POSITIONS)[None, :, None],
            tl.arange(0, TAPS)[None, None, :],
        )
    else:
        return (
            tl.arange(0, CHANNELS)[None, :, None],
            tl.arange(0, POSITIONS)[:, None, None],
            tl.arange(0, TAPS)[None, None, :],
        )


@triton.jit
def split_taps(tile, TAPS: tl.constexpr, ORDER: tl.constexpr):
    """The tiles [channels, positions] of all taps, from a tile on the axes above."""
    if ORDER == "taps":
        return unstack(tl.permute(tile, (1, 2, 0)), TAPS)
    elif ORDER == "channels":
        return unstack(tile, TAPS)
    else:
        return unstack(tl.permute(tile, (1, 0, 2)), TAPS)


@triton.jit
def join_taps(tiles, TAPS: tl.constexpr, ORDER: tl.constexpr):
    """The inverse of `split_taps`."""
    if ORDER == "taps":
        return tl.permute(stack(tiles, TAPS), (2, 0, 1))
    elif ORDER == "channels":
        return stack(tiles, TAPS)
    else:
        return tl.permute(stack(tiles, TAPS), (1, 0, 2))


# fmt: off
@triton.jit(do_not_specialize=SIZES)
def forward_kernel(
    x, w, y,
    height, width, rows, columns, groups, shared, shares, channel_blocks, share_blocks, blocks,
    x_n, x_h, x_w, w_n, w_g, w_c, w_t, w_p, y_n, y_h, y_w,
    HEADS: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PH: tl.constexpr, PW: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    ORDER: tl.constexpr, ALIGN: tl.constexpr, EVEN: tl.constexpr, INT: tl.constexpr, SUM: tl.constexpr,
    TAPS: tl.constexpr, SHARES: tl.constexpr, CHANNELS: tl.constexpr, POSITIONS: tl.constexpr,
):  # fmt: on
    """As the forward kernel of `kernels.py`."""
    shared *= ALIGN
    n, unit, block = place(channel_blocks * share_blocks * groups * HEADS, blocks, True)
    first = unit % channel_blocks * CHANNELS
    first_share = unit // channel_blocks % share_blocks * SHARES
    group = (unit // (channel_blocks * share_blocks) % groups).to(tl.int64)
    head = (unit // (channel_blocks * share_blocks * groups)).to(tl.int64)
    x += n * x_n * ALIGN + group * shares * shared
    y += n * y_n * ALIGN + (head * groups + group) * shares * shared
    w += n * w_n + head * w_g + group * shared * w_c

    we, wp, wt = axes(CHANNELS, POSITIONS, TAPS, ORDER)
    if ORDER == "taps":
        w_t = 1
    we += first
    wp += block * POSITIONS
    weights = tl.load(
        w + (we.to(INT) * w_c + wp.to(INT) * w_p + wt.to(INT) * w_t),
        mask=(wp < rows * columns) & (we < shared) & (wt < KH * KW), other=0.0,
    )  # fmt: skip
    weights = split_taps(weights, TAPS, ORDER)

    e = first + tl.arange(0, CHANNELS)[:, None, None]
    r = first_share + tl.arange(0, SHARES)[None, None, :]
    p = block * POSITIONS + tl.arange(0, POSITIONS)[None, :, None]
    known = p < rows * columns
    if not EVEN:
        known = known & (e < shared) & (r < shares)
    h, column = p // columns, p % columns
    top, left = h * SH - PH, column * SW - PW
    x += r.to(INT) * shared + e + (top.to(INT) * (x_h * ALIGN) + left.to(INT) * (x_w * ALIGN))
    total = tl.zeros((CHANNELS, POSITIONS, SHARES), SUM)
    for i in tl.static_range(KH):
        for j in tl.static_range(KW):
            inside = known & (top + i * DH >= 0) & (top + i * DH < height)
            inside = inside & (left + j * DW >= 0) & (left + j * DW < width)
            at = x + (i * DH * (x_h * ALIGN) + j * DW * (x_w * ALIGN))
            value = tl.load(at, mask=inside, other=0.0).to(SUM)
            total += weights[i * KW + j].to(SUM)[:, :, None] * value
    y += r.to(INT) * shared + e + (h.to(INT) * (y_h * ALIGN) + column.to(INT) * (y_w * ALIGN))
    tl.store(y, total.to(y.dtype.element_ty), mask=known)


# fmt: off
@triton.jit(do_not_specialize=SIZES)
def grad_x_kernel(
    x, w, y,
    height, width, rows, columns, groups, shared, shares, channel_blocks, share_blocks, blocks,
    x_n, x_h, x_w, w_n, w_g, w_c, w_t, w_p, y_n, y_h, y_w,
    HEADS: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PH: tl.constexpr, PW: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    ORDER: tl.constexpr, ALIGN: tl.constexpr, EVEN: tl.constexpr, INT: tl.constexpr, SUM: tl.constexpr,
    TAPS: tl.constexpr, SHARES: tl.constexpr, CHANNELS: tl.constexpr, POSITIONS: tl.constexpr,
):  # fmt: on
    """Gradient of x, written to `x`, from that of y, as in `kernels.py`."""
    shared *= ALIGN
    n, unit, block = place(channel_blocks * share_blocks * groups, blocks, True)
    first = unit % channel_blocks * CHANNELS
    first_share = unit // channel_blocks % share_blocks * SHARES
    group = (unit // (channel_blocks * share_blocks)).to(tl.int64)
    x += n * x_n * ALIGN + group * shares * shared
    y += n * y_n * ALIGN + group * shares * shared
    w += n * w_n + group * shared * w_c

    # each tap has its weight at another position, so that ORDER is never "taps"
    we, wp, t = axes(CHANNELS, POSITIONS, TAPS, ORDER)
    we += first
    wp += block * POSITIONS
    down, right = wp // width + PH - t // KW * DH, wp % width + PW - t % KW * DW
    inside = (t < KH * KW) & (we < shared) & (down >= 0) & (right >= 0)
    inside = inside & (down // SH < rows) & (right // SW < columns)
    if SH > 1 or SW > 1:
        inside = inside & (down % SH == 0) & (right % SW == 0)
    w_at = we.to(INT) * w_c + t * w_t + (down // SH * columns + right // SW).to(INT) * w_p

    e = first + tl.arange(0, CHANNELS)[:, None, None]
    r = first_share + tl.arange(0, SHARES)[None, None, :]
    p = block * POSITIONS + tl.arange(0, POSITIONS)[None, :, None]
    known = p < height * width
    if not EVEN:
        known = known & (e < shared) & (r < shares)
    h, column = p // width, p % width
    y += r.to(INT) * shared + e
    total = tl.zeros((CHANNELS, POSITIONS, SHARES), SUM)
    for _ in range(HEADS):
        weights = tl.load(w + w_at, mask=inside, other=0.0)
        weights = split_taps(weights, TAPS, ORDER)
        for i in tl.static_range(KH):
            for j in tl.static_range(KW):
                below, beside = h + PH - i * DH, column + PW - j * DW
                served = known & (below >= 0) & (beside >= 0)
                served = served & (below // SH < rows) & (beside // SW < columns)
                if SH > 1 or SW > 1:
                    served = served & (below % SH == 0) & (beside % SW == 0)
                at = (below // SH).to(INT) * (y_h * ALIGN) + (beside // SW).to(INT) * (y_w * ALIGN)
                grad = tl.load(y + at, mask=served, other=0.0).to(SUM)
                total += weights[i * KW + j].to(SUM)[:, :, None] * grad
        w += w_g
        y += shares.to(tl.int64) * groups * shared
    x += r.to(INT) * shared + e + (h.to(INT) * (x_h * ALIGN) + column.to(INT) * (x_w * ALIGN))
    tl.store(x, total.to(x.dtype.element_ty), mask=known)


# fmt: off
@triton.jit(do_not_specialize=SIZES)
def grad_weight_kernel(
    x, w, y,
    height, width, rows, columns, groups, shared, shares, channel_blocks, share_blocks, blocks,
    x_n, x_h, x_w, w_n, w_g, w_c, w_t, w_p, y_n, y_h, y_w,
    HEADS: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PH: tl.constexpr, PW: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    ORDER: tl.constexpr, ALIGN: tl.constexpr, EVEN: tl.constexpr, INT: tl.constexpr, SUM: tl.constexpr,
    TAPS: tl.constexpr, SHARES: tl.constexpr, CHANNELS: tl.constexpr, POSITIONS: tl.constexpr,
):  # fmt: on
    """Gradient of the weights, written to `w`, all taps of a tile together."""
    shared *= ALIGN
    n, unit, block = place(channel_blocks * groups * HEADS, blocks, True)
    first = unit % channel_blocks * CHANNELS
    group = (unit // channel_blocks % groups).to(tl.int64)
    head = (unit // (channel_blocks * groups)).to(tl.int64)
    e = first + tl.arange(0, CHANNELS)[:, None, None]
    p = block * POSITIONS + tl.arange(0, POSITIONS)[None, :, None]
    h, column = p // columns, p % columns
    top, left = h * SH - PH, column * SW - PW
    x += n * x_n * ALIGN + group * shares * shared
    x += e + (top.to(INT) * (x_h * ALIGN) + left.to(INT) * (x_w * ALIGN))
    y += n * y_n * ALIGN + (head * groups + group) * shares * shared
    y += e + (h.to(INT) * (y_h * ALIGN) + column.to(INT) * (y_w * ALIGN))

    totals = zeros(TAPS, (CHANNELS, POSITIONS), SUM)
    for share_block in range(share_blocks):
        r = share_block * SHARES + tl.arange(0, SHARES)[None, None, :]
        known = p < rows * columns
        if not EVEN:
            known = known & (e < shared) & (r < shares)
        grad = tl.load(y + r.to(INT) * shared, mask=known, other=0.0).to(SUM)
        source = x + r.to(INT) * shared
        found = ()
        for i in tl.static_range(KH):
            for j in tl.static_range(KW):
                inside = known & (top + i * DH >= 0) & (top + i * DH < height)
                inside = inside & (left + j * DW >= 0) & (left + j * DW < width)
                at = source + (i * DH * (x_h * ALIGN) + j * DW * (x_w * ALIGN))
                value = tl.load(at, mask=inside, other=0.0).to(SUM)
                found = found + (totals[i * KW + j] + tl.sum(value * grad, axis=2),)
        for t in tl.static_range(KH * KW, TAPS):
            found = found + (totals[t],)
        totals = found

    we, wp, wt = axes(CHANNELS, POSITIONS, TAPS, ORDER)
    we += first
    wp += block * POSITIONS
    if ORDER == "taps":
        w_t = 1
    gradient = join_taps(totals, TAPS, ORDER)
    w += n * w_n + head * w_g + group * shared * w_c
    w += we.to(INT) * w_c + wp.to(INT) * w_p + wt.to(INT) * w_t
    tl.store(
        w, gradient.to(w.dtype.element_ty),
        mask=(wp < rows * columns) & (we < shared) & (wt < KH * KW),
    )  # fmt: skip
