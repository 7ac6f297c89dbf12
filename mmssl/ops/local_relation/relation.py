"""What the implementations of the local relation operator share: options and checks."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from mmssl.ops.local_relation.similarity import SIMILARITIES


class Relation(NamedTuple):
    """How windows lie and what their logits are; see `local_relation` for the meaning."""

    kernel_size: tuple[int, int]
    groups: int
    stride: tuple[int, int]
    dilation: tuple[int, int]
    scale: float
    outside: float
    similarity: str


class Gradients(NamedTuple):
    """Where a backward pass writes; each has the shape of the input of its name, or is None: not wanted.

    Attributes:
        query: Of the queries.
        key: Of the keys, saliency included.
        value: Of the values.
        position_weight: Of the prior.
    """

    query: Tensor | None
    key: Tensor | None
    value: Tensor | None
    position_weight: Tensor | None

    def any_of_logits(self) -> bool:
        """Whether one is wanted that goes through the logits."""
        return any(each is not None for each in (self.query, self.key, self.position_weight))


def saliency_readers(groups: int, extra: int) -> list[slice]:
    """Which groups read each of the `extra` channels of saliency; group g reads floor(g extra / groups).

    Args:
        groups: Groups of channels.
        extra: Channels of saliency.

    Example:
        >>> saliency_readers(4, 2)
        [slice(0, 2, None), slice(2, 4, None)]
    """
    first = [-(-channel * groups // extra) for channel in range(extra + 1)]
    return [slice(*ends) for ends in pairwise(first)]


def check_relation(
    query: Tensor, key: Tensor, value: Tensor, position_weight: Tensor, relation: Relation
) -> None:
    """Refuse what the operator is not defined for.

    Args:
        query: (N, Cq, Ho, Wo).
        key: (N, Ck, H, W).
        value: (N, Cv, H, W).
        position_weight: (G, kh, kw).
        relation: The options.

    Raises:
        TypeError: A tensor is not floating-point.
        ValueError: Dimensions, channels, groups, sizes or devices do not fit, an unknown similarity, or
            infinite options.
    """
    maps = (query, key, value)
    if any(each.dim() != 4 for each in maps):
        raise ValueError(
            "local_relation takes queries, keys and values (N, C, H, W), got shapes "
            f"{[tuple(each.shape) for each in maps]}."
        )
    if not all(each.is_floating_point() for each in (*maps, position_weight)):
        raise TypeError(
            "local_relation takes floating-point tensors, got "
            f"{[str(each.dtype) for each in (*maps, position_weight)]}."
        )
    if len({each.device for each in (*maps, position_weight)}) > 1:
        raise ValueError(
            "queries, keys, values and position weights must be on one device, got "
            f"{[str(each.device) for each in (*maps, position_weight)]}."
        )
    if relation.similarity not in SIMILARITIES:
        raise ValueError(
            f"similarity must be one of {list(SIMILARITIES)}, got {relation.similarity!r}."
        )
    if not math.isfinite(relation.scale) or not math.isfinite(relation.outside):
        raise ValueError(
            f"scale and outside must be finite, got {relation.scale} and {relation.outside}; -100 for "
            "outside gives a tap outside of the map no weight."
        )
    _check_channels(query, key, value, relation.groups)
    _check_sizes(query, key, value, relation)
    expected = (relation.groups, *relation.kernel_size)
    if tuple(position_weight.shape) != expected:
        raise ValueError(
            f"position_weight must have shape (groups, kernel height, kernel width) = {expected}, got "
            f"{tuple(position_weight.shape)}."
        )


def _check_channels(query: Tensor, key: Tensor, value: Tensor, groups: int) -> None:
    if any(each.shape[1] % groups or not each.shape[1] for each in (query, value)):
        raise ValueError(
            f"groups={groups} must divide the {query.shape[1]} channels of the queries and the "
            f"{value.shape[1]} channels of the values."
        )
    if key.shape[1] < query.shape[1]:
        raise ValueError(
            f"Keys need the {query.shape[1]} channels of the queries (more are a saliency), got "
            f"{key.shape[1]}."
        )


def _check_sizes(query: Tensor, key: Tensor, value: Tensor, relation: Relation) -> None:
    if not key.shape[0] == value.shape[0] == query.shape[0] or key.shape[2:] != value.shape[2:]:
        raise ValueError(
            "Queries, keys and values must be of the same images, keys and values of one size, got shapes "
            f"{[tuple(each.shape) for each in (query, key, value)]}."
        )
    size = tuple(key.shape[2:])
    expected = tuple(-(-size[axis] // relation.stride[axis]) for axis in (0, 1))
    if min(size) < 1 or tuple(query.shape[2:]) != expected:
        raise ValueError(
            f"Queries must have the size of the output, {expected} for keys of {size} and stride "
            f"{relation.stride}, got {tuple(query.shape[2:])}."
        )
