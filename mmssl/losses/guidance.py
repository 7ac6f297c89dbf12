"""Stream guidance of CARE: the attention stream teaches the convolution stream.

Revitalizing CNN Attentions via Transformers in Self-Supervised Visual Representation Learning,
2021, arXiv 2110.05340.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Reduction = Literal["element", "sample"]


def guidance(c_embeds: Tensor, t_embeds: Tensor, *, reduction: Reduction = "element") -> Tensor:
    """Mean squared difference of the embeddings of the two streams.

    element: mean_b mean_d (c - t)^2          sample: mean_b sum_d (c - t)^2

    The released code takes `element`; for unit vectors it is (2 - 2 cos) / D, so that its weight of
    100 acts like 0.39 on a squared distance when D = 256. Nothing is normalised or detached here:
    CARE passes the T-stream detached.

    Args:
        c_embeds: (B, D) unit embeddings of the C-stream.
        t_embeds: (B, D) unit embeddings of the T-stream for the same images and branch.
        reduction: `element` or `sample`.

    Returns:
        Scalar.

    Raises:
        ValueError: Shapes differ, or an unknown reduction.

    Example:
        >>> c, t = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> guidance(c, t), guidance(c, t, reduction="sample")
        (tensor(1.), tensor(2.))
    """
    if c_embeds.shape != t_embeds.shape:
        raise ValueError(
            "The embeddings of the two streams must have the same shape, got "
            f"{tuple(c_embeds.shape)} and {tuple(t_embeds.shape)}."
        )
    if reduction not in ("element", "sample"):
        raise ValueError(f"reduction must be 'element' or 'sample', got {reduction!r}.")
    dtype = torch.promote_types(c_embeds.dtype, torch.float32)
    squares = (c_embeds.to(dtype) - t_embeds.to(dtype)).square()
    return squares.mean() if reduction == "element" else squares.sum(dim=1).mean()
