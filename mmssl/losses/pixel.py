"""Cells of two views at the same place are pulled together (PixPro), or told from the rest (PixContrast).

Propagate Yourself, 2021, arXiv 2011.10043, sections 3.1 and 3.2. PixPro is compared with the official code
(goldens `pixpro_loss_*`); none is published of PixContrast, which follows the paper (`pixcontrast_loss_*`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmssl.ops.boxes import Grid, cell_distances
from mmssl.ops.precision import full_float32
from mmssl.ops.propagation import MAX_PAIRS, image_chunks

Pair = tuple[Tensor, Tensor]


class PixelTerms(NamedTuple):
    """A loss over the cells of two views, for each of N images.

    Attributes:
        first: (N,) queries of the first view against keys of the second; carries the gradient.
        second: (N,) queries of the second view against keys of the first.
        num_positives: (N,) number of pairs of cells that show the same place; float, no gradient.
    """

    first: Tensor
    second: Tensor
    num_positives: Tensor


def pixel_consistency(
    queries: Pair, keys: Pair, boxes: Pair, *, pos_ratio: float = 0.7, max_pairs: int = MAX_PAIRS
) -> PixelTerms:
    """Mean similarity of the pairs of cells that show the same place (PixPro), per image and direction.

        first_n  = sum_ij A_ij <q1_i, k2_j> / (sum_ij A_ij + 1e-6)
        second_n = sum_ij A_ij <q2_j, k1_i> / (sum_ij A_ij + 1e-6)
        A_ij     = 1 where cell i of view 1 and cell j of view 2 are nearer than pos_ratio cell diagonals

    PixPro minimises `-2 * (first.mean() + second.mean())`. An image whose views do not overlap has the
    value 0, without a gradient. As sum_ij A_ij <q_i, k_j> = sum_i <q_i, (A k)_i>, no matrix of
    similarities is needed, and A exists for some images at a time.

    Args:
        queries: (N, C, H, W) unit vectors of the cells of view 1, and those of view 2; they learn.
        keys: The twin's unit vectors of view 1 and of view 2, without gradient; views and branches may have
            maps of different sizes.
        boxes: (N, 4) boxes of view 1 and of view 2, as `ViewBatch.boxes`.
        pos_ratio: Largest distance of a positive pair, in diagonals of the larger cell.
        max_pairs: Pairs of cells in a chunk of images.

    Returns:
        Values between -1 and 1, float32 or float64.

    Raises:
        ValueError: Shapes that do not fit, or keys with a gradient.
    """

    def parts(queries: Pair, keys: Pair, distance: Pair) -> list[Tensor]:
        found = []
        for query, key, apart in zip(queries, keys[::-1], distance, strict=True):
            near = (apart < pos_ratio).to(query.dtype)
            count = near.sum(dim=(1, 2))
            total = (query * (key @ near.mT)).sum(dim=(1, 2))
            found += [total / (count + 1e-6), count]
        return [found[0], found[2], found[1]]

    return _over_chunks(parts, queries, keys, boxes, max_pairs)


def pixel_contrast(
    queries: Pair,
    keys: Pair,
    boxes: Pair,
    *,
    pos_ratio: float = 0.7,
    temperature: float = 0.3,
    neg_ratio: float | None = None,
    max_pairs: int = MAX_PAIRS,
) -> PixelTerms:
    """Contrast of cells at the same place with the rest of the view (PixContrast), per image and direction.

        l_i     = - log( sum_{j in Pos(i)} e^(q1_i.k2_j / t) / sum_{j in Pos(i) or Neg(i)} e^(q1_i.k2_j / t) )
        first_n = mean of l_i over the cells i of view 1 with a positive;   second_n alike, view 2 against 1

    Pos(i) are the cells of the other view nearer than `pos_ratio` cell diagonals. An image whose views do not
    overlap has the value 0, without a gradient. The gradient of the queries is found along with the value,
    so that no matrix of similarities is kept.

    | features                              | value of a cell with p positives among P |
    |---------------------------------------|------------------------------------------|
    | all the same                          | log(P / p)                               |
    | no negatives                          | 0                                        |

    Args:
        queries: (N, C, H, W) unit vectors of the cells of view 1, and those of view 2; they learn.
        keys: The twin's unit vectors of view 1 and of view 2, without gradient.
        boxes: (N, 4) boxes of view 1 and of view 2, as `ViewBatch.boxes`.
        pos_ratio: Largest distance of a positive pair, in diagonals of the larger cell.
        temperature: t.
        neg_ratio: Smallest distance of a negative pair; the pairs between are neither. `None`: all others
            are negatives.
        max_pairs: Pairs of cells in a chunk of images.

    Returns:
        Values of 0 or more, float32 or float64.

    Raises:
        ValueError: Shapes that do not fit, keys with a gradient, `neg_ratio` below `pos_ratio`, or a
            temperature that is not positive.
    """
    if temperature <= 0:
        raise ValueError(f"The temperature must be positive, got {temperature}.")
    if neg_ratio is not None and neg_ratio < pos_ratio:
        raise ValueError(
            f"neg_ratio must not be below pos_ratio, or pairs would be positive and negative at once; "
            f"got {neg_ratio} and {pos_ratio}."
        )

    def parts(queries: Pair, keys: Pair, distance: Pair) -> list[Tensor]:
        found = []
        for query, key, apart in zip(queries, keys[::-1], distance, strict=True):
            near = apart < pos_ratio
            used = None if neg_ratio is None else near | (apart >= neg_ratio)
            found.append(_Contrast.apply(query, key, near, used, temperature))
        return [*found, near.sum(dim=(1, 2)).to(query.dtype)]

    return _over_chunks(parts, queries, keys, boxes, max_pairs)


class _Contrast(torch.autograd.Function):
    """The contrast of one direction, (n,) values, with the gradient of the queries computed at once."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        near: Tensor,
        used: Tensor | None,
        temperature: float,
    ) -> Tensor:
        logits = (query.mT @ key).div_(temperature)
        matched = near.any(dim=2)
        share = matched.to(query.dtype)
        share /= share.sum(dim=1, keepdim=True).clamp(min=1)
        own = logits.masked_fill(~near, -torch.inf)
        # where all is -inf, so is the sum; +inf instead makes every weight of that row 0
        own_sum = own.logsumexp(dim=2).masked_fill_(~matched, torch.inf)
        if used is not None:
            logits.masked_fill_(~used, -torch.inf)
        whole_sum = logits.logsumexp(dim=2).masked_fill_(~matched, torch.inf)
        value = (whole_sum - own_sum).masked_fill_(~matched, 0.0)
        if ctx.needs_input_grad[0]:
            weights = (logits - whole_sum[:, :, None]).exp_()
            weights -= (own - own_sum[:, :, None]).exp_()
            weights *= (share / temperature)[:, :, None]
            ctx.save_for_backward(key @ weights.mT)
        return (value * share).sum(dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        return slope * grad[:, None, None], None, None, None, None


def _over_chunks(
    parts: Callable[[Pair, Pair, Pair], list[Tensor]],
    queries: Pair,
    keys: Pair,
    boxes: Pair,
    max_pairs: int,
) -> PixelTerms:
    """What `parts` makes of the images of a chunk, for all chunks; checks the shapes first."""
    for query, key, box in zip(queries, keys[::-1], boxes, strict=True):
        if query.ndim != 4 or query.shape[:2] != key.shape[:2] or len(query) != len(box):
            raise ValueError(
                "Queries and keys must be (N, C, H, W) with the same N and C and boxes (N, 4), got "
                f"{tuple(query.shape)}, {tuple(key.shape)} and {tuple(box.shape)}."
            )
    if any(key.requires_grad for key in keys):
        raise ValueError(
            "Keys must not carry a gradient: compute them under torch.no_grad(), or detach."
        )
    grids = [_grid(maps) for maps in (*queries, *keys)]
    dtype = torch.promote_types(queries[0].dtype, torch.float32)
    flat = [maps.to(dtype).flatten(2) for maps in (*queries, *keys)]
    num_pairs = max(flat[0].shape[2] * flat[3].shape[2], flat[1].shape[2] * flat[2].shape[2])
    with full_float32(queries[0].device):
        chunks = []
        for part in image_chunks(len(boxes[0]), num_pairs, max_pairs):
            first, second = boxes[0][part], boxes[1][part]
            apart = cell_distances(first, second, grids[0], grids[3])
            back = apart.mT
            if (
                grids[:2] != grids[2:]
            ):  # a branch with other maps; else they are the transposed ones
                back = cell_distances(second, first, grids[1], grids[2])
            q1, q2, k1, k2 = (rows[part] for rows in flat)
            chunks.append(parts((q1, q2), (k1, k2), (apart, back)))
    return PixelTerms(*(torch.cat(terms) for terms in zip(*chunks, strict=True)))


def _grid(maps: Tensor) -> Grid:
    return maps.shape[2], maps.shape[3]


@torch.no_grad()
def cell_std(maps: Tensor) -> Tensor:
    """How far the embeddings of cells are spread: standard deviation per channel, over images and cells.

    Near 0 all cells of all images have collapsed to one vector; unit vectors in all directions of C
    dimensions have 1 / sqrt(C).

    Args:
        maps: (N, C, H, W) unit vectors.

    Returns:
        Scalar, no gradient.

    Example:
        >>> cell_std(torch.tensor([[[[1.0, -1.0]], [[0.0, 0.0]]]]))
        tensor(0.5000)
    """
    return maps.transpose(0, 1).flatten(1).std(dim=1, correction=0).mean()
