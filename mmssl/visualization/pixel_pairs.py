"""Which cells of two views count as the same place: the positive pairs of PixPro and PixContrast.

Propagate Yourself: Exploring Pixel-Level Consistency for Unsupervised Visual Representation Learning (CVPR
2021, arXiv 2011.10043), section 3.1. The pairs are those of the loss: the same function decides.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmssl.datasets.decode import UnreadableImageError, read_image
from mmssl.datasets.transforms import MultiView
from mmssl.datasets.transforms.base import Box, Picture
from mmssl.evaluation.correspondence import cell_centres
from mmssl.ops.boxes import Grid, cells_near
from mmssl.visualization.view_sheet import SheetRow, render_view

NUM_LINES = 24


class ViewPair(NamedTuple):
    """An image and two views of it.

    Attributes:
        name: What the picture is called in a title.
        source: (H, W, 3) uint8.
        views: Two pictures (H_v, W_v, 3) uint8.
        edges: What each view shows, as pixel edges (left, top, right, bottom) of the source; a mirrored
            view has left > right.
        boxes: (2, 4) float32, the same as the loss gets it, see `MultiView`.
    """

    name: str
    source: np.ndarray
    views: tuple[np.ndarray, np.ndarray]
    edges: tuple[Box, Box]
    boxes: Tensor


def view_pair(
    views: MultiView, image: Picture, *, name: str, seed: int = 0, epoch: int = 0, index: int = 0
) -> ViewPair:
    """The first two views of an image by their address, as the training with this seed sees them.

    Args:
        views: The view pipeline.
        image: Of the pipeline's backend.
        name: What the picture is called in a title.
        seed: Seed of the run.
        epoch: Epoch of the views.
        index: Position of the image in the dataset.

    Raises:
        ValueError: The pipeline has a single view, or records no boxes.
    """
    if len(views) < 2:
        raise ValueError(
            f"Pairs of pixels need two views of an image, the config has {len(views)}."
        )
    if views.boxes is None:
        raise ValueError(
            "The views of this config record no crop boxes (boxes=None), so nothing tells which pixels "
            "of two views belong together. Give MultiView boxes='unit', as configs/_base_/views/pixpro.py "
            "does."
        )
    boxes = views(image, seed=seed, epoch=epoch, index=index).boxes[:2]
    address = dict(seed=seed, epoch=epoch, index=index)
    (first, edges1), (second, edges2) = (
        render_view(views, view, image, **address) for view in (0, 1)
    )
    return ViewPair(name, np.asarray(image), (first, second), (edges1, edges2), torch.stack(boxes))


def read_pair(views: MultiView, row: SheetRow, *, seed: int = 0, epoch: int = 0) -> ViewPair:
    """`view_pair` of an image file, under the name of the file.

    Args:
        views: The view pipeline.
        row: The file and its position.
        seed: Seed of the run.
        epoch: Epoch of the views.

    Raises:
        ValueError: The file cannot be read, or see `view_pair`.
    """
    try:
        image = read_image(row.path, views.backend)
    except UnreadableImageError as error:
        raise ValueError(f"{row.path} cannot be read: {error}.") from error
    name = f"{row.path.rsplit('/', 1)[-1]} (index {row.position})"
    return view_pair(views, image, name=name, seed=seed, epoch=epoch, index=row.position)


def cell_grid(view: np.ndarray, stride: int) -> Grid:
    """(rows, columns) of the map that a network with `stride` makes of a view (H, W, 3)."""
    return -(-view.shape[0] // stride), -(-view.shape[1] // stride)


def positive_pairs(pair: ViewPair, grids: tuple[Grid, Grid], radius: float) -> Tensor:
    """The pairs of cells that the loss calls positive, (P1, P2) bool, cells row by row.

    Args:
        pair: See `view_pair`.
        grids: (rows, columns) of the maps of the two views.
        radius: In diagonals of the larger cell, see `cells_near`.
    """
    return cells_near(pair.boxes[:1], pair.boxes[1:], *grids, radius=radius)[0]


def shared_area(edges: tuple[Box, Box]) -> tuple[float, float]:
    """Share of the first and of the second rectangle that lies in the other one.

    Example:
        >>> shared_area(((0, 0, 10, 10), (10, 0, 5, 20)))
        (0.5, 0.5)
    """
    corners = [sorted((x0, x1)) + sorted((y0, y1)) for x0, y0, x1, y1 in edges]
    (l1, r1, t1, b1), (l2, r2, t2, b2) = corners
    shared = max(0.0, min(r1, r2) - max(l1, l2)) * max(0.0, min(b1, b2) - max(t1, t2))
    return shared / ((r1 - l1) * (b1 - t1)), shared / ((r2 - l2) * (b2 - t2))


def spread_cells(mask: Tensor, grid: Grid, num_lines: int = NUM_LINES) -> Tensor:
    """Cells of a view that lie far from each other and have at most `num_lines` pairs together.

    The first has most partners; each further one is the farthest from those taken, as long as its
    lines fit. One is always taken.

    Args:
        mask: (P, Q) bool, a row per cell of the view.
        grid: (rows, columns) of the view's cells.
        num_lines: Pairs that may be drawn.

    Returns:
        (K,) int64 numbers of cells, in the order of their choice; empty without a positive pair.
    """
    counts = mask.sum(dim=1)
    places = cell_centres(torch.arange(len(mask)), grid, grid)
    distance = torch.full((len(mask),), torch.inf).where(counts > 0, -1.0)
    taken: list[int] = []
    left = num_lines
    while distance.amax() > 0:
        # among equally distant cells, which at first are all, the one with most partners
        cell = int(torch.where(distance == distance.amax(), counts, -1).argmax())
        if taken and counts[cell] > left:
            distance[cell] = -1.0
            continue
        taken.append(cell)
        left -= int(counts[cell])
        distance = distance.minimum((places - places[cell]).norm(dim=1))
    return torch.tensor(taken, dtype=torch.int64)


def chosen_pairs(
    mask: Tensor, grids: tuple[Grid, Grid], num_lines: int = NUM_LINES
) -> tuple[int, Tensor, Tensor]:
    """The pairs that are drawn: all of some cells of the view where more cells have a partner.

    Its cells have fewer partners each, so that more of them can be shown.

    Args:
        mask: (P1, P2) bool.
        grids: (rows, columns) of cells of the two views.
        num_lines: See `spread_cells`.

    Returns:
        The number of that view; (L, 2) int64 pairs, a cell of view 0 and one of view 1 each; (K,) int64
        the chosen cells.
    """
    view = int(mask.any(dim=0).sum() > mask.any(dim=1).sum())
    rows = mask if view == 0 else mask.T
    cells = spread_cells(rows, grids[view], num_lines)
    found = rows[cells].nonzero()
    pairs = torch.stack([cells[found[:, 0]], found[:, 1]], dim=1)
    return view, pairs if view == 0 else pairs.flip(1), cells
