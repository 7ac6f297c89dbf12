"""GPU kernels of local aggregation for any strides, best where neighbouring positions are neighbours in
memory.

A program owns a tile of positions x weight channels x channels that share a weight. With its axes in this
order, Triton gives neighbouring positions to neighbouring threads and keeps the sharing channels in
registers, so that a weight is read once for all of them. With ROWS > 1 a thread has as many rows of the
result, and reads what they need once for all of them. Sizes are run-time numbers: another image size
compiles nothing, unless its maps are so small that the rule of tiles gives them another one.

Names: n image, e weight channel of its group, r sharing channel, (h, w) position, (i, j) tap.
"""

# mypy: ignore-errors
# ruff: noqa: RUF005, RUF028, SIM905
from __future__ import annotations

import triton
import triton.language as tl

SIZES = (
    "height width rows columns groups shared shares channel_blocks share_blocks blocks "
    "x_n x_c x_h x_w w_n w_g w_c w_t w_h w_w y_n y_c y_h y_w"
).split()
"""Run-time numbers that Triton is not to specialise on."""


@triton.jit
def place(units, blocks, CHANNELS_FIRST: tl.constexpr):
    """Image, unit of channels and block of positions of this program.

    Programs that run at the same time share what one of them reads: neighbouring channels of a position where
    channels are innermost in memory, neighbouring positions of a channel otherwise.
    """
    program = tl.program_id(0)
    if CHANNELS_FIRST:
        unit = program % units
        block = program // units % blocks
    else:
        block = program % blocks
        unit = program // blocks % units
    return (program // (units * blocks)).to(tl.int64), unit, block


@triton.jit
def zeros(COUNT: tl.constexpr, SHAPE: tl.constexpr, SUM: tl.constexpr):
    """A tuple of tiles of zeros."""
    found = ()
    for _ in tl.static_range(COUNT):
        found = found + (tl.zeros(SHAPE, SUM),)
    return found


@triton.jit
def add_at(totals, value, INDEX: tl.constexpr, COUNT: tl.constexpr):
    """The tuple `totals` with `value` added to one entry."""
    found = ()
    for k in tl.static_range(COUNT):
        if k == INDEX:
            found = found + (totals[k] + value,)
        else:
            found = found + (totals[k],)
    return found


# fmt: off
@triton.jit(do_not_specialize=SIZES)
def forward_kernel(
    x, w, y,
    height, width, rows, columns, groups, shared, shares, channel_blocks, share_blocks, blocks,
    x_n, x_c, x_h, x_w, w_n, w_g, w_c, w_t, w_h, w_w, y_n, y_c, y_h, y_w,
    HEADS: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PH: tl.constexpr, PW: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    UNIT: tl.constexpr, EVEN: tl.constexpr, INT: tl.constexpr, SUM: tl.constexpr,
    ROWS: tl.constexpr, SHARES: tl.constexpr, CHANNELS: tl.constexpr, POSITIONS: tl.constexpr,
):  # fmt: on
    """y[n, head C + c, h, w] = sum_t weight[n, head, q(c), t, h, w] x[n, c, tap t of (h, w)]."""
    if UNIT:
        x_w = 1
        w_w = 1
        y_w = 1
    n, unit, block = place(channel_blocks * share_blocks * groups * HEADS, blocks, False)
    e = unit % channel_blocks * CHANNELS + tl.arange(0, CHANNELS)[None, :, None].to(INT)
    r = unit // channel_blocks % share_blocks * SHARES + tl.arange(0, SHARES)[None, None, :].to(INT)
    group = (unit // (channel_blocks * share_blocks) % groups).to(tl.int64)
    head = (unit // (channel_blocks * share_blocks * groups)).to(tl.int64)
    p = block * POSITIONS + tl.arange(0, POSITIONS)[:, None, None].to(INT)
    h, column = p // columns * ROWS, p % columns
    top, left = h * SH - PH, column * SW - PW
    x += n * x_n + group * shares * shared * x_c
    w += n * w_n + head * w_g + group * shared * w_c
    y += n * y_n + (head * groups + group) * shares * shared * y_c
    x += (r * shared + e) * x_c + (top * x_h + left * x_w)
    w += e * w_c + (h * w_h + column * w_w)
    y += (r * shared + e) * y_c + (h * y_h + column * y_w)

    totals = zeros(ROWS, (POSITIONS, CHANNELS, SHARES), SUM)
    for row in tl.static_range((ROWS - 1) * SH + (KH - 1) * DH + 1):
        for j in tl.static_range(KW):
            inside = (top + row >= 0) & (top + row < height)
            inside = inside & (left + j * DW >= 0) & (left + j * DW < width)
            if not EVEN:
                inside = inside & (e < shared)
            readable = inside
            if not EVEN:
                readable = inside & (r < shares)
            value = tl.load(x + row * x_h + j * DW * x_w, mask=readable, other=0.0).to(SUM)
            for i in tl.static_range(KH):
                if (row - i * DH) % SH == 0 and 0 <= row - i * DH and (row - i * DH) // SH < ROWS:
                    weight = tl.load(
                        w + ((i * KW + j) * w_t + (row - i * DH) // SH * w_h),
                        mask=inside & (h + (row - i * DH) // SH < rows), other=0.0,
                    )  # fmt: skip
                    totals = add_at(totals, weight.to(SUM) * value, (row - i * DH) // SH, ROWS)
    for m in tl.static_range(ROWS):
        written = h + m < rows
        if not EVEN:
            written = written & (e < shared) & (r < shares)
        tl.store(y + m * y_h, totals[m].to(y.dtype.element_ty), mask=written)


# fmt: off
@triton.jit(do_not_specialize=SIZES)
def grad_x_kernel(
    x, w, y,
    height, width, rows, columns, groups, shared, shares, channel_blocks, share_blocks, blocks,
    x_n, x_c, x_h, x_w, w_n, w_g, w_c, w_t, w_h, w_w, y_n, y_c, y_h, y_w,
    HEADS: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PH: tl.constexpr, PW: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    UNIT: tl.constexpr, EVEN: tl.constexpr, INT: tl.constexpr, SUM: tl.constexpr,
    ROWS: tl.constexpr, SHARES: tl.constexpr, CHANNELS: tl.constexpr, POSITIONS: tl.constexpr,
):  # fmt: on
    """Gradient of x, written to `x`, from that of y: each position gathers from the outputs it served."""
    if UNIT:
        x_w = 1
        w_w = 1
        y_w = 1
    n, unit, block = place(channel_blocks * share_blocks * groups, blocks, False)
    e = unit % channel_blocks * CHANNELS + tl.arange(0, CHANNELS)[None, :, None].to(INT)
    r = unit // channel_blocks % share_blocks * SHARES + tl.arange(0, SHARES)[None, None, :].to(INT)
    group = (unit // (channel_blocks * share_blocks)).to(tl.int64)
    p = block * POSITIONS + tl.arange(0, POSITIONS)[:, None, None].to(INT)
    h, column = p // width * ROWS, p % width
    x += n * x_n + group * shares * shared * x_c + ((r * shared + e) * x_c + (h * x_h + column * x_w))
    # tap (i, j) of output (row, column) is input (row * SH - PH + i * DH, column * SW - PW + j * DW)
    last, right = h + PH - (KH - 1) * DH, column + PW
    totals = zeros(ROWS, (POSITIONS, CHANNELS, SHARES), SUM)
    w += n * w_n + group * shared * w_c + e * w_c
    y += n * y_n + group * shares * shared * y_c + (r * shared + e) * y_c
    for _ in range(HEADS):
        for step in tl.static_range(ROWS + (KH - 1) * DH):
            for j in tl.static_range(KW):
                row, place_w = (last + step) // SH, (right - j * DW) // SW
                inside = (last + step >= 0) & (row < rows) & (right >= j * DW) & (place_w < columns)
                if SH > 1:
                    inside = inside & ((last + step) % SH == 0)
                if SW > 1:
                    inside = inside & ((right - j * DW) % SW == 0)
                if not EVEN:
                    inside = inside & (e < shared)
                readable = inside
                if not EVEN:
                    readable = inside & (r < shares)
                grad = tl.load(y + (row * y_h + place_w * y_w), mask=readable, other=0.0).to(SUM)
                at = w + (row * w_h + place_w * w_w)
                for i in tl.static_range(KH):
                    if 0 <= step - (KH - 1 - i) * DH and step - (KH - 1 - i) * DH < ROWS:
                        weight = tl.load(at + (i * KW + j) * w_t, mask=inside, other=0.0).to(SUM)
                        totals = add_at(totals, weight * grad, step - (KH - 1 - i) * DH, ROWS)
        w += w_g
        y += shares.to(tl.int64) * groups * shared * y_c
    for m in tl.static_range(ROWS):
        written = h + m < height
        if not EVEN:
            written = written & (e < shared) & (r < shares)
        tl.store(x + m * x_h, totals[m].to(x.dtype.element_ty), mask=written)


# fmt: off
@triton.jit(do_not_specialize=SIZES)
def grad_weight_kernel(
    x, w, y,
    height, width, rows, columns, groups, shared, shares, channel_blocks, share_blocks, blocks,
    x_n, x_c, x_h, x_w, w_n, w_g, w_c, w_t, w_h, w_w, y_n, y_c, y_h, y_w,
    HEADS: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PH: tl.constexpr, PW: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    UNIT: tl.constexpr, EVEN: tl.constexpr, INT: tl.constexpr, SUM: tl.constexpr,
    ROWS: tl.constexpr, SHARES: tl.constexpr, CHANNELS: tl.constexpr, POSITIONS: tl.constexpr,
):  # fmt: on
    """Gradient of the weights, written to `w`: the sharing channels are summed in one order."""
    if UNIT:
        x_w = 1
        w_w = 1
        y_w = 1
    n, unit, block = place(channel_blocks * groups * HEADS, blocks, False)
    e = unit % channel_blocks * CHANNELS + tl.arange(0, CHANNELS)[None, :, None].to(INT)
    group = (unit // channel_blocks % groups).to(tl.int64)
    head = (unit // (channel_blocks * groups)).to(tl.int64)
    p = block * POSITIONS + tl.arange(0, POSITIONS)[:, None, None].to(INT)
    h, column = p // columns * ROWS, p % columns
    top, left = h * SH - PH, column * SW - PW
    x += n * x_n + group * shares * shared * x_c + (top * x_h + left * x_w)
    w += n * w_n + head * w_g + group * shared * w_c + (e * w_c + (h * w_h + column * w_w))
    y += n * y_n + (head * groups + group) * shares * shared * y_c + (h * y_h + column * y_w)

    totals = zeros(ROWS * KH * KW, (POSITIONS, CHANNELS, 1), SUM)
    for share_block in range(share_blocks):
        r = share_block * SHARES + tl.arange(0, SHARES)[None, None, :].to(INT)
        known = h < rows
        if not EVEN:
            known = known & (e < shared) & (r < shares)
        grads = ()
        for m in tl.static_range(ROWS):
            at = y + (r * shared + e) * y_c + m * y_h
            grads = grads + (tl.load(at, mask=known & (h + m < rows), other=0.0).to(SUM),)
        source = x + (r * shared + e) * x_c
        for row in tl.static_range((ROWS - 1) * SH + (KH - 1) * DH + 1):
            for j in tl.static_range(KW):
                inside = known & (top + row >= 0) & (top + row < height)
                inside = inside & (left + j * DW >= 0) & (left + j * DW < width)
                value = tl.load(source + row * x_h + j * DW * x_w, mask=inside, other=0.0).to(SUM)
                for i in tl.static_range(KH):
                    if (row - i * DH) % SH == 0 and 0 <= row - i * DH and (row - i * DH) // SH < ROWS:
                        product = tl.sum(value * grads[(row - i * DH) // SH], axis=2, keep_dims=True)
                        totals = add_at(
                            totals, product, ((row - i * DH) // SH * KH + i) * KW + j, ROWS * KH * KW
                        )
    for m in tl.static_range(ROWS):
        written = h + m < rows
        if not EVEN:
            written = written & (e < shared)
        for t in tl.static_range(KH * KW):
            value = totals[m * KH * KW + t].to(w.dtype.element_ty)
            tl.store(w + (t * w_t + m * w_h), value, mask=written)
