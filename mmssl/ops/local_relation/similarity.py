"""How alike a query and a key are: the six functions of LR-Net's operator, and their slopes.

Local Relation Networks for Image Recognition, 2019, arXiv 1904.11491, section 3.1; the order of the names is
that of the authors' operator (`sim_method`).
"""

from __future__ import annotations

import torch
from torch import Tensor

SIMILARITIES = (
    "dot",  # q k
    "key",  # k
    "neg_abs",  # -|q - k|
    "neg_relative_abs",  # -|q - k| / (|q| + |k| + 1)
    "neg_relative_squared",  # -(q - k)^2 / (|q k| + 1)
    "neg_squared",  # -(q - k)^2
)
"""Names, in the order of the authors' numbers 0 to 5."""


def similarity(name: str, query: Tensor, key: Tensor) -> Tensor:
    """f(q, k), element by element.

    Args:
        name: One of `SIMILARITIES`.
        query: Tensor of any shape.
        key: Tensor that broadcasts with `query`.

    Returns:
        The broadcast shape.

    Raises:
        ValueError: An unknown name.

    Example:
        >>> similarity("neg_squared", torch.tensor([1.0]), torch.tensor([3.0]))
        tensor([-4.])
    """
    if name == "dot":
        return query * key
    if name == "key":
        return key.expand(torch.broadcast_shapes(query.shape, key.shape))
    if name == "neg_abs":
        return (query - key).abs().neg_()
    if name == "neg_relative_abs":
        return -(query - key).abs() / (query.abs() + key.abs() + 1)
    if name == "neg_relative_squared":
        return -(query - key).square() / ((query * key).abs() + 1)
    if name == "neg_squared":
        return (query - key).square().neg_()
    raise ValueError(f"similarity must be one of {list(SIMILARITIES)}, got {name!r}.")


def similarity_slopes(name: str, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of `similarity` by the query and by the key; |x| has slope 0 at 0.

    Args:
        name: One of `SIMILARITIES`.
        query: Tensor of any shape.
        key: Tensor of the same shape.

    Returns:
        df/dq and df/dk, each of the shape of the arguments.

    Raises:
        ValueError: An unknown name.

    Example:
        >>> similarity_slopes("neg_squared", torch.tensor([1.0]), torch.tensor([3.0]))
        (tensor([4.]), tensor([-4.]))
    """
    if name == "dot":
        return key, query
    if name == "key":
        return torch.zeros_like(query), torch.ones_like(key)
    gap = query - key
    if name == "neg_abs":
        return -gap.sign(), gap.sign()
    if name == "neg_squared":
        slope = 2 * gap
        return -slope, slope
    if name == "neg_relative_abs":
        size = query.abs() + key.abs() + 1
        inner, outer = gap.sign() / size, gap.abs() / size.square()
        return outer * query.sign() - inner, outer * key.sign() + inner
    if name == "neg_relative_squared":
        size = (query * key).abs() + 1
        inner, outer = 2 * gap / size, (gap / size).square()
        return outer * key.abs() * query.sign() - inner, outer * query.abs() * key.sign() + inner
    raise ValueError(f"similarity must be one of {list(SIMILARITIES)}, got {name!r}.")
