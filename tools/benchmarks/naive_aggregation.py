"""Local aggregation with a thread for every result, as the official CUDA kernels: what ours is measured
against.

Each thread loops over the taps on its own, so a weight is read once for every channel that shares it.
Contiguous tensors, one group, a window that keeps the size.
"""

# mypy: ignore-errors
from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

BLOCK = 256


# fmt: off
@triton.jit
def _forward(x, w, y, count, channels, shared, height, width, K: tl.constexpr, BLOCK: tl.constexpr):
    # fmt: on
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    area = height * width
    column, row = index % width, index // width % height
    channel, n = index // area % channels, index // area // channels
    weight = w + ((n * shared + channel % shared) * K * K * area + row * width + column)
    total = tl.zeros((BLOCK,), tl.float32)
    for i in tl.static_range(K):
        for j in tl.static_range(K):
            down, right = row + i - K // 2, column + j - K // 2
            inside = (index < count) & (down >= 0) & (down < height) & (right >= 0) & (right < width)
            at = x + (n * channels + channel) * area + down * width + right
            value = tl.load(at, mask=inside, other=0.0).to(tl.float32)
            total += value * tl.load(weight + (i * K + j) * area, mask=inside, other=0.0).to(tl.float32)
    tl.store(y + index, total.to(y.dtype.element_ty), mask=index < count)


# fmt: off
@triton.jit
def _grad_x(x, w, y, count, channels, shared, height, width, K: tl.constexpr, BLOCK: tl.constexpr):
    # fmt: on
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    area = height * width
    column, row = index % width, index // width % height
    channel, n = index // area % channels, index // area // channels
    weight = w + (n * shared + channel % shared) * K * K * area
    total = tl.zeros((BLOCK,), tl.float32)
    for i in tl.static_range(K):
        for j in tl.static_range(K):
            down, right = row - i + K // 2, column - j + K // 2
            inside = (index < count) & (down >= 0) & (down < height) & (right >= 0) & (right < width)
            place = down * width + right
            grad = tl.load(y + (n * channels + channel) * area + place, mask=inside, other=0.0)
            value = tl.load(weight + (i * K + j) * area + place, mask=inside, other=0.0)
            total += grad.to(tl.float32) * value.to(tl.float32)
    tl.store(x + index, total.to(x.dtype.element_ty), mask=index < count)


# fmt: off
@triton.jit
def _grad_weight(x, w, y, count, channels, shared, height, width, K: tl.constexpr, BLOCK: tl.constexpr):
    # fmt: on
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    area = height * width
    column, row = index % width, index // width % height
    q, n = index // area % shared, index // area // shared
    for i in tl.static_range(K):
        for j in tl.static_range(K):
            down, right = row + i - K // 2, column + j - K // 2
            inside = (index < count) & (down >= 0) & (down < height) & (right >= 0) & (right < width)
            total = tl.zeros((BLOCK,), tl.float32)
            for share in range(channels // shared):
                plane = (n * channels + share * shared + q) * area
                value = tl.load(x + plane + down * width + right, mask=inside, other=0.0)
                grad = tl.load(y + plane + row * width + column, mask=inside, other=0.0)
                total += value.to(tl.float32) * grad.to(tl.float32)
            at = w + ((n * shared + q) * K * K + i * K + j) * area + row * width + column
            tl.store(at, total.to(w.dtype.element_ty), mask=index < count)


def _run(kernel, x: Tensor, weight: Tensor, y: Tensor, count: int) -> None:
    kernel[(triton.cdiv(count, BLOCK),)](
        x, weight, y, count, x.shape[1], weight.shape[2], x.shape[2], x.shape[3],
        K=int(weight.shape[3] ** 0.5), BLOCK=BLOCK,
    )  # fmt: skip


def naive_forward(x: Tensor, weight: Tensor, y: Tensor) -> None:
    """Write the result.

    Args:
        x: (N, C, H, W).
        weight: (N, 1, Cw, k * k, H, W).
        y: (N, C, H, W) to be written.
    """
    _run(_forward, x, weight, y, x.numel())


def naive_backward(
    grad: Tensor, x: Tensor, weight: Tensor, grad_x: Tensor, grad_weight: Tensor
) -> None:
    """Write both gradients.

    Args:
        grad: (N, C, H, W).
        x: (N, C, H, W).
        weight: (N, 1, Cw, k * k, H, W).
        grad_x: (N, C, H, W) to be written.
        grad_weight: (N, 1, Cw, k * k, H, W) to be written.
    """
    _run(_grad_x, grad_x, weight, grad, x.numel())
    _run(_grad_weight, x, grad_weight, grad, weight.numel() // weight.shape[3])
