"""Every cell of a map becomes a mixture of all cells, weighted by similarity (PixPro's pixel propagation).

Propagate Yourself (PixPro), 2021, arXiv 2011.10043, equation 3; compared with the official code (goldens
`pixpro_ppm_*`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmssl.ops.precision import full_float32

MAX_PAIRS = 2**22
"""Pairs of cells that are looked at together: 16 MB for every matrix of them in float32."""
_FLOOR = 1e-6


def image_chunks(num_images: int, num_pairs: int, max_pairs: int = MAX_PAIRS) -> Iterator[slice]:
    """Slices of a batch whose images have at most `max_pairs` pairs of cells together, one image at least.

    Args:
        num_images: Images of the batch.
        num_pairs: Pairs of cells of an image.
        max_pairs: See above.

    Example:
        >>> list(image_chunks(5, num_pairs=10, max_pairs=20))
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    step = max(max_pairs // max(num_pairs, 1), 1)
    for start in range(0, num_images, step):
        yield slice(start, min(start + step, num_images))


def propagate(
    feats: Tensor,
    values: Tensor,
    *,
    gamma: float = 2.0,
    clamp: float = 0.0,
    max_pairs: int = MAX_PAIRS,
) -> Tensor:
    """Sum of the values of all cells, weighted by how similar the cells' features are.

        y_i = sum_j max(u_i . u_j, clamp)^gamma v_j          j over all cells, i included

    There is no division by the sum of the weights, and nothing is normalised here. Products and powers are
    in float32 at least, also under autocast and where the run allows TF32. The matrices of weights exist for
    some images at a time, and the backward pass computes them again, which with the symmetry of u_i . u_j
    costs no more products than keeping them.

    Args:
        feats: (N, C, P) unit features u of the cells; they learn.
        values: (N, D, P) values v of the cells; they learn.
        gamma: Exponent; below 1 the similarities are raised by 1e-6 first, so that gradients are finite.
        clamp: Smallest similarity; 0 is the paper's ReLU, -1 lets all through.
        max_pairs: Pairs of cells in a chunk of images.

    Returns:
        (N, D, P) propagated values, float32 or float64.

    Raises:
        ValueError: Another number of images or cells, or similarities below 0 with a fractional `gamma`.

    Example:
        >>> unit = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])  # two equal cells
        >>> propagate(unit, torch.tensor([[[3.0, 4.0]]]))
        tensor([[[7., 7.]]])
    """
    if feats.shape[::2] != values.shape[::2]:
        raise ValueError(
            f"Features and values must have the same images and cells, got {tuple(feats.shape)} and "
            f"{tuple(values.shape)}."
        )
    if clamp < 0 and gamma != int(gamma):
        raise ValueError(
            f"clamp={clamp} lets negative similarities through, which have no power {gamma}; use "
            "clamp >= 0 or a whole gamma."
        )
    dtype = torch.promote_types(torch.promote_types(feats.dtype, values.dtype), torch.float32)
    return _Propagate.apply(feats.to(dtype), values.to(dtype), gamma, clamp, max_pairs)


def _weights(feats: Tensor, gamma: float, clamp: float) -> tuple[Tensor, Tensor]:
    """Similarities (n, P, P) behind the clamp, and their power."""
    similarity = (feats.mT @ feats).clamp_(min=clamp)
    if gamma == 1:
        return similarity, similarity
    return similarity, (similarity + _FLOOR if gamma < 1 else similarity) ** gamma


def _slope(similarity: Tensor, gamma: float, clamp: float) -> Tensor:
    """Derivative of the weights by the similarities that are not clamped."""
    above = (similarity > clamp).to(similarity.dtype)
    if gamma == 1:
        return above
    base = similarity + _FLOOR if gamma < 1 else similarity
    return above.mul_(base if gamma == 2 else base ** (gamma - 1)).mul_(gamma)


class _Propagate(torch.autograd.Function):
    """See `propagate`; saves its inputs alone."""

    @staticmethod
    def forward(
        ctx: Any, feats: Tensor, values: Tensor, gamma: float, clamp: float, max_pairs: int
    ) -> Tensor:
        ctx.save_for_backward(feats, values)
        ctx.options = (gamma, clamp, max_pairs)
        num_images, _, num_cells = feats.shape
        out = torch.empty_like(values)
        with full_float32(feats.device):
            for part in image_chunks(num_images, num_cells**2, max_pairs):
                _, weights = _weights(feats[part], gamma, clamp)
                torch.bmm(values[part], weights, out=out[part])  # the weights are symmetric
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        feats, values = ctx.saved_tensors
        gamma, clamp, max_pairs = ctx.options
        grad_feats, grad_values = torch.empty_like(feats), torch.empty_like(values)
        num_images, _, num_cells = feats.shape
        with full_float32(feats.device):
            for part in image_chunks(num_images, num_cells**2, max_pairs):
                similarity, weights = _weights(feats[part], gamma, clamp)
                torch.bmm(grad[part], weights, out=grad_values[part])
                slope = grad[part].mT @ values[part]
                # both u_i and u_j of a similarity learn
                slope = (slope + slope.mT).mul_(_slope(similarity, gamma, clamp))
                torch.bmm(feats[part], slope, out=grad_feats[part])
        return grad_feats, grad_values, None, None, None
