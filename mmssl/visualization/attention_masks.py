"""Where each head of the last block looks: the regions that hold most of a query's attention, in red.

After the attention figures of EsViT - Efficient Self-supervised Vision Transformers for Representation
Learning (ICLR 2022, arXiv 2106.09785) and of DINO (arXiv 2104.14294): heads in the order of their
entropy, the highest probabilities that add up to 60 %, enlarged without interpolation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from mmssl.evaluation.attention_entropy import MASS, attention_entropy, last_attention, mass_mask
from mmssl.evaluation.features import frozen
from mmssl.models.backbones import view_and_map
from mmssl.visualization.attention_maps import normalised

RED = (255, 0, 0)
QUERY = (40, 120, 235)
CAPTION = 16
GAP = 4


class HeadMasks(NamedTuple):
    """The masks of one picture, heads from the most to the least spread.

    Attributes:
        masks: (heads, h, w) bool.
        entropy: (heads,) bits of the query's attention, descending.
        heads: (heads,) int64 numbers of the heads in the network.
        query: (row, column) of the query, `None` for the class token.
    """

    masks: Tensor
    entropy: Tensor
    heads: Tensor
    query: tuple[int, int] | None


def head_masks(
    backbone: nn.Module,
    preprocessor: nn.Module,
    picture: np.ndarray,
    *,
    query: tuple[int, int] | None = None,
    mass: float = MASS,
) -> HeadMasks:
    """Where the heads of the last block look from one region, or from the class token.

    Args:
        backbone: Has a method `last_attention`; it runs in eval mode and is left as it was found.
        preprocessor: Has the mean and the deviation of pixels, see `ViewPreprocessor`.
        picture: (H, W, 3) uint8.
        query: (row, column) of the region that looks; default the class token if there is one, else
            the region in the middle.
        mass: Share of the attention that a mask holds, without what goes to the class token.

    Returns:
        Tensors on the CPU.

    Raises:
        ValueError: The backbone does not tell its attention, its last block attends within windows
            smaller or larger than the map, or there is no such region.
    """
    images = normalised(preprocessor, [picture])
    with frozen(backbone):
        attention = last_attention(backbone, images).float().cpu()
        height, width = view_and_map(backbone, images)[1].shape[2:]
    windows, _, _, keys = attention.shape
    tokens = keys - height * width  # a class token comes first
    if windows != 1 or tokens not in (0, 1):
        raise ValueError(
            f"The last block attends within {windows} window(s) of {keys} positions, the map has "
            f"{height} x {width}: its attention is no picture of the image. Give images of the size "
            "that the network was trained with."
        )
    if query is None and not tokens:
        query = (height // 2, width // 2)
    if query is not None and not (0 <= query[0] < height and 0 <= query[1] < width):
        raise ValueError(f"There is no region {query}: the map has {height} x {width}.")
    row = 0 if query is None else tokens + query[0] * width + query[1]
    looks = attention[0, :, row]
    entropy, heads = attention_entropy(looks).sort(descending=True, stable=True)
    masks = mass_mask(looks[heads, tokens:], mass).unflatten(1, (height, width))
    return HeadMasks(masks, entropy, heads, query)


def red_overlay(picture: np.ndarray, mask: np.ndarray | Tensor, alpha: float = 0.5) -> np.ndarray:
    """Tint the masked regions of a picture red.

    Args:
        picture: (H, W, 3) uint8.
        mask: (h, w) bool; enlarged to the picture by its nearest values.
        alpha: Share of the red.

    Returns:
        (H, W, 3) uint8.
    """
    small = Image.fromarray(np.asarray(mask, dtype=np.uint8))
    large = small.resize((picture.shape[1], picture.shape[0]), Image.Resampling.NEAREST)
    share = alpha * np.asarray(large, dtype=np.float64)[..., None]
    return ((1 - share) * picture + share * np.array(RED) + 0.5).astype(np.uint8)


def mask_sheet(
    pictures: Sequence[np.ndarray],
    masks: Sequence[HeadMasks],
    *,
    columns: int = 7,
    cell: int = 128,
    alpha: float = 0.5,
) -> Image.Image:
    """Pictures and their masks, head by head: captions give the head and the bits of its attention.

    A blue ring marks the region that looks.

    Args:
        pictures: (H, W, 3) uint8, of one size.
        masks: See `head_masks`, one per picture.
        columns: Tiles in a row; the rows of a picture follow each other.
        cell: Height of a tile in pixels.
        alpha: Share of the red.

    Raises:
        ValueError: No picture, or another number of masks than pictures.
    """
    if not pictures or len(pictures) != len(masks):
        raise ValueError(f"Expected masks for each picture, got {len(masks)} for {len(pictures)}.")
    lines: list[list[tuple[str, Image.Image]]] = []
    for picture, found in zip(pictures, masks, strict=True):
        tiles = [("query: " + ("class token" if found.query is None else "ring"), picture)]
        for mask, bits, head in zip(*found[:3], strict=True):
            tiles.append((f"head {head}: {bits:.2f}", red_overlay(picture, mask, alpha)))
        grid = (found.masks.shape[1], found.masks.shape[2])
        drawn = [(text, _tile(tile, found.query, grid, cell)) for text, tile in tiles]
        lines += [drawn[start : start + columns] for start in range(0, len(drawn), columns)]
    width = max(tile.width for line in lines for _, tile in line) + GAP
    across = max(len(line) for line in lines)
    sheet = Image.new("RGB", (across * width, len(lines) * (cell + CAPTION)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    for row, line in enumerate(lines):
        for column, (text, tile) in enumerate(line):
            left, top = column * width, row * (cell + CAPTION)
            draw.text((left, top + 1), text, (60, 60, 60), font)
            sheet.paste(tile, (left, top + CAPTION))
    return sheet


def _tile(
    picture: np.ndarray, query: tuple[int, int] | None, grid: tuple[int, int], cell: int
) -> Image.Image:
    size = (round(cell * picture.shape[1] / picture.shape[0]), cell)
    tile = Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)
    if query is not None:
        x = (query[1] + 0.5) * size[0] / grid[1]
        y = (query[0] + 0.5) * size[1] / grid[0]
        ring = (x - 4, y - 4, x + 4, y + 4)
        ImageDraw.Draw(tile).ellipse(ring, outline=QUERY, width=2)
    return tile
