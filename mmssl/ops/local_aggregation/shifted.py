"""Local aggregation by shift and accumulate, in pieces that stay in a CPU's cache, without unfolding.

The work is cut into pieces of images and channels. A piece is copied to a workbench, where all rows of
all its channels follow each other on one line, with as many zeros between them as a tap may go beyond a
border. There a tap is a shift by a fixed number, and all products of a tap are one long operation. What
lies between the rows of results is left behind when they are copied back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from mmssl.ops.local_aggregation.window import Window

PIECE = 2**16
"""Values of a map that are worked on together: with their weights and results they fit into the second-level
cache of a core."""


class _Lead(NamedTuple):
    """Leading sizes of the maps of a piece."""

    images: int
    shares: int
    channels: int


class _Piece(NamedTuple):
    """A part of the work: some images, one block of channels, and some of its weight channels."""

    images: slice
    block: int
    channels: slice

    def lead(self, shares: int) -> _Lead:
        """Sizes of its maps."""
        return _Lead(
            self.images.stop - self.images.start, shares, self.channels.stop - self.channels.start
        )

    def of_maps(self, maps: Tensor) -> Tensor:
        """(images, shares, channels, H, W) of (N, blocks, shares, channels, H, W)."""
        return maps[self.images, self.block, :, self.channels]

    def of_weights(self, weights: Tensor) -> Tensor:
        """(images, channels, taps, Ho, Wo) of (N, blocks, channels, taps, Ho, Wo)."""
        return weights[self.images, self.block, self.channels]


def _pieces(x: Tensor, weight: Tensor, groups: int) -> Iterator[_Piece]:
    """All parts of the work."""
    shared, shares = weight.shape[2] // groups, x.shape[1] // weight.shape[2]
    each = shares * max(x.shape[2] * x.shape[3], weight.shape[4] * weight.shape[5])
    channels = min(max(PIECE // each, 1), shared)
    images = max(PIECE // (each * channels), 1)
    for image in range(0, x.shape[0], images):
        for channel in range(0, shared, channels):
            for block in range(groups):
                yield _Piece(
                    slice(image, min(image + images, x.shape[0])),
                    block,
                    slice(channel, min(channel + channels, shared)),
                )


class _Line(NamedTuple):
    """Maps on the workbench: all there is of them, and the part that is copied from and to tensors."""

    full: Tensor
    kept: Tensor


class _Workbench:
    """Buffers for pieces of one size.

    Args:
        window: Taps of an output position.
        lead: Leading sizes of the maps.
        size: Height and width of x.
        out_size: Height and width of the result.
        like: A tensor of the type of the sums, on the device.
    """

    def __init__(
        self,
        window: Window,
        lead: _Lead,
        size: tuple[int, int],
        out_size: tuple[int, int],
        like: Tensor,
    ) -> None:
        self.window, self.lead, self.size, self.like = window, lead, size, like
        # on the line there are all outputs that a stride of 1 has; with another, most weights are zero
        self.out_span = [
            (each - 1) * step + 1 for each, step in zip(out_size, window.stride, strict=True)
        ]
        self.height, self.width = (
            max(inputs + pad, outputs)
            for inputs, pad, outputs in zip(size, window.padding, self.out_span, strict=True)
        )
        self.shifts = [
            (tap // window.kernel[1] * window.dilation[0] - window.padding[0]) * self.width
            + tap % window.kernel[1] * window.dilation[1]
            - window.padding[1]
            for tap in range(window.num_taps)
        ]
        self.length = lead.channels * self.height * self.width
        self.x = self.input_line()
        self.taps_of_x = self.taps(self.x)
        self.y = self.output_line(lead.images, lead.shares)
        self.weights = self.output_line(lead.images, window.num_taps)

    def input_line(self) -> _Line:
        """Maps of the size of x, zeros between them, and as many around as taps need."""
        before, behind = max(-self.shifts[0], 0), max(self.shifts[-1], 0)
        line = self.like.new_zeros(*self.lead[:2], before + self.length + behind)
        maps = line[..., before : before + self.length]
        maps = maps.unflatten(-1, (self.lead.channels, self.height, self.width))
        return _Line(line, maps[..., : self.size[0], : self.size[1]])

    def output_line(self, *lead: int) -> _Line:
        """Maps of the size of the result, and what is between them."""
        line = self.like.new_zeros(*lead, self.length)
        maps = line.unflatten(-1, (self.lead.channels, self.height, self.width))
        (rows, columns), (down, right) = self.out_span, self.window.stride
        return _Line(line, maps[..., :rows:down, :columns:right])

    def taps(self, maps: _Line) -> list[Tensor]:
        """What every tap of all outputs sees of maps of the size of x."""
        before = max(-self.shifts[0], 0)
        return [maps.full[..., before + shift :][..., : self.length] for shift in self.shifts]

    def forward(self) -> None:
        """Compute `y` from `x` and `weights`."""
        weights = self.weights.full.unsqueeze(1).unbind(2)
        torch.mul(weights[0], self.taps_of_x[0], out=self.y.full)
        for weight, value in zip(weights[1:], self.taps_of_x[1:], strict=True):
            self.y.full.addcmul_(weight, value)


class _GradientBench(_Workbench):
    """A workbench with `y` as the gradient of the result, and buffers for the other gradients."""

    def __init__(
        self,
        window: Window,
        lead: _Lead,
        size: tuple[int, int],
        out_size: tuple[int, int],
        like: Tensor,
    ) -> None:
        super().__init__(window, lead, size, out_size, like)
        self.grad_x = self.input_line()
        self.taps_of_grad_x = self.taps(self.grad_x)
        self.grad_weights = self.output_line(lead.images, window.num_taps)
        self.products = torch.empty_like(self.y.full)

    def add_grad_x(self) -> None:
        """Add to `grad_x` what `weights` and `y` give."""
        weights = self.weights.full.unsqueeze(1).unbind(2)
        for weight, value in zip(weights, self.taps_of_grad_x, strict=True):
            value.addcmul_(weight, self.y.full)

    def sum_grad_weights(self) -> None:
        """Compute `grad_weights` from `x` and `y`."""
        grads = self.grad_weights.full.unbind(1)
        for target, value in zip(grads, self.taps_of_x, strict=True):
            torch.mul(value, self.y.full, out=self.products)
            torch.sum(self.products, 1, out=target)


def _of_sums(*tensors: Tensor) -> Tensor:
    """An empty tensor of the type that sums have, on the device of the tensors."""
    dtype = torch.float32
    for each in tensors:
        dtype = torch.promote_types(dtype, each.dtype)
    return tensors[0].new_empty(0, dtype=dtype)


def _is_finite(tensor: Tensor) -> bool:
    """Whether all is, from its sum: a sum that is too large only says no where it could say yes."""
    return bool(tensor.sum(dtype=_of_sums(tensor).dtype).isfinite())


def _counting(weight: Tensor, window: Window, x: Tensor) -> Tensor:
    """The weights, those of taps outside the map zero where zero times them might be something else."""
    if _is_finite(weight):
        return weight
    return weight.where(window.inside((x.shape[2], x.shape[3]), x.device), 0)


def forward_shifted(x: Tensor, weight: Tensor, window: Window, groups: int, y: Tensor) -> None:
    """Write the result to `y`.

    Args:
        x: (N, C, H, W) values.
        weight: (N, G, Cw, kh * kw, Ho, Wo).
        window: Taps of an output position.
        groups: Blocks of channels.
        y: (N, G * C, Ho, Wo) to be written.
    """
    heads, shared = weight.shape[1], weight.shape[2] // groups
    shares = x.shape[1] // weight.shape[2]
    maps = x.unflatten(1, (groups, shares, shared))
    results = y.unflatten(1, (heads, groups, shares, shared))
    weights = _counting(weight, window, x).unflatten(2, (groups, shared))
    benches: dict[_Lead, _Workbench] = {}
    for piece in _pieces(x, weight, groups):
        lead = piece.lead(shares)
        if lead not in benches:
            size, out_size = (x.shape[2], x.shape[3]), (weight.shape[4], weight.shape[5])
            benches[lead] = _Workbench(window, lead, size, out_size, _of_sums(x, weight))
        bench = benches[lead]
        bench.x.kept.copy_(piece.of_maps(maps))
        for head in range(heads):
            bench.weights.kept.copy_(piece.of_weights(weights[:, head]).transpose(1, 2))
            bench.forward()
            piece.of_maps(results[:, head]).copy_(bench.y.kept)


def backward_shifted(
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
    heads, shared = weight.shape[1], weight.shape[2] // groups
    shares = x.shape[1] // weight.shape[2]
    maps = x.unflatten(1, (groups, shares, shared))
    grads = grad.unflatten(1, (heads, groups, shares, shared))
    weights = _counting(weight, window, x).unflatten(2, (groups, shared))
    benches: dict[_Lead, _GradientBench] = {}
    for piece in _pieces(x, weight, groups):
        lead = piece.lead(shares)
        if lead not in benches:
            size, out_size = (x.shape[2], x.shape[3]), (weight.shape[4], weight.shape[5])
            benches[lead] = _GradientBench(window, lead, size, out_size, _of_sums(x, weight))
        bench = benches[lead]
        if grad_weight is not None:
            bench.x.kept.copy_(piece.of_maps(maps))
        bench.grad_x.full.zero_()
        for head in range(heads):
            bench.y.kept.copy_(piece.of_maps(grads[:, head]))
            if grad_x is not None:
                bench.weights.kept.copy_(piece.of_weights(weights[:, head]).transpose(1, 2))
                bench.add_grad_x()
            if grad_weight is not None:
                bench.sum_grad_weights()
                target = piece.of_weights(grad_weight.unflatten(2, (groups, shared))[:, head])
                target.copy_(bench.grad_weights.kept.transpose(1, 2))
        if grad_x is not None:
            target = piece.of_maps(grad_x.unflatten(1, (groups, shares, shared)))
            target.copy_(bench.grad_x.kept)
    if grad_weight is not None and not _is_finite(grad):
        inside = window.inside((x.shape[2], x.shape[3]), x.device)
        grad_weight.masked_fill_(inside.logical_not(), 0)
