"""Triton kernels of local relation, for `mmssl.ops.local_relation.triton`.

A program works on BLOCK positions, which run on from image to image, and on one group: its M value channels
share the weights, its E query and key channels make them; BM and BE are the next powers of two. All
tensors may have any strides. SUM is the type of sums, WIDE says that offsets need 64 bits.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import triton
import triton.language as tl


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
def _at(image, row, column, strides):
    """(BLOCK) offsets of positions, channel 0."""
    return image * strides[0] + row * strides[2] + column * strides[3]


@triton.jit
def _tile(pointer, image, row, column, channel, strides):
    """(BLOCK, channels) pointers; positions first, so that a thread has all channels of its positions."""
    return pointer + channel * strides[1] + _at(image, row, column, strides)[:, None]


@triton.jit
def forward_kernel(
    query, key, value, prior, saliency, out, log_total,
    query_strides, key_strides, value_strides, saliency_strides, out_strides, total_strides,
    places, height, width, height_out, width_out,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, SCALE: tl.constexpr, OUTSIDE: tl.constexpr, KIND: tl.constexpr,
    E: tl.constexpr, M: tl.constexpr, BE: tl.constexpr, BM: tl.constexpr, BLOCK: tl.constexpr,
    SALIENT: tl.constexpr, WIDE: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """The result and the log-sum-exp of every window."""
    image, row_out, column_out, exists = _positions(places, height_out, width_out, BLOCK, WIDE)
    group = tl.program_id(1).to(image.dtype)
    inner, outer = tl.arange(0, BE)[None, :], tl.arange(0, BM)[None, :]
    query = _tile(query, image, row_out, column_out, group * E + inner, query_strides)
    q = tl.load(query, mask=exists[:, None] & (inner < E), other=0).to(SUM)
    key += (group * E + inner) * key_strides[1] + image[:, None] * key_strides[0]
    value += (group * M + outer) * value_strides[1] + image[:, None] * value_strides[0]
    if SALIENT:
        saliency += group * saliency_strides[1] + image * saliency_strides[0]
    peak = tl.full((BLOCK,), float("-inf"), SUM)
    total = tl.zeros((BLOCK,), SUM)
    sums = tl.zeros((BLOCK, BM), SUM)
    for tap in range(KH * KW):
        row = row_out * SH + DH * (tap // KW - KH // 2)
        column = column_out * SW + DW * (tap % KW - KW // 2)
        inside = exists & (row >= 0) & (row < height) & (column >= 0) & (column < width)
        place = row * key_strides[2] + column * key_strides[3]
        k = tl.load(key + place[:, None], mask=inside[:, None] & (inner < E), other=0).to(SUM)
        alike = tl.sum(_similarity(q, k, KIND), 1)
        if SALIENT:
            place = row * saliency_strides[2] + column * saliency_strides[3]
            alike += tl.load(saliency + place, mask=inside, other=0).to(SUM)
        logit = tl.where(inside, alike * SCALE, OUTSIDE)
        logit += tl.load(prior + group * KH * KW + tap).to(SUM)
        higher = tl.maximum(peak, logit)
        fade, weight = tl.exp(peak - higher), tl.exp(logit - higher)
        place = row * value_strides[2] + column * value_strides[3]
        v = tl.load(value + place[:, None], mask=inside[:, None] & (outer < M), other=0).to(SUM)
        sums = sums * fade[:, None] + weight[:, None] * v
        total = total * fade + weight
        peak = higher
    out = _tile(out, image, row_out, column_out, group * M + outer, out_strides)
    tl.store(out, sums / total[:, None], mask=exists[:, None] & (outer < M))
    log_total += group * total_strides[1] + _at(image, row_out, column_out, total_strides)
    tl.store(log_total, peak + tl.log(total), mask=exists)


@triton.jit
def by_output_kernel(
    grad, query, key, value, prior, saliency, out, log_total, mean, grad_query, grad_prior,
    grad_strides, query_strides, key_strides, value_strides, saliency_strides, out_strides,
    total_strides, grad_query_strides,
    places, height, width, height_out, width_out,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, SCALE: tl.constexpr, OUTSIDE: tl.constexpr, KIND: tl.constexpr,
    E: tl.constexpr, M: tl.constexpr, BE: tl.constexpr, BM: tl.constexpr, BLOCK: tl.constexpr,
    SALIENT: tl.constexpr, WIDE: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """Gradient of the queries, that of the prior for each program, and <grad, out> of each window."""
    image, row_out, column_out, exists = _positions(places, height_out, width_out, BLOCK, WIDE)
    group = tl.program_id(1).to(image.dtype)
    inner, outer = tl.arange(0, BE)[None, :], tl.arange(0, BM)[None, :]
    channels = exists[:, None] & (outer < M)
    query = _tile(query, image, row_out, column_out, group * E + inner, query_strides)
    q = tl.load(query, mask=exists[:, None] & (inner < E), other=0).to(SUM)
    key += (group * E + inner) * key_strides[1] + image[:, None] * key_strides[0]
    value += (group * M + outer) * value_strides[1] + image[:, None] * value_strides[0]
    if SALIENT:
        saliency += group * saliency_strides[1] + image * saliency_strides[0]
    grad = _tile(grad, image, row_out, column_out, group * M + outer, grad_strides)
    dy = tl.load(grad, mask=channels, other=0).to(SUM)
    out = _tile(out, image, row_out, column_out, group * M + outer, out_strides)
    product = tl.sum(dy * tl.load(out, mask=channels, other=0).to(SUM), 1)
    windows = group * total_strides[1] + _at(image, row_out, column_out, total_strides)
    tl.store(mean + windows, product, mask=exists)
    level = tl.load(log_total + windows, mask=exists, other=0)
    sums = tl.zeros((BLOCK, BE), SUM)
    grad_prior += (tl.program_id(0).to(image.dtype) * tl.num_programs(1) + group) * KH * KW
    for tap in range(KH * KW):
        row = row_out * SH + DH * (tap // KW - KH // 2)
        column = column_out * SW + DW * (tap % KW - KW // 2)
        inside = exists & (row >= 0) & (row < height) & (column >= 0) & (column < width)
        place = row * key_strides[2] + column * key_strides[3]
        k = tl.load(key + place[:, None], mask=inside[:, None] & (inner < E), other=0).to(SUM)
        alike = tl.sum(_similarity(q, k, KIND), 1)
        if SALIENT:
            place = row * saliency_strides[2] + column * saliency_strides[3]
            alike += tl.load(saliency + place, mask=inside, other=0).to(SUM)
        logit = tl.where(inside, alike * SCALE, OUTSIDE)
        logit += tl.load(prior + group * KH * KW + tap).to(SUM)
        weight = tl.where(exists, tl.exp(logit - level), 0)
        place = row * value_strides[2] + column * value_strides[3]
        v = tl.load(value + place[:, None], mask=inside[:, None] & (outer < M), other=0).to(SUM)
        slope = weight * (tl.sum(dy * v, 1) - product)
        tl.store(grad_prior + tap, tl.sum(slope, 0))
        slope = tl.where(inside, slope * SCALE, 0)
        sums += slope[:, None] * _slope_of_query(q, k, KIND)
    grad_query = _tile(
        grad_query, image, row_out, column_out, group * E + inner, grad_query_strides
    )
    tl.store(grad_query, sums, mask=exists[:, None] & (inner < E))


@triton.jit
def by_input_kernel(
    grad, query, key, value, prior, saliency, log_total, mean, grad_key, grad_value, grad_saliency,
    grad_strides, query_strides, key_strides, value_strides, saliency_strides, total_strides,
    grad_key_strides, grad_value_strides, grad_saliency_strides,
    places, height, width, height_out, width_out,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, SCALE: tl.constexpr, OUTSIDE: tl.constexpr, KIND: tl.constexpr,
    E: tl.constexpr, M: tl.constexpr, BE: tl.constexpr, BM: tl.constexpr, BLOCK: tl.constexpr,
    SALIENT: tl.constexpr, WIDE: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """Gradients of keys, values and saliency: for each of them, the windows that it lies in."""
    image, row_in, column_in, exists = _positions(places, height, width, BLOCK, WIDE)
    group = tl.program_id(1).to(image.dtype)
    inner, outer = tl.arange(0, BE)[None, :], tl.arange(0, BM)[None, :]
    key = _tile(key, image, row_in, column_in, group * E + inner, key_strides)
    k = tl.load(key, mask=exists[:, None] & (inner < E), other=0).to(SUM)
    value = _tile(value, image, row_in, column_in, group * M + outer, value_strides)
    v = tl.load(value, mask=exists[:, None] & (outer < M), other=0).to(SUM)
    salient = tl.zeros((BLOCK,), SUM)
    if SALIENT:
        saliency += group * saliency_strides[1] + _at(image, row_in, column_in, saliency_strides)
        salient += tl.load(saliency, mask=exists, other=0).to(SUM)
    query += (group * E + inner) * query_strides[1] + image[:, None] * query_strides[0]
    grad += (group * M + outer) * grad_strides[1] + image[:, None] * grad_strides[0]
    windows = group * total_strides[1] + image * total_strides[0]
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
        place = row * query_strides[2] + column * query_strides[3]
        q = tl.load(query + place[:, None], mask=seen[:, None] & (inner < E), other=0).to(SUM)
        logit = (tl.sum(_similarity(q, k, KIND), 1) + salient) * SCALE
        logit += tl.load(prior + group * KH * KW + tap).to(SUM)
        place = windows + row * total_strides[2] + column * total_strides[3]
        level = tl.load(log_total + place, mask=seen, other=float("inf"))
        product = tl.load(mean + place, mask=seen, other=0)
        weight = tl.where(seen, tl.exp(logit - level), 0)
        place = row * grad_strides[2] + column * grad_strides[3]
        dy = tl.load(grad + place[:, None], mask=seen[:, None] & (outer < M), other=0).to(SUM)
        sums_value += weight[:, None] * dy
        slope = weight * (tl.sum(dy * v, 1) - product) * SCALE
        sums_key += slope[:, None] * _slope_of_key(q, k, KIND)
        sums_salient += slope
    grad_key = _tile(grad_key, image, row_in, column_in, group * E + inner, grad_key_strides)
    tl.store(grad_key, sums_key, mask=exists[:, None] & (inner < E))
    grad_value = _tile(grad_value, image, row_in, column_in, group * M + outer, grad_value_strides)
    tl.store(grad_value, sums_value, mask=exists[:, None] & (outer < M))
    if SALIENT:
        grad_saliency += group * grad_saliency_strides[1]
        grad_saliency += _at(image, row_in, column_in, grad_saliency_strides)
        tl.store(grad_saliency, sums_salient, mask=exists)
