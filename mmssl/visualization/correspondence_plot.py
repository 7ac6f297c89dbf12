"""Two views side by side, and which regions of them a network takes for the same.

After the correspondence figures of EsViT - Efficient Self-supervised Vision Transformers for
Representation Learning (ICLR 2022, arXiv 2106.09785); microsoft/esvit, `analyze_models.py`. Deviation:
all markers stand where their regions are (two have x and y exchanged there).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn
from torch.nn import functional as F

from mmssl.evaluation.correspondence import NUM_MATCHES, cell_centres, region_matches
from mmssl.evaluation.features import frozen
from mmssl.models.backbones import view_and_map
from mmssl.visualization.attention_maps import normalised

GAP = 5
LINE = (255, 220, 0)
# Of the pooled features of the first and of the second view.
MARKERS = ((235, 60, 50), (40, 120, 235))
RADIUS = 7


class PairMatches(NamedTuple):
    """What belongs together in two pictures; all positions are (x, y) in pixels of a picture.

    Attributes:
        similarity: (K,) cosine of the matches, descending.
        first: (K, 2) positions in the first picture.
        second: (K, 2) positions in the second.
        markers: (2, 2, 2) positions: [p, v] is the region of picture p that is most similar to the
            pooled feature of view v.
    """

    similarity: Tensor
    first: Tensor
    second: Tensor
    markers: Tensor


def plot_views(size: int = 224) -> dict[str, Any]:
    """Config of the two views of the figures: the whole image, and a jittered part of it.

    The whole is squeezed into a square; of pictures longer than 4 : 3 the middle is taken.
    """
    jitter = dict(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, prob=0.8)
    part = [
        dict(type="RandomResizedCrop", size=size, scale=(0.4, 0.6)),
        dict(type="HorizontalFlip", prob=0.5),
        dict(type="ColorJitter", **jitter),
        dict(type="RandomGrayscale", prob=0.2),
    ]
    whole = [dict(type="RandomResizedCrop", size=size, scale=(1.0, 1.0))]
    return dict(
        type="MultiView",
        boxes=None,
        views=[dict(num=1, transforms=whole), dict(num=1, transforms=part)],
    )


def match_pair(
    backbone: nn.Module,
    preprocessor: nn.Module,
    first: np.ndarray,
    second: np.ndarray,
    *,
    num_matches: int = NUM_MATCHES,
) -> PairMatches:
    """The most similar regions of two pictures, and those most similar to either as a whole.

    Args:
        backbone: See `view_and_map`; it runs in eval mode and is left as it was found.
        preprocessor: Has the mean and the deviation of pixels, see `ViewPreprocessor`.
        first: (H, W, 3) uint8.
        second: (H', W', 3) uint8.
        num_matches: How many matches; fewer if the first picture has fewer regions.

    Returns:
        Tensors on the CPU.

    Raises:
        ValueError: A feature is not finite.
    """
    views, regions = [], []
    with frozen(backbone):
        for picture in (first, second):
            view, region = view_and_map(backbone, normalised(preprocessor, [picture]))
            views.append(view[0].float().cpu())
            regions.append(region.float().cpu())
    matches = region_matches(*regions)

    def places(cells: Tensor, picture: int) -> Tensor:
        height, width = regions[picture].shape[2:]
        return cell_centres(cells, (height, width), (first, second)[picture].shape[:2])

    pooled = torch.stack(views)
    nearest = [
        (F.normalize(pooled, dim=1) @ F.normalize(region[0].flatten(1), dim=0)).argmax(dim=1)
        for region in regions
    ]
    return PairMatches(
        similarity=matches.similarity[0, :num_matches],
        first=places(matches.source[0, :num_matches], 0),
        second=places(matches.target[0, :num_matches], 1),
        markers=torch.stack([places(cells, picture) for picture, cells in enumerate(nearest)]),
    )


def correspondence_plot(
    first: np.ndarray, second: np.ndarray, matches: PairMatches, *, zoom: int = 2
) -> Image.Image:
    """Two pictures with a gap of 5 pixels, numbered lines between matching regions, and markers.

    1 is the most certain match. A ring marks the region most similar to the picture's own pooled
    feature, a square the one most similar to that of the other picture; red is the feature of the
    first, blue that of the second.

    Args:
        first: (H, W, 3) uint8, drawn at the left.
        second: (H', W', 3) uint8.
        matches: See `match_pair`.
        zoom: Pixels of the plot per pixel of the pictures; the gap grows along.
    """
    shift = first.shape[1] + GAP
    size = (shift + second.shape[1], max(first.shape[0], second.shape[0]))
    plot = Image.new("RGB", (size[0] * zoom, size[1] * zoom), "white")
    for picture, left in ((first, 0), (second, shift)):
        large = Image.fromarray(picture).resize(
            (picture.shape[1] * zoom, picture.shape[0] * zoom), Image.Resampling.BICUBIC
        )
        plot.paste(large, (left * zoom, 0))
    draw = ImageDraw.Draw(plot)
    starts = (matches.first * zoom).tolist()
    ends = ((matches.second + torch.tensor([shift, 0])) * zoom).tolist()
    for start, end in zip(starts, ends, strict=True):
        draw.line((*start, *end), fill=LINE, width=zoom)
    font = ImageFont.load_default(size=7 * zoom)
    for number, pair in enumerate(zip(starts, ends, strict=True), start=1):
        for place in pair:
            draw.text(
                tuple(place), str(number), LINE, font, "mm", stroke_width=zoom, stroke_fill="black"
            )
    for own, left in enumerate((0, shift)):
        for view, (x, y) in enumerate(matches.markers[own].tolist()):
            # Outlines around the centre, where a number may stand; a ring fits into a square.
            shape = draw.ellipse if view == own else draw.rectangle
            reach = RADIUS if view == own else RADIUS + 1
            box = (x + left - reach, y - reach, x + left + reach, y + reach)
            shape([edge * zoom for edge in box], outline=MARKERS[view], width=zoom)
    return plot


def stacked(plots: Sequence[Image.Image], *, gap: int = 8) -> Image.Image:
    """Pictures below each other on white.

    Raises:
        ValueError: There is none.
    """
    if not plots:
        raise ValueError("There is no picture to put on the sheet.")
    height = sum(plot.height for plot in plots) + gap * (len(plots) - 1)
    sheet = Image.new("RGB", (max(plot.width for plot in plots), height), "white")
    top = 0
    for plot in plots:
        sheet.paste(plot, (0, top))
        top += plot.height + gap
    return sheet
