"""Triton kernels of local relation, for `mmssl.ops.local_relation.triton`.

A program works on BLOCK positions, which run on from image to image, and on one group: its M value channels
share the weights, its E query and key channels make them; BM and BE are the next powers of two. Keys have
EXTRA more channels of saliency. All tensors may have any strides. SUM is the type of sums, WIDE says that
offsets need 64 bits. Sizes are run-time numbers: another image size compiles nothing.

q query, k key, v value, y result, l log-sum-exp and <grad, out>, dq, dk, dv, dy gradients; their strides are
q_n, q_c, q_h, q_w and so on. ALIGN > 0 says that neighbouring channels of v, y, dy and dv are neighbours in
memory, and that their other strides are given in units of ALIGN numbers.
"""

# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: RUF028
from __future__ import annotations

import triton
import triton.language as tl

SIZES = ["places", "height", "width", "height_out", "width_out"] + [
    f"{name}_{axis}"
    for name in ("q", "k", "v", "y", "l", "dq", "dk", "dv", "dy")
    for axis in "nchw"
]
"""Run-time numbers that Triton is not to specialise on."""


@triton.jit
def _sign(x):
    return tl.where(x > 0, 1.0, tl.where(x < 0, -1.0, 0.0)).to(x.dtype)


@triton.jit
def _similarity(query, key, KIND: tl.constexpr):
    """See `similarity`; each of them is 0 for two zeros, so masked channels count nothing."""
    if KIND == 0:
        return query * key
    elif KIND == 1:
        return key + tl.zeros_like(query)
    elif KIND == 2:
        return -tl.abs(query - key)
    elif KIND == 3:
        return -tl.abs(query - key) / (tl.abs(query) + tl.abs(key) + 1)
    elif KIND == 4:
        return -(query - key) * (query - key) / (tl.abs(query * key) + 1)
    else:
        return -(query - key) * (query - key)


@triton.jit
def _slope_of_query(query, key, KIND: tl.constexpr):
    """df/dq, see `similarity_slopes`."""
    gap = query - key
    if KIND == 0:
        return key + tl.zeros_like(query)
    elif KIND == 1:
        return tl.zeros_like(gap)
    elif KIND == 2:
        return -_sign(gap)
    elif KIND == 3:
        size = tl.abs(query) + tl.abs(key) + 1
        return (tl.abs(gap) * _sign(query) / size - _sign(gap)) / size
    elif KIND == 4:
        size = tl.abs(query * key) + 1
        return (gap / size * tl.abs(key) * _sign(query) - 2) * gap / size
    else:
        return -2 * gap


@triton.jit
def _slope_of_key(query, key, KIND: tl.constexpr):
    """df/dk: the functions are symmetric, but for `key`."""
    if KIND == 1:
        return tl.zeros_like(query - key) + 1
    else:
        return _slope_of_query(key, query, KIND)


@triton.jit
def _positions(total, height, width, BLOCK: tl.constexpr, WIDE: tl.constexpr):
    """Image, row and column of the positions of a program, and which of them exist."""
    block = tl.program_id(0)
    if WIDE:
        block = block.to(tl.int64)
    place = block * BLOCK + tl.arange(0, BLOCK)
    row = place // width
    return row // height, row % height, place % width, place < total


@triton.jit
def _at(image, row, column, strides, ALIGN: tl.constexpr):
    """Offsets of positions, channel 0."""
    place = image * strides[0] + row * strides[2] + column * strides[3]
    if ALIGN:
        place = place * ALIGN
    return place


@triton.jit
def _channel(channel, strides, ALIGN: tl.constexpr):
    """Offsets of channels, position 0."""
    if ALIGN:
        return channel
    else:
        return channel * strides[1]


@triton.jit
def _tile(pointer, image, row, column, channel, strides, ALIGN: tl.constexpr):
    """(BLOCK, channels) pointers; positions first, so that a thread has all channels of its positions."""
    first = _at(image, row, column, strides, ALIGN)[:, None]
    return pointer + _channel(channel, strides, ALIGN) + first


@triton.jit
def _salient(key, image, group, strides, E: tl.constexpr, EXTRA: tl.constexpr):
    """Pointers to the saliency of a group, position 0: its channel behind those of the keys proper."""
    groups = tl.num_programs(1)
    channel = groups * E + group * EXTRA // groups
    return key + channel * strides[1] + image * strides[0]


# fmt: off
@triton.jit(do_not_specialize=SIZES)
def forward_kernel(
    query, key, value, prior, out, log_total,
    q_n, q_c, q_h, q_w, k_n, k_c, k_h, k_w, v_n, v_c, v_h, v_w, y_n, y_c, y_h, y_w, l_n, l_c, l_h, l_w,
    places, height, width, height_out, width_out,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, SCALE: tl.constexpr, OUTSIDE: tl.constexpr, KIND: tl.constexpr,
    E: tl.constexpr, M: tl.constexpr, BE: tl.constexpr, BM: tl.constexpr, BLOCK: tl.constexpr,
    EXTRA: tl.constexpr, ALIGN: tl.constexpr, WIDE: tl.constexpr, SUM: tl.constexpr,
):  # fmt: on
    """The result and the log-sum-exp of every window."""
    of_q, of_k, of_v = (q_n, q_c, q_h, q_w), (k_n, k_c, k_h, k_w), (v_n, v_c, v_h, v_w)
    of_y, of_l = (y_n, y_c, y_h, y_w), (l_n, l_c, l_h, l_w)
    image, row_out, column_out, exists = _positions(places, height_out, width_out, BLOCK, WIDE)
    group = tl.program_id(1).to(image.dtype)
    inner, outer = tl.arange(0, BE)[None, :], tl.arange(0, BM)[None, :]
    query = _tile(query, image, row_out, column_out, group * E + inner, of_q, 0)
    q = tl.load(query, mask=exists[:, None] & (inner < E), other=0).to(SUM)
    if EXTRA:
        salient = _salient(key, image, group, of_k, E, EXTRA)
    key = _tile(key, image, 0, 0, group * E + inner, of_k, 0)
    value = _tile(value, image, 0, 0, group * M + outer, of_v, ALIGN)
    peak = tl.full((BLOCK,), float("-inf"), SUM)
    total = tl.zeros((BLOCK,), SUM)
    sums = tl.zeros((BLOCK, BM), SUM)
    for tap in range(KH * KW):
        row = row_out * SH + DH * (tap // KW - KH // 2)
        column = column_out * SW + DW * (tap % KW - KW // 2)
        inside = exists & (row >= 0) & (row < height) & (column >= 0) & (column < width)
        place = _at(0, row, column, of_k, 0)
        k = tl.load(key + place[:, None], mask=inside[:, None] & (inner < E), other=0).to(SUM)
        alike = tl.sum(_similarity(q, k, KIND), 1)
        if EXTRA:
            alike += E * tl.load(salient + place, mask=inside, other=0).to(SUM)
        logit = tl.where(inside, alike * SCALE, OUTSIDE)
        logit += tl.load(prior + group * KH * KW + tap).to(SUM)
        higher = tl.maximum(peak, logit)
        fade, weight = tl.exp(peak - higher), tl.exp(logit - higher)
        place = _at(0, row, column, of_v, ALIGN)
        v = tl.load(value + place[:, None], mask=inside[:, None] & (outer < M), other=0).to(SUM)
        sums = sums * fade[:, None] + weight[:, None] * v
        total = total * fade + weight
        peak = higher
    out = _tile(out, image, row_out, column_out, group * M + outer, of_y, ALIGN)
    tl.store(out, sums / total[:, None], mask=exists[:, None] & (outer < M))
    log_total += group * l_c + _at(image, row_out, column_out, of_l, 0)
    tl.store(log_total, peak + tl.log(total), mask=exists)


# fmt: off
@triton.jit(do_not_specialize=SIZES)
def by_output_kernel(
    grad, query, key, value, prior, out, log_total, mean, grad_query, grad_prior,
    dy_n, dy_c, dy_h, dy_w, q_n, q_c, q_h, q_w, k_n, k_c, k_h, k_w, v_n, v_c, v_h, v_w,
    y_n, y_c, y_h, y_w, l_n, l_c, l_h, l_w, dq_n, dq_c, dq_h, dq_w,
    places, height, width, height_out, width_out,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, SCALE: tl.constexpr, OUTSIDE: tl.constexpr, KIND: tl.constexpr,
    E: tl.constexpr, M: tl.constexpr, BE: tl.constexpr, BM: tl.constexpr, BLOCK: tl.constexpr,
    EXTRA: tl.constexpr, ALIGN: tl.constexpr, WIDE: tl.constexpr, SUM: tl.constexpr,
    QUERY: tl.constexpr, PRIOR: tl.constexpr,
):  # fmt: on
    """<grad, out> of each window, and, where wanted, gradients of the queries and, by program, the prior."""
    of_q, of_k, of_v = (q_n, q_c, q_h, q_w), (k_n, k_c, k_h, k_w), (v_n, v_c, v_h, v_w)
    of_y, of_l, of_dy = (y_n, y_c, y_h, y_w), (l_n, l_c, l_h, l_w), (dy_n, dy_c, dy_h, dy_w)
    of_dq = (dq_n, dq_c, dq_h, dq_w)
    image, row_out, column_out, exists = _positions(places, height_out, width_out, BLOCK, WIDE)
    group = tl.program_id(1).to(image.dtype)
    inner, outer = tl.arange(0, BE)[None, :], tl.arange(0, BM)[None, :]
    channels = exists[:, None] & (outer < M)
    grad = _tile(grad, image, row_out, column_out, group * M + outer, of_dy, ALIGN)
    dy = tl.load(grad, mask=channels, other=0).to(SUM)
    out = _tile(out, image, row_out, column_out, group * M + outer, of_y, ALIGN)
    product = tl.sum(dy * tl.load(out, mask=channels, other=0).to(SUM), 1)
    windows = group * l_c + _at(image, row_out, column_out, of_l, 0)
    tl.store(mean + windows, product, mask=exists)
    if QUERY or PRIOR:
        query = _tile(query, image, row_out, column_out, group * E + inner, of_q, 0)
        q = tl.load(query, mask=exists[:, None] & (inner < E), other=0).to(SUM)
        if EXTRA:
            salient = _salient(key, image, group, of_k, E, EXTRA)
        key = _tile(key, image, 0, 0, group * E + inner, of_k, 0)
        value = _tile(value, image, 0, 0, group * M + outer, of_v, ALIGN)
        level = tl.load(log_total + windows, mask=exists, other=0)
        sums = tl.zeros((BLOCK, BE), SUM)
        program = tl.program_id(0).to(image.dtype) * tl.num_programs(1) + group
        for tap in range(KH * KW):
            row = row_out * SH + DH * (tap // KW - KH // 2)
            column = column_out * SW + DW * (tap % KW - KW // 2)
            inside = exists & (row >= 0) & (row < height) & (column >= 0) & (column < width)
            place = _at(0, row, column, of_k, 0)
            k = tl.load(key + place[:, None], mask=inside[:, None] & (inner < E), other=0).to(SUM)
            alike = tl.sum(_similarity(q, k, KIND), 1)
            if EXTRA:
                alike += E * tl.load(salient + place, mask=inside, other=0).to(SUM)
            logit = tl.where(inside, alike * SCALE, OUTSIDE)
            logit += tl.load(prior + group * KH * KW + tap).to(SUM)
            weight = tl.where(exists, tl.exp(logit - level), 0)
            place = _at(0, row, column, of_v, ALIGN)[:, None]
            v = tl.load(value + place, mask=inside[:, None] & (outer < M), other=0).to(SUM)
            slope = weight * (tl.sum(dy * v, 1) - product)
            if PRIOR:
                tl.store(grad_prior + program * KH * KW + tap, tl.sum(slope, 0))
            slope = tl.where(inside, slope * SCALE, 0)
            sums += slope[:, None] * _slope_of_query(q, k, KIND)
        if QUERY:
            grad_query = _tile(
                grad_query, image, row_out, column_out, group * E + inner, of_dq, 0
            )
            tl.store(grad_query, sums, mask=exists[:, None] & (inner < E))


# fmt: off
@triton.jit(do_not_specialize=SIZES)
def by_input_kernel(
    grad, query, key, value, prior, log_total, mean, grad_key, grad_value, grad_salient,
    dy_n, dy_c, dy_h, dy_w, q_n, q_c, q_h, q_w, k_n, k_c, k_h, k_w, v_n, v_c, v_h, v_w,
    l_n, l_c, l_h, l_w, dk_n, dk_c, dk_h, dk_w, dv_n, dv_c, dv_h, dv_w,
    places, height, width, height_out, width_out,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, SCALE: tl.constexpr, OUTSIDE: tl.constexpr, KIND: tl.constexpr,
    E: tl.constexpr, M: tl.constexpr, BE: tl.constexpr, BM: tl.constexpr, BLOCK: tl.constexpr,
    EXTRA: tl.constexpr, ALIGN: tl.constexpr, WIDE: tl.constexpr, SUM: tl.constexpr,
    KEY: tl.constexpr, VALUE: tl.constexpr,
):  # fmt: on
    """Gradients of keys, values and, (G, N, H, W), saliency: for each, the windows that it lies in."""
    of_q, of_k, of_v = (q_n, q_c, q_h, q_w), (k_n, k_c, k_h, k_w), (v_n, v_c, v_h, v_w)
    of_l, of_dy = (l_n, l_c, l_h, l_w), (dy_n, dy_c, dy_h, dy_w)
    of_dk, of_dv = (dk_n, dk_c, dk_h, dk_w), (dv_n, dv_c, dv_h, dv_w)
    image, row_in, column_in, exists = _positions(places, height, width, BLOCK, WIDE)
    group = tl.program_id(1).to(image.dtype)
    inner, outer = tl.arange(0, BE)[None, :], tl.arange(0, BM)[None, :]
    salient = tl.zeros((BLOCK,), SUM)
    if EXTRA:
        own = _salient(key, image, group, of_k, E, EXTRA) + _at(0, row_in, column_in, of_k, 0)
        salient += E * tl.load(own, mask=exists, other=0).to(SUM)
    key = _tile(key, image, row_in, column_in, group * E + inner, of_k, 0)
    k = tl.load(key, mask=exists[:, None] & (inner < E), other=0).to(SUM)
    value = _tile(value, image, row_in, column_in, group * M + outer, of_v, ALIGN)
    v = tl.load(value, mask=exists[:, None] & (outer < M), other=0).to(SUM)
    query = _tile(query, image, 0, 0, group * E + inner, of_q, 0)
    grad = _tile(grad, image, 0, 0, group * M + outer, of_dy, ALIGN)
    windows = group * l_c + image * l_n
    sums_key = tl.zeros((BLOCK, BE), SUM)
    sums_value = tl.zeros((BLOCK, BM), SUM)
    sums_salient = tl.zeros((BLOCK,), SUM)
    for tap in range(KH * KW):
        row = row_in - DH * (tap // KW - KH // 2)
        column = column_in - DW * (tap % KW - KW // 2)
        # a window exists only where a whole number of strides leads
        seen = exists & (row >= 0) & (row % SH == 0) & (column >= 0) & (column % SW == 0)
        row, column = row // SH, column // SW
        seen = seen & (row < height_out) & (column < width_out)
        place = _at(0, row, column, of_q, 0)
        q = tl.load(query + place[:, None], mask=seen[:, None] & (inner < E), other=0).to(SUM)
        logit = (tl.sum(_similarity(q, k, KIND), 1) + salient) * SCALE
        logit += tl.load(prior + group * KH * KW + tap).to(SUM)
        place = windows + _at(0, row, column, of_l, 0)
        level = tl.load(log_total + place, mask=seen, other=float("inf"))
        weight = tl.where(seen, tl.exp(logit - level), 0)
        first = _at(0, row, column, of_dy, ALIGN)[:, None]
        dy = tl.load(grad + first, mask=seen[:, None] & (outer < M), other=0).to(SUM)
        sums_value += weight[:, None] * dy
        if KEY:
            product = tl.load(mean + place, mask=seen, other=0)
            slope = weight * (tl.sum(dy * v, 1) - product) * SCALE
            sums_key += slope[:, None] * _slope_of_key(q, k, KIND)
            sums_salient += slope
    if VALUE:
        grad_value = _tile(grad_value, image, row_in, column_in, group * M + outer, of_dv, ALIGN)
        tl.store(grad_value, sums_value, mask=exists[:, None] & (outer < M))
    if KEY:
        grad_key = _tile(grad_key, image, row_in, column_in, group * E + inner, of_dk, 0)
        tl.store(grad_key, sums_key, mask=exists[:, None] & (inner < E))
        if EXTRA:
            place = (image * height + row_in) * width + column_in
            tl.store(grad_salient + group * places + place, E * sums_salient, mask=exists)
