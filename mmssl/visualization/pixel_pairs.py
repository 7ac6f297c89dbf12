"""Which cells of two views count as the same place: positive pairs of PixPro and PixContrast, as lines.

After the method figures of Propagate Yourself: Exploring Pixel-Level Consistency for Unsupervised Visual
Representation Learning (CVPR 2021, arXiv 2011.10043). The pairs are those of the loss: the same
function decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.colors import hsv_to_rgb
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mmssl.datasets.decode import UnreadableImageError, read_image
from mmssl.datasets.transforms import MultiView
from mmssl.datasets.transforms.base import Box, Picture
from mmssl.evaluation.correspondence import cell_centres
from mmssl.ops.boxes import Grid, cells_near
from mmssl.visualization.correspondence_plot import MARKERS
from mmssl.visualization.view_sheet import SheetRow, render_view

Colour = tuple[int, int, int]

NUM_LINES = 24
MARGIN, GAP, TITLE, LABEL = 10, 14, 20, 17
INK, SOFT = (30, 34, 48), (102, 112, 133)
# Lines and grids are drawn this much larger, then reduced: Pillow's lines have no smooth edges.
FINE = 2
DIMMED = 0.45


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


def cell_colours(count: int) -> list[Colour]:
    """Bright colours; those that follow each other are far apart on the colour wheel."""
    hues = (np.arange(count) * 0.61803398875) % 1.0
    colours = hsv_to_rgb(np.stack([hues, np.full(count, 0.75), np.full(count, 1.0)], axis=1))
    return [(int(r), int(g), int(b)) for r, g, b in np.round(colours * 255)]


class Area(NamedTuple):
    """Where a picture lies on the plot, in pixels."""

    left: int
    top: int
    width: int
    height: int


def plot_areas(pair: ViewPair, cell: int) -> tuple[Area, Area, Area]:
    """The places of the source and of the two views; each fills a square of `cell` pixels on a side.

    Between the views is room for the lines.
    """
    areas, left = [], MARGIN
    for picture, behind in ((pair.source, GAP), (pair.views[0], cell // 2), (pair.views[1], 0)):
        height, width = picture.shape[:2]
        size = (max(1, cell * side // max(height, width)) for side in (width, height))
        areas.append(Area(left, MARGIN + TITLE + LABEL, *size))
        left += cell + behind
    return areas[0], areas[1], areas[2]


def pair_ends(pairs: Tensor, grids: tuple[Grid, Grid], areas: tuple[Area, Area]) -> Tensor:
    """Centres of the cells of pairs, on the plot.

    Args:
        pairs: (K, 2) int64: a cell of the first view and one of the second, numbered row by row.
        grids: (rows, columns) of cells of the two views.
        areas: Where the views lie.

    Returns:
        (K, 2, 2) float32: [k, v] is (x, y) of the centre of the cell in view v.
    """
    ends = [
        cell_centres(pairs[:, view], grid, (area.height, area.width))
        + torch.tensor([area.left, area.top])
        for view, (grid, area) in enumerate(zip(grids, areas, strict=True))
    ]
    return torch.stack(ends, dim=1)


def source_places(pair: ViewPair, view: int, cells: Tensor, grid: Grid, area: Area) -> Tensor:
    """Centres of cells of a view in the source, on the plot.

    Args:
        pair: See `view_pair`.
        view: 0 or 1.
        cells: (K,) int64 numbers of cells, row by row.
        grid: (rows, columns) of cells of the view.
        area: Where the source lies.

    Returns:
        (K, 2) float32: x and y.
    """
    box = torch.tensor(pair.edges[view])
    inside = box[:2] + cell_centres(cells, grid, (1, 1)) * (box[2:] - box[:2])
    height, width = pair.source.shape[:2]
    scale = torch.tensor([area.width / width, area.height / height])
    return torch.tensor([area.left, area.top]) + inside * scale


def pair_plot(
    pair: ViewPair,
    mask: Tensor,
    grids: tuple[Grid, Grid],
    *,
    cell: int = 256,
    num_lines: int = NUM_LINES,
) -> Image.Image:
    """The source with the rectangles of both views, then the views with lines between positive pairs.

    A cell without a partner is dark. Of the others some are chosen, see `chosen_pairs`: all pairs of
    such a cell are drawn as lines of its colour, and a dot marks its place in the source.

    Args:
        pair: See `view_pair`.
        mask: (P1, P2) bool, the positive pairs of the loss; cells are numbered row by row.
        grids: (rows, columns) of cells of the two views.
        cell: Longer side of a picture on the plot, in pixels.
        num_lines: Lines that are drawn at most; all of one cell in any case.

    Raises:
        ValueError: The mask does not fit the grids.
    """
    expected = tuple(rows * columns for rows, columns in grids)
    if tuple(mask.shape) != expected:
        raise ValueError(
            f"Expected a mask {expected} for the grids {grids}, got {tuple(mask.shape)}."
        )
    areas = plot_areas(pair, cell)
    size = (areas[2].left + cell + MARGIN, areas[0].top + cell + LABEL + MARGIN)
    plot = Image.new("RGB", (size[0] * FINE, size[1] * FINE), "white")
    _paste(plot, _source_picture(pair, areas[0]), areas[0])
    for view, (area, grid) in enumerate(zip(areas[1:], grids, strict=True)):
        partner = mask.any(dim=1 - view).unflatten(0, grid)
        _paste(plot, _dimmed(pair.views[view], partner, area), area)
        _draw_grid(plot, grid, area, MARKERS[view])
    _draw_lines(plot, pair, mask, grids, areas, num_lines)
    plot = plot.reduce(FINE)
    _write(plot, pair, mask, areas)
    return plot


def _enlarged(area: Area) -> Area:
    return Area(*(FINE * value for value in area))


def _paste(plot: Image.Image, picture: Image.Image, area: Area) -> None:
    plot.paste(picture, (FINE * area.left, FINE * area.top))


def _fitted(picture: np.ndarray, area: Area) -> Image.Image:
    size = (FINE * area.width, FINE * area.height)
    return Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)


def _source_picture(pair: ViewPair, area: Area) -> Image.Image:
    """The source with a frame per view; a mirrored view's is dashed on its left side."""
    picture = _fitted(pair.source, area)
    draw = ImageDraw.Draw(picture)
    scale = picture.width / pair.source.shape[1], picture.height / pair.source.shape[0]
    for (x0, y0, x1, y1), colour in zip(pair.edges, MARKERS, strict=True):
        left, right = sorted((x0 * scale[0], x1 * scale[0]))
        top, bottom = sorted((y0 * scale[1], y1 * scale[1]))
        frame = (left, top, max(left, right - 1), max(top, bottom - 1))
        draw.rectangle(frame, outline=colour, width=2 * FINE)
    return picture


def _dimmed(view: np.ndarray, partner: Tensor, area: Area) -> Image.Image:
    """The view, darker in cells (h, w) without a partner."""
    picture = _fitted(view, area)
    bright = Image.fromarray(partner.numpy().astype(np.uint8) * 255)
    bright = bright.resize(picture.size, Image.Resampling.NEAREST)
    return Image.composite(picture, picture.point(lambda value: value * DIMMED), bright)


def _draw_grid(plot: Image.Image, grid: Grid, area: Area, colour: Colour) -> None:
    """Borders of the cells, and a frame."""
    draw, (left, top, width, height) = ImageDraw.Draw(plot, "RGBA"), _enlarged(area)
    faint = (255, 255, 255, 90)
    for row in range(1, grid[0]):
        y = top + height * row / grid[0]
        draw.line((left, y, left + width, y), fill=faint, width=FINE)
    for column in range(1, grid[1]):
        x = left + width * column / grid[1]
        draw.line((x, top, x, top + height), fill=faint, width=FINE)
    frame = (
        left - 2 * FINE,
        top - 2 * FINE,
        left + width + 2 * FINE - 1,
        top + height + 2 * FINE - 1,
    )
    draw.rectangle(frame, outline=colour, width=2 * FINE)


def _draw_lines(
    plot: Image.Image,
    pair: ViewPair,
    mask: Tensor,
    grids: tuple[Grid, Grid],
    areas: tuple[Area, Area, Area],
    num_lines: int,
) -> None:
    """Lines of the chosen cells, dots at their ends, and dots where these cells are in the source."""
    draw = ImageDraw.Draw(plot)
    view, pairs, cells = chosen_pairs(mask, grids, num_lines)
    colours = cell_colours(len(cells))
    ends = pair_ends(pairs, grids, areas[1:])
    rank = {cell: number for number, cell in enumerate(cells.tolist())}
    of_pairs = [colours[rank[cell]] for cell in pairs[:, view].tolist()]
    for shade, width in ((INK, 2 * FINE + 2), (None, 2 * FINE)):
        for (start, end), colour in zip((ends * FINE).tolist(), of_pairs, strict=True):
            draw.line((*start, *end), fill=shade or colour, width=width)
    for (start, end), colour in zip((ends * FINE).tolist(), of_pairs, strict=True):
        _draw_dot(draw, start, colour)
        _draw_dot(draw, end, colour)
    for place, colour in zip(
        (source_places(pair, view, cells, grids[view], areas[0]) * FINE).tolist(),
        colours,
        strict=True,
    ):
        _draw_dot(draw, place, colour)


def _draw_dot(draw: ImageDraw.ImageDraw, place: Sequence[float], colour: Colour) -> None:
    x, y = place
    for shade, reach in ((INK, 4 * FINE), (colour, 3 * FINE)):
        draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=shade)


def _write(plot: Image.Image, pair: ViewPair, mask: Tensor, areas: tuple[Area, Area, Area]) -> None:
    """Title, names of the pictures above them, and numbers below."""
    draw, font = ImageDraw.Draw(plot), ImageFont.load_default(12)
    draw.text((MARGIN, MARGIN), title_of(pair, mask), INK, ImageFont.load_default(14))
    above = [(areas[0], "image", INK)]
    for view, (x0, _, x1, _) in enumerate(pair.edges):
        mirrored = ", mirrored" if x0 > x1 else ""
        above.append((areas[1 + view], f"view {view + 1}{mirrored}", MARKERS[view]))
        area = areas[1 + view]
        share = 100 * shared_area(pair.edges)[view]
        with_partner = int(mask.any(dim=1 - view).sum())
        text = f"{with_partner} of {mask.shape[view]} cells have a partner, overlap {share:.0f} %"
        draw.text((area.left, area.top + area.height + 5), text, SOFT, font)
    for area, text, colour in above:
        draw.text((area.left, area.top - LABEL), text, colour, font)


def title_of(pair: ViewPair, mask: Tensor) -> str:
    """The name and the number of positive pairs."""
    count = int(mask.sum())
    if not count:
        return f"{pair.name}: no positive pair, so this image adds nothing to the loss"
    return f"{pair.name}: {count} of {mask.numel()} pairs of cells are positive"
