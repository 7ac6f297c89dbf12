"""Two views of an image side by side, with lines between cells that show the same place.

After the method figures of Propagate Yourself: Exploring Pixel-Level Consistency for Unsupervised Visual
Representation Learning (CVPR 2021, arXiv 2011.10043).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.colors import hsv_to_rgb
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mmssl.evaluation.correspondence import cell_centres
from mmssl.ops.boxes import Grid
from mmssl.visualization.correspondence_plot import MARKERS
from mmssl.visualization.pixel_pairs import NUM_LINES, ViewPair, chosen_pairs, shared_area

Colour = tuple[int, int, int]

MARGIN, GAP, TITLE, LABEL = 10, 14, 20, 17
INK, SOFT = (30, 34, 48), (102, 112, 133)
# Lines and grids are drawn this much larger, then reduced: Pillow's lines have no smooth edges.
FINE = 2
DIMMED = 0.45


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
    """The source with a frame per view."""
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
