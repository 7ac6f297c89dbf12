"""How alike one cell of an image is to all others, layer by layer: before and after propagation.

PixPro's propagation module smooths the embedding of a cell with those of similar cells; its loss draws
the result to the twin's embedding of the same place in another view (Propagate Yourself: Exploring
Pixel-Level Consistency for Unsupervised Visual Representation Learning, CVPR 2021, arXiv 2011.10043).
The maps show what each of these steps does to a cell. Methods without such a module have fewer maps,
a backbone has its own alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmssl.evaluation.features import frozen
from mmssl.models.algorithms.base import BaseAlgorithm
from mmssl.models.heads import PixelPropagation
from mmssl.models.necks import ConvMLPNeck, DenseCLNeck
from mmssl.visualization.attention_maps import normalised

Cell = tuple[int, int]


class CellFeatures(NamedTuple):
    """What a network makes of the cells of one picture.

    Attributes:
        features: (C, h, w) of the backbone, or of the pyramid behind it.
        projected: (D, h, w) behind the projector; `None` if it projects no cells.
        propagated: (D, h, w) behind the propagation module; `None` without one.
    """

    features: Tensor
    projected: Tensor | None
    propagated: Tensor | None

    @property
    def last(self) -> Tensor:
        """What the loss compares: the output of the last step there is."""
        if self.propagated is not None:
            return self.propagated
        return self.features if self.projected is None else self.projected


class SimilarityMaps(NamedTuple):
    """Cosines of some cells of a picture with all cells of the same or of another one.

    Attributes:
        title: What is compared, for a heading.
        view: Number of the picture that the maps lie over.
        values: (K, h, w), a map per query.
    """

    title: str
    view: int
    values: Tensor


def cell_features(
    network: nn.Module, images: Tensor, *, level: int = -1, head: nn.Module | None = None
) -> CellFeatures:
    """The cells of one picture behind backbone, projector and propagation module.

    Args:
        network: A backbone, or what has `backbone` and maybe `pyramid` and `neck`: an algorithm, a twin.
        images: (1, 3, H, W), normalised.
        level: Which map of the pyramid; without one, of the backbone, where the projector has the last.
        head: The algorithm's head; only a propagation module is used.

    Raises:
        ValueError: There is no such map.
    """
    backbone = getattr(network, "backbone", network)
    pyramid, neck = (getattr(network, name, None) for name in ("pyramid", "neck"))
    maps = backbone(images) if pyramid is None else pyramid(backbone(images))
    if not -len(maps) <= level < len(maps):
        raise ValueError(f"Level {level} was asked for, the network has {len(maps)} maps.")
    features, projected = maps[level], None
    if pyramid is None and level % len(maps) != len(maps) - 1:
        neck = None  # without a pyramid it is made for the last map
    if isinstance(neck, ConvMLPNeck):
        projected = neck(features)
    elif isinstance(neck, DenseCLNeck):
        found = neck(features)
        # averaged to a square grid where it has one of its own
        side = math.isqrt(found.cells.shape[2])
        whole = features.shape[2] * features.shape[3] == found.cells.shape[2]
        size = features.shape[2:] if whole else (side, side)
        features, projected = found.features.unflatten(2, size), found.cells.unflatten(2, size)
    propagates = projected is not None and isinstance(head, PixelPropagation)
    propagated = head(projected) if head is not None and propagates else None
    layers = (features, projected, propagated)
    return CellFeatures(*(None if each is None else each[0].float().cpu() for each in layers))


def cosines(queries: Tensor, keys: Tensor, cells: Sequence[Cell]) -> Tensor:
    """Cosines of some cells of a map with all cells of another.

    Args:
        queries: (D, h, w).
        keys: (D, h', w').
        cells: K pairs (row, column) of `queries`.

    Returns:
        (K, h', w').

    Example:
        >>> row = torch.tensor([[[1.0, 0.0, 3.0]], [[0.0, 2.0, 4.0]]])
        >>> cosines(row, row, [(0, 0)])
        tensor([[[1.0000, 0.0000, 0.6000]]])
    """
    rows, columns = torch.tensor(cells, dtype=torch.int64).reshape(-1, 2).unbind(dim=1)
    chosen = F.normalize(queries, dim=0)[:, rows, columns]
    return torch.einsum("dk,dhw->khw", chosen, F.normalize(keys, dim=0))


def view_features(
    network: nn.Module, preprocessor: nn.Module, view: np.ndarray, *, level: int = -1
) -> CellFeatures:
    """The cells of a picture (H, W, 3) uint8 by the online network; arguments as in `pixel_similarity`."""
    head = getattr(network, "head", None)
    with frozen(network):
        return cell_features(network, normalised(preprocessor, [view]), level=level, head=head)


def distinct_cells(features: Tensor, allowed: Tensor, num: int) -> list[Cell]:
    """Cells that a network finds unlike: the most typical one, then always the least alike to those taken.

    Args:
        features: (C, h, w) of the cells.
        allowed: (h, w) bool: the cells to choose from; if there is none, all.
        num: How many; fewer if there are fewer.

    Returns:
        Pairs (row, column), in the order of their choice.
    """
    cells = (allowed if allowed.any() else torch.ones_like(allowed)).flatten().nonzero()[:, 0]
    rows = F.normalize(features.flatten(1)[:, cells], dim=0).T
    taken = [int((rows @ rows.mean(dim=0)).argmax())]
    nearest = rows @ rows[taken[0]]
    for _ in range(min(num, len(cells)) - 1):
        nearest[taken[-1]] = torch.inf
        taken.append(int(nearest.argmin()))
        nearest = nearest.maximum(rows @ rows[taken[-1]])
    return [divmod(int(cells[each]), features.shape[2]) for each in taken]


def pixel_similarity(
    network: nn.Module,
    preprocessor: nn.Module,
    views: Sequence[np.ndarray],
    queries: Sequence[Cell],
    *,
    level: int = -1,
) -> list[SimilarityMaps]:
    """Maps of the cosine of some cells of the first view with all cells of it, and of the second view.

    There is a map per step that the network has: features of the backbone, projections, propagated
    projections. In the second view the last step is compared with what the twin makes of that view:
    keys of the loss. Without a twin the online network itself takes its place.

    Args:
        network: An algorithm, or a backbone; it runs in eval mode and is left as it was found.
        preprocessor: Has the mean and the deviation of pixels, see `ViewPreprocessor`.
        views: One or two pictures (H_v, W_v, 3) uint8.
        queries: Cells (row, column) of the first view.
        level: Which map of the backbone, or of the pyramid.

    Returns:
        One entry per step, then one for the second view if there is one; values on the CPU.

    Raises:
        ValueError: There is no such map or cell.
    """
    twin = network.twin if isinstance(network, BaseAlgorithm) else None
    twin = twin if twin is not None and "backbone" in twin.names else None
    first = view_features(network, preprocessor, views[0], level=level)
    second = None
    if len(views) > 1:
        with frozen(network):
            images = normalised(preprocessor, views[1:2])
            second = cell_features(twin or network, images, level=level)
    height, width = first.features.shape[1:]
    for row, column in queries:
        if not (0 <= row < height and 0 <= column < width):
            raise ValueError(f"There is no cell ({row}, {column}): the map has {height} x {width}.")
    steps = (
        ("backbone features", first.features),
        ("projection", first.projected),
        ("after propagation", first.propagated),
    )
    found = [
        SimilarityMaps(title, 0, cosines(step, step, queries))
        for title, step in steps
        if step is not None
    ]
    if second is not None:
        query, key, of = first.last, second.projected, "keys"
        if first.projected is None or key is None:
            query, key, of = first.features, second.features, "features"
        title = f"to the twin's {of}" if twin is not None else "to the other view"
        found.append(SimilarityMaps(title, 1, cosines(query, key, queries)))
    return found
