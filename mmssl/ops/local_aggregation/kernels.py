"""GPU kernels of local aggregation for any strides, best where neighbouring positions are neighbours in
memory.

A program owns a tile of positions x weight channels x channels that share a weight. With its axes in this
order, Triton gives neighbouring positions to neighbouring threads and keeps the sharing channels in
registers, so that a weight is read once for all of them. A thread has ROWS x COLUMNS positions, and reads
what they need once for all of them; two columns are read and written at once where they lie together. Sizes
are run-time numbers: another image size compiles nothing, unless its maps are so small that the rule of tiles
gives them another one, or its rows have no pairs.

Names: n image, e weight channel of its group, r sharing channel, (h, w) position, (i, j) tap.
"""

# mypy: ignore-errors
# ruff: noqa: RUF005, RUF028, SIM905
from __future__ import annotations

import triton
import triton.language as tl

SIZES = (
    "height width rows columns shared shares channel_blocks blocks "
    "x_n x_c x_h x_w w_n w_g w_c w_t w_h w_w y_n y_c y_h y_w"
).split()
"""Run-time numbers that Triton is not to specialise on; all strides but the last of each count in COLUMNS."""


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


@triton.jit
def times(steps, UNIT: tl.constexpr, INT: tl.constexpr):
    """Strides in numbers, of those that count in UNIT: so the compiler knows what they are multiples of."""
    found = (steps[0].to(tl.int64) * UNIT,)
    for k in tl.static_range(1, len(steps)):
        found = found + (steps[k].to(INT) * UNIT,)
    return found


@triton.jit
def columns_inside(
    column, size, FROM: tl.constexpr, STEP: tl.constexpr, COUNT: tl.constexpr, STRIDE: tl.constexpr
):
    """For COUNT places STEP apart, from `column` + FROM on, whether one of `size` columns is there.

    Columns are STRIDE apart.
    """
    found = ()
    for k in tl.static_range(COUNT):
        at = column + (FROM + k * STEP)
        inside = (at >= 0) & (at // STRIDE < size)
        if STRIDE > 1:
            inside = inside & (at % STRIDE == 0)
        found = found + (inside,)
    return found


@triton.jit
def load_columns(
    found, at, column, step, known, inside, COUNT: tl.constexpr,
    FROM: tl.constexpr, STEP: tl.constexpr, STRIDE: tl.constexpr, PAIRS: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """Tiles of the first COUNT places of `columns_inside`, of which `found` has some.

    They hold zeros where no column is, and where not `known`. `at` points to `column` where STRIDE is 1, else
    to the first of the row. With PAIRS all `column`s are even, and a column of an even number and the next
    are read at once, so that there may be one more tile than asked for.
    """
    for k in tl.static_range(len(found), COUNT):
        if STRIDE == 1:
            each = at + (FROM + k * STEP) * step
        else:
            each = at + (column + (FROM + k * STEP)) // STRIDE * step
        if PAIRS and (FROM + k) % 2 == 0 and k + 1 < len(inside):
            both = tl.load(
                each[:, :, :, None] + tl.arange(0, 2)[None, None, None, :],
                mask=(known & inside[k])[:, :, :, None], other=0.0,
            )  # fmt: skip
            left, right = tl.split(both)
            found = found + (left.to(SUM), right.to(SUM))
        elif k == len(found):
            found = found + (tl.load(each, mask=known & inside[k], other=0.0).to(SUM),)
    return found


@triton.jit
def store_columns(at, values, first, mask, COLUMNS: tl.constexpr):
    """Write one entry of `values`, or two to neighbouring columns."""
    if COLUMNS == 1:
        tl.store(at, values[first].to(at.dtype.element_ty), mask=mask)
    else:
        both = tl.join(values[first], values[first + 1]).to(at.dtype.element_ty)
        at = at[:, :, :, None] + tl.arange(0, 2)[None, None, None, :]
        tl.store(at, both, mask=mask[:, :, :, None])


# fmt: off
@triton.jit(do_not_specialize=SIZES)
def forward_kernel(
    x, w, y,
    height, width, rows, columns, groups, shared, shares, channel_blocks, share_blocks, blocks,
    x_n, x_c, x_h, x_w, w_n, w_g, w_c, w_t, w_h, w_w, y_n, y_c, y_h, y_w,
    HEADS: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PH: tl.constexpr, PW: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    UNIT: tl.constexpr, EVEN: tl.constexpr, INT: tl.constexpr, SUM: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    SHARES: tl.constexpr, CHANNELS: tl.constexpr, POSITIONS: tl.constexpr,
):  # fmt: on
    """y[n, head C + c, h, w] = sum_t weight[n, head, q(c), t, h, w] x[n, c, tap t of (h, w)]."""
    if UNIT:
        x_w = 1
        w_w = 1
        y_w = 1
    x_n, x_c, x_h = times((x_n, x_c, x_h), COLUMNS, INT)
    w_n, w_g, w_c, w_t, w_h = times((w_n, w_g, w_c, w_t, w_h), COLUMNS, INT)
    y_n, y_c, y_h = times((y_n, y_c, y_h), COLUMNS, INT)
    n, unit, block = place(channel_blocks * share_blocks * groups * HEADS, blocks, False)
    e = unit % channel_blocks * CHANNELS + tl.arange(0, CHANNELS)[None, :, None].to(INT)
    r = unit // channel_blocks % share_blocks * SHARES + tl.arange(0, SHARES)[None, None, :].to(INT)
    group = (unit // (channel_blocks * share_blocks) % groups).to(tl.int64)
    head = (unit // (channel_blocks * share_blocks * groups)).to(tl.int64)
    p = block * POSITIONS + tl.arange(0, POSITIONS)[:, None, None].to(INT)
    h, column = p // (columns // COLUMNS) * ROWS, p % (columns // COLUMNS) * COLUMNS
    top = h * SH - PH
    x += n * x_n + group * shares * shared * x_c
    w += n * w_n + head * w_g + group * shared * w_c
    y += n * y_n + (head * groups + group) * shares * shared * y_c
    x += (r * shared + e) * x_c + (top * x_h + column * SW * x_w)
    w += e * w_c + (h * w_h + column * w_w)
    y += (r * shared + e) * y_c + (h * y_h + column * y_w)

    totals = zeros(ROWS * COLUMNS, (POSITIONS, CHANNELS, SHARES), SUM)
    seen = columns_inside(column * SW, width, -PW, DW, KW + COLUMNS - 1, 1)
    for row in tl.static_range((ROWS - 1) * SH + (KH - 1) * DH + 1):
        known = (top + row >= 0) & (top + row < height)
        if not EVEN:
            known = known & (e < shared)
        readable = known
        if not EVEN:
            readable = known & (r < shares)
        values = ()
        for j in tl.static_range(KW):
            values = load_columns(
                values, x + row * x_h, column, x_w, readable, seen, j + COLUMNS,
                -PW, DW, 1, COLUMNS == 2, SUM,
            )  # fmt: skip
            for i in tl.static_range(KH):
                if (row - i * DH) % SH == 0 and 0 <= row - i * DH and (row - i * DH) // SH < ROWS:
                    at = w + ((i * KW + j) * w_t + (row - i * DH) // SH * w_h)
                    served = known & (h + (row - i * DH) // SH < rows)
                    if COLUMNS == 1:
                        weights = (tl.load(at, mask=served & seen[j], other=0.0).to(SUM),)
                    else:
                        weights = load_columns(
                            (), at, column, 1, served, (served, served), 2, 0, 1, 1, True, SUM
                        )
                        weights = (
                            tl.where(seen[j], weights[0], 0.0),
                            tl.where(seen[j + 1], weights[1], 0.0),
                        )
                    for k in tl.static_range(COLUMNS):
                        totals = add_at(
                            totals, weights[k] * values[j + k],
                            (row - i * DH) // SH * COLUMNS + k, ROWS * COLUMNS,
                        )  # fmt: skip
    for m in tl.static_range(ROWS):
        written = h + m < rows
        if not EVEN:
            written = written & (e < shared) & (r < shares)
        store_columns(y + m * y_h, totals, m * COLUMNS, written, COLUMNS)


# fmt: off
@triton.jit(do_not_specialize=SIZES)
def grad_x_kernel(
    x, w, y,
    height, width, rows, columns, groups, shared, shares, channel_blocks, share_blocks, blocks,
    x_n, x_c, x_h, x_w, w_n, w_g, w_c, w_t, w_h, w_w, y_n, y_c, y_h, y_w,
    HEADS: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PH: tl.constexpr, PW: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    UNIT: tl.constexpr, EVEN: tl.constexpr, INT: tl.constexpr, SUM: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    SHARES: tl.constexpr, CHANNELS: tl.constexpr, POSITIONS: tl.constexpr,
):  # fmt: on
    """Gradient of x, written to `x`, from that of y: each position gathers from the outputs it served."""
    if UNIT:
        x_w = 1
        w_w = 1
        y_w = 1
    x_n, x_c, x_h = times((x_n, x_c, x_h), COLUMNS, INT)
    w_n, w_g, w_c, w_t, w_h = times((w_n, w_g, w_c, w_t, w_h), COLUMNS, INT)
    y_n, y_c, y_h = times((y_n, y_c, y_h), COLUMNS, INT)
    n, unit, block = place(channel_blocks * share_blocks * groups, blocks, False)
    e = unit % channel_blocks * CHANNELS + tl.arange(0, CHANNELS)[None, :, None].to(INT)
    r = unit // channel_blocks % share_blocks * SHARES + tl.arange(0, SHARES)[None, None, :].to(INT)
    group = (unit // (channel_blocks * share_blocks)).to(tl.int64)
    p = block * POSITIONS + tl.arange(0, POSITIONS)[:, None, None].to(INT)
    h, column = p // (width // COLUMNS) * ROWS, p % (width // COLUMNS) * COLUMNS
    x += n * x_n + group * shares * shared * x_c + ((r * shared + e) * x_c + (h * x_h + column * x_w))
    # tap (i, j) of output (row, column) is input (row * SH - PH + i * DH, column * SW - PW + j * DW)
    last = h + PH - (KH - 1) * DH
    FROM: tl.constexpr = PW - (KW - 1) * DW
    totals = zeros(ROWS * COLUMNS, (POSITIONS, CHANNELS, SHARES), SUM)
    seen = columns_inside(column, columns, FROM, DW, KW + COLUMNS - 1, SW)
    w += n * w_n + group * shared * w_c + e * w_c
    y += n * y_n + group * shares * shared * y_c + (r * shared + e) * y_c
    if SW == 1:
        w += column * w_w
        y += column * y_w
    for _ in range(HEADS):
        for step in tl.static_range(ROWS + (KH - 1) * DH):
            row = (last + step) // SH
            known = (last + step >= 0) & (row < rows)
            if SH > 1:
                known = known & ((last + step) % SH == 0)
            if not EVEN:
                known = known & (e < shared)
            readable = known
            if not EVEN:
                readable = known & (r < shares)
            grads = ()
            # what is FROM + o * DW columns further is seen through tap KW - 1 - o
            for o in tl.static_range(KW):
                grads = load_columns(
                    grads, y + row * y_h, column, y_w, readable, seen, o + COLUMNS,
                    FROM, DW, SW, COLUMNS == 2, SUM,
                )  # fmt: skip
                for i in tl.static_range(KH):
                    if 0 <= step - (KH - 1 - i) * DH and step - (KH - 1 - i) * DH < ROWS:
                        weights = load_columns(
                            (), w + (row * w_h + (i * KW + KW - 1 - o) * w_t), column, w_w, known,
                            seen[o : o + COLUMNS], COLUMNS, FROM + o * DW, DW, SW, COLUMNS == 2, SUM,
                        )  # fmt: skip
                        for k in tl.static_range(COLUMNS):
                            totals = add_at(
                                totals, weights[k] * grads[o + k],
                                (step - (KH - 1 - i) * DH) * COLUMNS + k, ROWS * COLUMNS,
                            )  # fmt: skip
        w += w_g
        y += shares.to(tl.int64) * groups * shared * y_c
    for m in tl.static_range(ROWS):
        written = h + m < height
        if not EVEN:
            written = written & (e < shared) & (r < shares)
        store_columns(x + m * x_h, totals, m * COLUMNS, written, COLUMNS)


# fmt: off
@triton.jit(do_not_specialize=SIZES)
def grad_weight_kernel(
    x, w, y,
    height, width, rows, columns, groups, shared, shares, channel_blocks, share_blocks, blocks,
    x_n, x_c, x_h, x_w, w_n, w_g, w_c, w_t, w_h, w_w, y_n, y_c, y_h, y_w,
    HEADS: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PH: tl.constexpr, PW: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    UNIT: tl.constexpr, EVEN: tl.constexpr, INT: tl.constexpr, SUM: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    SHARES: tl.constexpr, CHANNELS: tl.constexpr, POSITIONS: tl.constexpr,
):  # fmt: on
    """Gradient of the weights, written to `w`: the sharing channels are summed in one order."""
    if UNIT:
        x_w = 1
        w_w = 1
        y_w = 1
    x_n, x_c, x_h = times((x_n, x_c, x_h), COLUMNS, INT)
    w_n, w_g, w_c, w_t, w_h = times((w_n, w_g, w_c, w_t, w_h), COLUMNS, INT)
    y_n, y_c, y_h = times((y_n, y_c, y_h), COLUMNS, INT)
    n, unit, block = place(channel_blocks * groups * HEADS, blocks, False)
    e = unit % channel_blocks * CHANNELS + tl.arange(0, CHANNELS)[None, :, None].to(INT)
    group = (unit // channel_blocks % groups).to(tl.int64)
    head = (unit // (channel_blocks * groups)).to(tl.int64)
    p = block * POSITIONS + tl.arange(0, POSITIONS)[:, None, None].to(INT)
    h, column = p // (columns // COLUMNS) * ROWS, p % (columns // COLUMNS) * COLUMNS
    top = h * SH - PH
    x += n * x_n + group * shares * shared * x_c + (top * x_h + column * SW * x_w)
    w += n * w_n + head * w_g + group * shared * w_c + (e * w_c + (h * w_h + column * w_w))
    y += n * y_n + (head * groups + group) * shares * shared * y_c + (h * y_h + column * y_w)

    COUNT: tl.constexpr = ROWS * KH * KW * COLUMNS
    totals = zeros(COUNT, (POSITIONS, CHANNELS, 1), SUM)
    seen = columns_inside(column * SW, width, -PW, DW, KW + COLUMNS - 1, 1)
    for share_block in range(share_blocks):
        r = share_block * SHARES + tl.arange(0, SHARES)[None, None, :].to(INT)
        known = h < rows
        if not EVEN:
            known = known & (e < shared) & (r < shares)
        grads = ()
        for m in tl.static_range(ROWS):
            grads = grads + load_columns(
                (), y + ((r * shared + e) * y_c + m * y_h), column, y_w, h + m < rows, (known, known),
                COLUMNS, 0, 1, 1, COLUMNS == 2, SUM,
            )  # fmt: skip
        source = x + (r * shared + e) * x_c
        for row in tl.static_range((ROWS - 1) * SH + (KH - 1) * DH + 1):
            inside = known & (top + row >= 0) & (top + row < height)
            values = ()
            for j in tl.static_range(KW):
                values = load_columns(
                    values, source + row * x_h, column, x_w, inside, seen, j + COLUMNS,
                    -PW, DW, 1, COLUMNS == 2, SUM,
                )  # fmt: skip
                for i in tl.static_range(KH):
                    if (row - i * DH) % SH == 0 and 0 <= row - i * DH and (row - i * DH) // SH < ROWS:
                        for k in tl.static_range(COLUMNS):
                            product = values[j + k] * grads[(row - i * DH) // SH * COLUMNS + k]
                            totals = add_at(
                                totals, tl.sum(product, axis=2, keep_dims=True),
                                (((row - i * DH) // SH * KH + i) * KW + j) * COLUMNS + k, COUNT,
                            )  # fmt: skip
    for m in tl.static_range(ROWS):
        written = h + m < rows
        if not EVEN:
            written = written & (e < shared)
        for t in tl.static_range(KH * KW):
            at = w + (t * w_t + m * w_h)
            store_columns(at, totals, (m * KH * KW + t) * COLUMNS, written, COLUMNS)
