"""GPU kernels of local aggregation where channels are innermost in memory (channels_last).

Their tiles are weight channels x LANES x positions: neighbouring threads have neighbouring channels, of LANES
channels that share a weight, then neighbouring positions, so that a warp reads whole lines of the cache. A
thread has SHARES such tiles, and reads ALIGN channels at once. Where the taps of the weights are innermost
(PACKED) a thread reads all taps of its channels and positions as they lie in memory; other weights are read
in the order of memory and go to the threads that need them. Names and sums are those of `kernels.py`.
"""

# mypy: ignore-errors
# ruff: noqa: RUF005, RUF028, SIM905
from __future__ import annotations

import triton
import triton.language as tl

from mmssl.ops.local_aggregation.kernels import place, times, zeros

SIZES = (
    "height width rows columns shared shares channel_blocks blocks "
    "x_n x_h x_w w_n w_g w_c w_t w_p y_n y_h y_w"
).split()
"""Run-time numbers that Triton is not to specialise on; `shared`, strides of x and y and, where PACKED, of
images, heads and positions of the weights count in ALIGN."""


@triton.jit
def unstack(tile, COUNT: tl.constexpr):
    """The tiles [A, B, C] of a tile [A, B, C, COUNT], in order; COUNT is a power of 2."""
    if COUNT == 1:
        return (tl.reshape(tile, (tile.shape[0], tile.shape[1], tile.shape[2])),)
    else:
        even, odd = tl.split(
            tl.reshape(tile, (tile.shape[0], tile.shape[1], tile.shape[2], COUNT // 2, 2))
        )
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
        return tl.reshape(tiles[0], (tiles[0].shape[0], tiles[0].shape[1], tiles[0].shape[2], 1))
    else:
        evens = ()
        odds = ()
        for k in tl.static_range(COUNT // 2):
            evens = evens + (tiles[2 * k],)
            odds = odds + (tiles[2 * k + 1],)
        both = tl.join(stack(evens, COUNT // 2), stack(odds, COUNT // 2))
        return tl.reshape(both, (both.shape[0], both.shape[1], both.shape[2], COUNT))


@triton.jit
def flat(tile, ALIGN: tl.constexpr):
    """The tile [A * ALIGN, B, C] of a tile [A, B, C, ALIGN]."""
    tile = tl.permute(tile, (0, 3, 1, 2))
    return tl.reshape(tile, (tile.shape[0] * ALIGN, tile.shape[2], tile.shape[3]))


@triton.jit
def vectors(tile, ALIGN: tl.constexpr):
    """The inverse of `flat`."""
    tile = tl.reshape(tile, (tile.shape[0] // ALIGN, ALIGN, tile.shape[1], tile.shape[2]))
    return tl.permute(tile, (0, 2, 3, 1))


@triton.jit
def packed(
    first, block, step, ALIGN: tl.constexpr, TAPS: tl.constexpr, LANES: tl.constexpr,
    CHANNELS: tl.constexpr, POSITIONS: tl.constexpr,
):  # fmt: skip
    """Weight channel, position and offset of the first tap, [vectors of channels, LANES, positions, 1]."""
    e = first + tl.arange(0, CHANNELS // ALIGN)[:, None, None, None] * ALIGN
    p = block * POSITIONS + tl.arange(0, POSITIONS)[None, None, :, None]
    lanes = tl.arange(0, LANES)[None, :, None, None] * 0
    return e, p, p * step + e * TAPS + lanes


@triton.jit
def load_packed(w, at, mask, ALIGN: tl.constexpr, TAPS: tl.constexpr):
    """The tiles [channels, lanes, positions] of all TAPS, which follow each other for ALIGN channels."""
    parts = ()
    for k in tl.static_range(TAPS):
        part = tl.load(
            w + at + (k * ALIGN + tl.arange(0, ALIGN)[None, None, None, :]), mask=mask, other=0.0
        )
        parts = parts + unstack(part, ALIGN)
    found = ()
    for t in tl.static_range(TAPS):
        each = ()
        for v in tl.static_range(ALIGN):
            each = each + (parts[v * TAPS + t],)
        found = found + (flat(stack(each, ALIGN), ALIGN),)
    return found


@triton.jit
def store_packed(w, at, tiles, mask, ALIGN: tl.constexpr, TAPS: tl.constexpr):
    """The inverse of `load_packed`, of one lane."""
    parts = ()
    for t in tl.static_range(TAPS):
        parts = parts + (unstack(vectors(tiles[t], ALIGN), ALIGN),)
    for k in tl.static_range(TAPS):
        each = ()
        for v in tl.static_range(ALIGN):
            each = each + (parts[(k * ALIGN + v) % TAPS][(k * ALIGN + v) // TAPS],)
        part = stack(each, ALIGN).to(w.dtype.element_ty)
        tl.store(w + at + (k * ALIGN + tl.arange(0, ALIGN)[None, None, None, :]), part, mask=mask)


@triton.jit
def axes(
    CHANNELS: tl.constexpr,
    POSITIONS: tl.constexpr,
    TAPS: tl.constexpr,
    TAPS_INNERMOST: tl.constexpr,
):
    """Numbers of weight channels, positions and taps on the axes of a tile of weights.

    Threads go along the first axis first: channels where TAPS_INNERMOST, else positions.
    """
    if TAPS_INNERMOST:
        return (
            tl.arange(0, CHANNELS)[:, None, None, None],
            tl.arange(0, POSITIONS)[None, None, :, None],
            tl.arange(0, TAPS)[None, None, None, :],
        )
    else:
        return (
            tl.arange(0, CHANNELS)[None, :, None, None],
            tl.arange(0, POSITIONS)[:, None, None, None],
            tl.arange(0, TAPS)[None, None, None, :],
        )


@triton.jit
def split_taps(tile, TAPS: tl.constexpr, TAPS_INNERMOST: tl.constexpr):
    """The tiles [channels, 1, positions] of all taps, from a tile on the axes above."""
    if TAPS_INNERMOST:
        return unstack(tile, TAPS)
    else:
        return unstack(tl.permute(tile, (1, 2, 0, 3)), TAPS)


@triton.jit
def join_taps(tiles, TAPS: tl.constexpr, TAPS_INNERMOST: tl.constexpr):
    """The inverse of `split_taps`."""
    if TAPS_INNERMOST:
        return stack(tiles, TAPS)
    else:
        return tl.permute(stack(tiles, TAPS), (2, 0, 1, 3))


# fmt: off
@triton.jit(do_not_specialize=SIZES)
def forward_kernel(
    x, w, y,
    height, width, rows, columns, groups, shared, shares, channel_blocks, share_blocks, blocks,
    x_n, x_h, x_w, w_n, w_g, w_c, w_t, w_p, y_n, y_h, y_w,
    HEADS: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PH: tl.constexpr, PW: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    PACKED: tl.constexpr, TAPS_INNERMOST: tl.constexpr, ALIGN: tl.constexpr, EVEN: tl.constexpr,
    INT: tl.constexpr, SUM: tl.constexpr, TAPS: tl.constexpr,
    LANES: tl.constexpr, SHARES: tl.constexpr, CHANNELS: tl.constexpr, POSITIONS: tl.constexpr,
):  # fmt: on
    """As the forward kernel of `kernels.py`."""
    x_n, shared, x_h, x_w = times((x_n, shared, x_h, x_w), ALIGN, INT)
    y_n, y_h, y_w = times((y_n, y_h, y_w), ALIGN, INT)
    n, unit, block = place(channel_blocks * share_blocks * groups * HEADS, blocks, True)
    first = unit % channel_blocks * CHANNELS
    first_share = unit // channel_blocks % share_blocks * (SHARES * LANES)
    group = (unit // (channel_blocks * share_blocks) % groups).to(tl.int64)
    head = (unit // (channel_blocks * share_blocks * groups)).to(tl.int64)
    x += n * x_n + group * shares * shared
    y += n * y_n + (head * groups + group) * shares * shared
    if PACKED:
        w_n, w_g, w_p = times((w_n, w_g, w_p), ALIGN, INT)
        w += n * w_n + head * w_g + group * shared * (KH * KW)
        we, wp, at = packed(first, block, w_p, ALIGN, KH * KW, LANES, CHANNELS, POSITIONS)
        weights = load_packed(w, at, (wp < rows * columns) & (we < shared), ALIGN, KH * KW)
    else:
        w += n * w_n + head * w_g + group * shared * w_c
        we, wp, wt = axes(CHANNELS, POSITIONS, TAPS, TAPS_INNERMOST)
        we += first
        wp += block * POSITIONS
        weights = tl.load(
            w + (we.to(INT) * w_c + wp.to(INT) * w_p + wt.to(INT) * w_t),
            mask=(wp < rows * columns) & (we < shared) & (wt < KH * KW), other=0.0,
        )  # fmt: skip
        weights = split_taps(weights, TAPS, TAPS_INNERMOST)

    e = first + tl.arange(0, CHANNELS)[:, None, None]
    r = first_share + tl.arange(0, LANES)[None, :, None]
    p = block * POSITIONS + tl.arange(0, POSITIONS)[None, None, :]
    h, column = p // columns, p % columns
    top, left = h * SH - PH, column * SW - PW
    x += r.to(INT) * shared + e + (top.to(INT) * x_h + left.to(INT) * x_w)
    y += r.to(INT) * shared + e + (h.to(INT) * y_h + column.to(INT) * y_w)
    known = p < rows * columns
    if not EVEN:
        known = known & (e < shared)
    totals = zeros(SHARES, (CHANNELS, LANES, POSITIONS), SUM)
    for i in tl.static_range(KH):
        for j in tl.static_range(KW):
            inside = (top + i * DH >= 0) & (top + i * DH < height)
            inside = inside & (left + j * DW >= 0) & (left + j * DW < width)
            # outside a weight may be infinite
            weight = tl.where(inside, weights[i * KW + j].to(SUM), 0.0)
            found = ()
            for s in tl.static_range(SHARES):
                readable = known & inside
                if not EVEN:
                    readable = readable & (r + s * LANES < shares)
                each = x + (i * DH * x_h + j * DW * x_w + s * LANES * shared)
                value = tl.load(each, mask=readable, other=0.0).to(SUM)
                found = found + (totals[s] + weight * value,)
            totals = found
    for s in tl.static_range(SHARES):
        written = known
        if not EVEN:
            written = known & (r + s * LANES < shares)
        tl.store(y + s * LANES * shared, totals[s].to(y.dtype.element_ty), mask=written)


# fmt: off
@triton.jit(do_not_specialize=SIZES)
def grad_x_kernel(
    x, w, y,
    height, width, rows, columns, groups, shared, shares, channel_blocks, share_blocks, blocks,
    x_n, x_h, x_w, w_n, w_g, w_c, w_t, w_p, y_n, y_h, y_w,
    HEADS: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PH: tl.constexpr, PW: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    PACKED: tl.constexpr, TAPS_INNERMOST: tl.constexpr, ALIGN: tl.constexpr, EVEN: tl.constexpr,
    INT: tl.constexpr, SUM: tl.constexpr, TAPS: tl.constexpr,
    LANES: tl.constexpr, SHARES: tl.constexpr, CHANNELS: tl.constexpr, POSITIONS: tl.constexpr,
):  # fmt: on
    """Gradient of x, written to `x`, from that of y, as in `kernels.py`; each tap has its own position."""
    tl.static_assert(not PACKED)
    x_n, shared, x_h, x_w = times((x_n, shared, x_h, x_w), ALIGN, INT)
    y_n, y_h, y_w = times((y_n, y_h, y_w), ALIGN, INT)
    n, unit, block = place(channel_blocks * share_blocks * groups, blocks, True)
    first = unit % channel_blocks * CHANNELS
    first_share = unit // channel_blocks % share_blocks * (SHARES * LANES)
    group = (unit // (channel_blocks * share_blocks)).to(tl.int64)
    x += n * x_n + group * shares * shared
    y += n * y_n + group * shares * shared
    w += n * w_n + group * shared * w_c

    we, wp, t = axes(CHANNELS, POSITIONS, TAPS, TAPS_INNERMOST)
    we += first
    wp += block * POSITIONS
    down, right = wp // width + PH - t // KW * DH, wp % width + PW - t % KW * DW
    inside = (t < KH * KW) & (we < shared) & (down >= 0) & (right >= 0)
    inside = inside & (down // SH < rows) & (right // SW < columns)
    if SH > 1 or SW > 1:
        inside = inside & (down % SH == 0) & (right % SW == 0)
    w_at = we.to(INT) * w_c + t * w_t + (down // SH * columns + right // SW).to(INT) * w_p

    e = first + tl.arange(0, CHANNELS)[:, None, None]
    r = first_share + tl.arange(0, LANES)[None, :, None]
    p = block * POSITIONS + tl.arange(0, POSITIONS)[None, None, :]
    known = p < height * width
    if not EVEN:
        known = known & (e < shared)
    h, column = p // width, p % width
    y += r.to(INT) * shared + e
    totals = zeros(SHARES, (CHANNELS, LANES, POSITIONS), SUM)
    for _ in range(HEADS):
        weights = tl.load(w + w_at, mask=inside, other=0.0)
        weights = split_taps(weights, TAPS, TAPS_INNERMOST)
        for i in tl.static_range(KH):
            for j in tl.static_range(KW):
                below, beside = h + PH - i * DH, column + PW - j * DW
                served = known & (below >= 0) & (beside >= 0)
                served = served & (below // SH < rows) & (beside // SW < columns)
                if SH > 1 or SW > 1:
                    served = served & (below % SH == 0) & (beside % SW == 0)
                at = (below // SH).to(INT) * y_h + (beside // SW).to(INT) * y_w
                found = ()
                for s in tl.static_range(SHARES):
                    readable = served
                    if not EVEN:
                        readable = served & (r + s * LANES < shares)
                    grad = tl.load(y + (at + s * LANES * shared), mask=readable, other=0.0).to(SUM)
                    found = found + (totals[s] + weights[i * KW + j].to(SUM) * grad,)
                totals = found
        w += w_g
        y += shares.to(tl.int64) * groups * shared
    x += r.to(INT) * shared + e + (h.to(INT) * x_h + column.to(INT) * x_w)
    for s in tl.static_range(SHARES):
        written = known
        if not EVEN:
            written = known & (r + s * LANES < shares)
        tl.store(x + s * LANES * shared, totals[s].to(x.dtype.element_ty), mask=written)


# fmt: off
@triton.jit(do_not_specialize=SIZES)
def grad_weight_kernel(
    x, w, y,
    height, width, rows, columns, groups, shared, shares, channel_blocks, share_blocks, blocks,
    x_n, x_h, x_w, w_n, w_g, w_c, w_t, w_p, y_n, y_h, y_w,
    HEADS: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PH: tl.constexpr, PW: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    PACKED: tl.constexpr, TAPS_INNERMOST: tl.constexpr, ALIGN: tl.constexpr, EVEN: tl.constexpr,
    INT: tl.constexpr, SUM: tl.constexpr, TAPS: tl.constexpr,
    LANES: tl.constexpr, SHARES: tl.constexpr, CHANNELS: tl.constexpr, POSITIONS: tl.constexpr,
):  # fmt: on
    """Gradient of the weights, written to `w`, all taps of a tile together."""
    x_n, shared, x_h, x_w = times((x_n, shared, x_h, x_w), ALIGN, INT)
    y_n, y_h, y_w = times((y_n, y_h, y_w), ALIGN, INT)
    n, unit, block = place(channel_blocks * groups * HEADS, blocks, True)
    first = unit % channel_blocks * CHANNELS
    group = (unit // channel_blocks % groups).to(tl.int64)
    head = (unit // (channel_blocks * groups)).to(tl.int64)
    e = first + tl.arange(0, CHANNELS)[:, None, None]
    p = block * POSITIONS + tl.arange(0, POSITIONS)[None, None, :]
    h, column = p // columns, p % columns
    top, left = h * SH - PH, column * SW - PW
    x += n * x_n + group * shares * shared
    x += e + (top.to(INT) * x_h + left.to(INT) * x_w)
    y += n * y_n + (head * groups + group) * shares * shared
    y += e + (h.to(INT) * y_h + column.to(INT) * y_w)

    totals = zeros(TAPS, (CHANNELS, LANES, POSITIONS), SUM)
    for share in range(share_blocks * SHARES):
        r = share * LANES + tl.arange(0, LANES)[None, :, None]
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
                value = tl.load(source + (i * DH * x_h + j * DW * x_w), mask=inside, other=0.0).to(SUM)
                found = found + (totals[i * KW + j] + value * grad,)
        for t in tl.static_range(KH * KW, TAPS):
            found = found + (totals[t],)
        totals = found
    sums = ()
    for t in tl.static_range(TAPS):
        sums = sums + (tl.sum(totals[t], axis=1, keep_dims=True),)

    if PACKED:
        w_n, w_g, w_p = times((w_n, w_g, w_p), ALIGN, INT)
        w += n * w_n + head * w_g + group * shared * (KH * KW)
        we, wp, at = packed(first, block, w_p, ALIGN, KH * KW, 1, CHANNELS, POSITIONS)
        store_packed(w, at, sums, (wp < rows * columns) & (we < shared), ALIGN, KH * KW)
    else:
        w += n * w_n + head * w_g + group * shared * w_c
        we, wp, wt = axes(CHANNELS, POSITIONS, TAPS, TAPS_INNERMOST)
        we += first
        wp += block * POSITIONS
        gradient = join_taps(sums, TAPS, TAPS_INNERMOST)
        tl.store(
            w + (we.to(INT) * w_c + wp.to(INT) * w_p + wt.to(INT) * w_t),
            gradient.to(w.dtype.element_ty),
            mask=(wp < rows * columns) & (we < shared) & (wt < KH * KW),
        )  # fmt: skip
