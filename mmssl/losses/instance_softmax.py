"""Cosine softmax over one class per image, a block of classes at a time, on one process or over shards.

Parametric Instance Classification for Unsupervised Visual Feature Learning (PIC), 2020, arXiv 2006.14618,
section 3.1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mmssl.ops.collectives import (
    gather_cat,
    max_over_ranks,
    sum_over_ranks,
    sum_to_own_rows,
    world_size,
)
from mmssl.ops.precision import full_float32

_LOGITS = 1 << 24


class InstanceSoftmax(NamedTuple):
    """What `instance_softmax` computes.

    Attributes:
        loss: Scalar, the mean over rows; carries the gradient.
        correct: (R,) bool, whether a row's own class has its largest logit. Large crops first, crop by crop.
    """

    loss: Tensor
    correct: Tensor


class _Rows(NamedTuple):
    """Unit features of all ranks, those that the classes learn from first."""

    features: Tensor
    target: Tensor
    num_learning: int


def instance_softmax(
    large: Tensor,
    small: Tensor | None,
    weight: Tensor,
    target: Tensor,
    *,
    temperature: float,
    cosine: bool = True,
    sharded: bool = False,
    max_logits: int = _LOGITS,
) -> InstanceSoftmax:
    """Cross-entropy of the cosines of crops with one weight vector per image, mean over crops and images.

        f = feature / |feature|,   w = weight / |weight|
        mean_i [ log sum_c exp(f_i . w_c / t) - f_i . w_own / t ]

    Weights learn from the large crops only; small crops see them as constants. Lengths are taken out inside
    of the graph, so gradients are tangential. Everything is float32 at least, with all its bits, whatever
    autocast or TF32 would make of it, forward and backward. No more than `max_logits` logits exist at a time:
    the backward pass computes them once more.

    With `sharded` each rank holds some of the classes, and the loss is that of the batch of all G ranks, the
    same on each. The weights get its gradient; the features of each rank get G times theirs, for DDP's mean
    over the ranks makes the loss's own of it.

    Args:
        large: (V * B, D) features of the large crops, crop by crop; they learn.
        small: (S * B, D) those of the small crops, or `None`.
        weight: (C, D) weights of the classes, with `sharded` of this rank's; they learn.
        target: (B,) the class of each image; with `sharded` (G * B,) those of all ranks in rank order, -1
            for classes of other ranks.
        temperature: t.
        cosine: Take lengths out first; else f and w are used as they are, as a linear classifier does.
        sharded: Whether `weight` is a shard.
        max_logits: Logits that are held at a time.

    Returns:
        The loss, and which rows are right (of all ranks with `sharded`).

    Raises:
        ValueError: Features of another size than the weights, or rows that are no multiple of the images.

    Example:
        >>> unit = torch.eye(2)
        >>> instance_softmax(unit[:1], None, unit, torch.tensor([0]), temperature=1.0).loss  # log(1 + 1 / e)
        tensor(0.3133)
    """
    small = large[:0] if small is None else small
    num_images = len(target) // (world_size() if sharded else 1)
    for part in (large, small):
        if part.shape[1] != weight.shape[1] or len(part) % num_images:
            raise ValueError(
                f"Features must be (crops * {num_images}, {weight.shape[1]}), crop by crop, for "
                f"{num_images} images and weights of that size, got {tuple(part.shape)}."
            )
    dtype = torch.promote_types(large.dtype, torch.float32)
    with full_float32(large.device):
        features = torch.cat([large.to(dtype), small.to(dtype)])
        classes = weight.to(dtype)
        if cosine:
            features, classes = F.normalize(features, dim=1), F.normalize(classes, dim=1)
        loss, correct = _BlockedSoftmax.apply(
            features, classes, target, len(large), temperature, sharded, max_logits
        )
    return InstanceSoftmax(loss, correct)


class _BlockedSoftmax(torch.autograd.Function):
    """The softmax behind the normalisation."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        classes: Tensor,
        target: Tensor,
        num_large: int,
        temperature: float,
        sharded: bool,
        max_logits: int,
    ) -> tuple[Tensor, Tensor]:
        rows = _all_rows(features, target, num_large, sharded)
        block = max(1, max_logits // max(1, len(rows.features)))
        largest, total, own = _statistics(rows, classes, temperature, block)
        if sharded:
            everywhere = max_over_ranks(largest)
            sums = torch.stack([total * (largest - everywhere).exp(), own])
            total, own = sum_over_ranks(sums).unbind()
            largest = everywhere
        log_sum = largest + total.log()
        ctx.save_for_backward(rows.features, classes, rows.target, log_sum)
        ctx.options = (rows.num_learning, temperature, sharded, block)
        correct = own >= largest
        ctx.mark_non_differentiable(correct)
        return (log_sum - own).mean(), correct

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        features, classes, target, log_sum = ctx.saved_tensors
        num_learning, temperature, sharded, block = ctx.options
        scale = upstream / (len(features) * temperature)
        feature_slope, class_slope = torch.zeros_like(features), torch.empty_like(classes)
        # the backward pass may be called from anywhere, also inside of autocast
        with full_float32(features.device):
            for start in range(0, len(classes), block):
                part = classes[start : start + block]
                slope = (features @ part.T).div_(temperature).sub_(log_sum[:, None]).exp_()
                inside, column = _columns(target, start, len(part))
                slope.scatter_add_(1, column, -inside[:, None].to(slope.dtype))
                slope.mul_(scale)
                feature_slope.addmm_(slope, part)
                torch.mm(
                    slope[:num_learning].T,
                    features[:num_learning],
                    out=class_slope[start : start + block],
                )
        if sharded:
            # each rank has the classes of its own: their sum is the slope of the loss, and DDP's mean over
            # the G ranks needs G times that
            parts = (feature_slope[:num_learning], feature_slope[num_learning:])
            own = [sum_to_own_rows(part) for part in parts if len(part)]
            feature_slope = torch.cat(own) * world_size()
        return feature_slope, class_slope, None, None, None, None, None


def _all_rows(features: Tensor, target: Tensor, num_large: int, sharded: bool) -> _Rows:
    """Rows of all ranks, the large crops of all first, each with its class."""
    if not sharded:
        return _Rows(features, target.repeat(len(features) // len(target)), num_large)
    ranks = world_size()
    parts, targets = [], []
    for part in (features[:num_large], features[num_large:]):
        if len(part):
            crops = len(part) * ranks // len(target)
            parts.append(gather_cat(part))
            targets.append(target.view(ranks, 1, -1).expand(-1, crops, -1).flatten())
    return _Rows(torch.cat(parts), torch.cat(targets), num_large * ranks)


def _columns(target: Tensor, start: int, size: int) -> tuple[Tensor, Tensor]:
    """Which rows have their class in a block, (R,) bool, and its column (R, 1) there (0 for others)."""
    column = target - start
    inside = (column >= 0) & (column < size)
    return inside, torch.where(inside, column, 0)[:, None]


def _statistics(
    rows: _Rows, classes: Tensor, temperature: float, block: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Of each row's logits: the largest, the sum of exponentials relative to it, and the own one or 0."""
    features = rows.features
    largest = features.new_full((len(features),), -torch.inf)
    total, own = torch.zeros_like(largest), torch.zeros_like(largest)
    for start in range(0, len(classes), block):
        logits = (features @ classes[start : start + block].T).div_(temperature)
        inside, column = _columns(rows.target, start, logits.shape[1])
        own = torch.where(inside, logits.gather(1, column)[:, 0], own)
        higher = torch.maximum(largest, logits.amax(dim=1))
        total = total * (largest - higher).exp() + logits.sub_(higher[:, None]).exp_().sum(dim=1)
        largest = higher
    return largest, total, own
