"""Sheets of similarity maps: a row per queried cell, a column per step of the network, one colour scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from torch import Tensor

from mmssl.visualization.pixel_similarity import Cell, SimilarityMaps

COLORMAP = "plasma"
# Of a map's colours where the picture is black.
SHADE = 0.7
MARGIN, GAP, TITLE, LABEL, BAR = 10, 6, 22, 32, 40
INK, SOFT = (30, 34, 48), (102, 112, 133)


class ImageSimilarity(NamedTuple):
    """The maps of an image.

    Attributes:
        name: Heading.
        views: One or two pictures (H_v, W_v, 3) uint8; the queries are cells of the first.
        queries: K pairs (row, column).
        maps: See `pixel_similarity`.
        partners: (K, h, w) bool: the cells of the second view that are positive pairs of the queries;
            `None` marks none.
    """

    name: str
    views: Sequence[np.ndarray]
    queries: Sequence[Cell]
    maps: Sequence[SimilarityMaps]
    partners: Tensor | None = None


def lowest_value(images: Sequence[ImageSimilarity]) -> float:
    """The lowest cosine of all maps, rounded down to a tenth: where the colours begin."""
    lowest = min(float(each.values.min()) for image in images for each in image.maps)
    return max(-1.0, math.floor(lowest * 10) / 10)


def similarity_colours(values: Tensor | np.ndarray, low: float) -> np.ndarray:
    """Colours (..., 3) uint8 of cosines (...); `low` and below are the first colour, 1 the last."""
    span = np.clip((np.asarray(values, dtype=np.float64) - low) / max(1 - low, 1e-6), 0, 1)
    return np.round(colormaps[COLORMAP](span)[..., :3] * 255).astype(np.uint8)


def heat_map(view: np.ndarray, values: Tensor, *, low: float, size: tuple[int, int]) -> Image.Image:
    """A map over its picture: the colour of a cell is its cosine, its shading the picture's.

    Args:
        view: (H, W, 3) uint8.
        values: (h, w) cosines.
        low: See `similarity_colours`.
        size: (width, height) of the result.
    """
    colours = Image.fromarray(similarity_colours(values, low)).resize(
        size, Image.Resampling.NEAREST
    )
    grey = Image.fromarray(view).convert("L").resize(size, Image.Resampling.BICUBIC)
    shade = SHADE + (1 - SHADE) * np.asarray(grey, dtype=np.float64)[..., None] / 255
    return Image.fromarray(np.round(np.asarray(colours) * shade).astype(np.uint8))


def similarity_sheet(images: Sequence[ImageSimilarity], *, cell: int = 144) -> Image.Image:
    """A row per query: the picture with the query, its maps, and the second view with its map.

    A square marks the query, thin squares in the second view are its positive pairs. All maps of the
    sheet have the same colours, which the bar below explains.

    Args:
        images: See `ImageSimilarity`; all with the same steps.
        cell: Longer side of a picture on the sheet, in pixels.

    Raises:
        ValueError: No image, or one with other steps than the first.
    """
    titles = [[each.title for each in image.maps] for image in images]
    if not images or any(each != titles[0] for each in titles):
        raise ValueError(f"Expected images with the same maps each, got {titles or 'no image'}.")
    low = lowest_value(images)
    rows = [row for image in images for row in _rows_of(image, low, cell)]
    width = 2 * MARGIN + len(rows[0]) * (cell + GAP) - GAP
    blocks = sum(TITLE + len(image.queries) * (cell + GAP) + GAP for image in images)
    sheet = Image.new("RGB", (width, 2 * MARGIN + LABEL + blocks + BAR), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for column, title in enumerate(_headings(images[0])):
        draw.multiline_text((MARGIN + column * (cell + GAP), MARGIN), title, INK, font, spacing=2)
    top, remaining = MARGIN + LABEL, iter(rows)
    for image in images:
        draw.text((MARGIN, top + 3), image.name, SOFT, font)
        top += TITLE
        for _ in image.queries:
            for column, tile in enumerate(next(remaining)):
                sheet.paste(tile, (MARGIN + column * (cell + GAP), top))
            top += cell + GAP
        top += GAP
    _draw_bar(sheet, low, (MARGIN, top + 4))
    return sheet


def _headings(image: ImageSimilarity) -> list[str]:
    """Titles of the columns; the pictures stand in front of the maps that lie over them."""
    found = ["image and query"]
    for each in image.maps:
        if each.view == 1:
            found.append(
                "other view and\npositive pairs" if image.partners is not None else "other view"
            )
        found.append(f"cosine:\n{each.title}")
    return found


def _rows_of(image: ImageSimilarity, low: float, cell: int) -> list[list[Image.Image]]:
    """The tiles of each query."""
    rows = []
    for number, (row, column) in enumerate(image.queries):
        query = torch.zeros(image.maps[0].values.shape[1:], dtype=torch.bool)
        query[row, column] = True
        tiles = [_marked(_fitted(image.views[0], cell), query)]
        for each in image.maps:
            view, values = image.views[each.view], each.values[number]
            marked = query
            if each.view == 1:
                none = torch.zeros_like(values, dtype=torch.bool)
                marked = none if image.partners is None else image.partners[number]
                tiles.append(_marked(_fitted(view, cell), marked))
            tiles.append(_marked(heat_map(view, values, low=low, size=tiles[-1].size), marked))
        rows.append(tiles)
    return rows


def _fitted(view: np.ndarray, cell: int) -> Image.Image:
    height, width = view.shape[:2]
    size = (max(1, cell * width // max(height, width)), max(1, cell * height // max(height, width)))
    return Image.fromarray(view).resize(size, Image.Resampling.BICUBIC)


def _marked(tile: Image.Image, cells: Tensor) -> Image.Image:
    """The tile with a white line, edged black, around the cells (h, w) that are True."""
    region = Image.fromarray(cells.numpy().astype(np.uint8) * 255)
    region = region.resize(tile.size, Image.Resampling.NEAREST)
    # from the outside inwards, so that the cells themselves stay visible
    wide, narrow = (region.filter(ImageFilter.MaxFilter(reach)) for reach in (7, 5))
    marked = Image.composite(Image.new("RGB", tile.size, INK), tile, wide)
    marked = Image.composite(Image.new("RGB", tile.size, "white"), marked, narrow)
    return Image.composite(tile, marked, region)


def _draw_bar(sheet: Image.Image, low: float, corner: tuple[int, int], length: int = 240) -> None:
    """The colours and what they mean."""
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    left, top = corner
    bar = similarity_colours(np.linspace(low, 1, length)[None].repeat(12, axis=0), low)
    sheet.paste(Image.fromarray(bar), (left, top))
    for share in (0, 0.5, 1):
        x = left + round(share * (length - 1))
        anchor = {0: "la", 0.5: "ma", 1: "ra"}[share]
        draw.text((x, top + 15), f"{low + share * (1 - low):.2f}", SOFT, font, anchor)
    draw.text((left + length + 12, top + 6), "cosine similarity to the query", SOFT, font, "lm")
