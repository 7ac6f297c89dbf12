"""Whether a network finds a region of an image again in a mirrored, grey, jittered copy of it.

The correspondence benchmark of EsViT - Efficient Self-supervised Vision Transformers for
Representation Learning (ICLR 2022, arXiv 2106.09785), section 4.4; compared with `analyze_models.py`
of microsoft/esvit. Deviations: the jitter is a function of (seed, image), so that neither the order
nor the size of batches changes the result (one global seed there); grids and images of any size.

Only the ten most certain cells of an image count, and a miss by one cell costs as many pixels as a
cell has: networks with cells of different sizes are not compared fairly by the error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from mmssl.evaluation.features import Branch, rows_of_images
from mmssl.models.backbones import view_and_map
from mmssl.ops import boxes
from mmssl.structures import ViewBatch

NUM_MATCHES = 10


class Matches(NamedTuple):
    """For each of N pairs, cells of one view and the most similar cell of the other, best first.

    Cells are numbered row by row.

    Attributes:
        similarity: (N, K) cosine, descending.
        source: (N, K) int64 cells of the first view.
        target: (N, K) int64 the most similar cell of the second view to each of them.
    """

    similarity: Tensor
    source: Tensor
    target: Tensor


class Scores(NamedTuple):
    """How well the matches of each of N pairs hit the mirrored cell.

    Attributes:
        accuracy: (N,) share of the counted matches that hit it.
        distance: (N,) mean distance to its centre, in pixels.
        next_similarity: (N,) cosine of the best match that is not counted: the eleventh of the
            benchmark, which the official code returns too.
    """

    accuracy: Tensor
    distance: Tensor
    next_similarity: Tensor


@dataclass(frozen=True)
class CorrespondenceResult:
    """The benchmark over a set of images.

    Attributes:
        accuracy: Share of the counted matches that hit the mirrored cell, mean over images.
        error: Distance to its centre in pixels, mean over matches and images.
        next_similarity: Cosine of the best match that is not counted, mean over images.
        num_images: Images that were looked at.
        image_size: (height, width) in pixels.
        grid: (rows, columns) of cells.
        cell_size: (height, width) of a cell in pixels: the price of a miss by one cell.
    """

    accuracy: float
    error: float
    next_similarity: float
    num_images: int
    image_size: tuple[int, int]
    grid: tuple[int, int]
    cell_size: tuple[float, float]


def correspondence_views(size: int = 224) -> dict[str, Any]:
    """Config of the benchmark's two views: the central crop, and its mirrored, jittered, grey copy.

    Example:
        >>> [len(view['transforms']) for view in correspondence_views(96)['views']]
        [2, 5]
    """
    crop = [
        dict(type="Resize", size=round(size * 256 / 224), interpolation="bicubic"),
        dict(type="CenterCrop", size=size),
    ]
    changes = [
        dict(type="HorizontalFlip", prob=1.0),
        dict(type="ColorJitter", brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, prob=0.8),
        dict(type="RandomGrayscale", prob=1.0),
    ]
    return dict(
        type="MultiView",
        boxes=None,
        backend="pil",
        views=[dict(num=1, transforms=crop), dict(num=1, transforms=[*crop, *changes])],
    )


def region_matches(first: Tensor, second: Tensor) -> Matches:
    """The most similar region of the second view for each region of the first, best pair first.

    Args:
        first: (N, C, h, w) features of the first view.
        second: (N, C, h', w') features of the second.

    Returns:
        All h * w matches of every pair.

    Raises:
        ValueError: A feature is not finite.

    Example:
        >>> cells = torch.eye(4).view(1, 4, 2, 2)
        >>> region_matches(cells, cells.flip(3)).target.tolist()
        [[1, 0, 3, 2]]
    """
    cosine = F.normalize(first.flatten(2), dim=1).mT @ F.normalize(second.flatten(2), dim=1)
    if not cosine.isfinite().all():
        raise ValueError("The network's features are not finite; matches of them mean nothing.")
    best, partner = cosine.max(dim=2)
    # Stable: equal certainties stay in the order of the cells, on every device.
    similarity, source = best.sort(dim=1, descending=True, stable=True)
    return Matches(similarity, source, partner.gather(1, source))


def cell_centres(cells: Tensor, grid: tuple[int, int], image_size: tuple[int, int]) -> Tensor:
    """Centres (..., 2) of cells in pixels, x and y.

    Args:
        cells: (...) int64 numbers of cells, row by row.
        grid: (rows, columns) of cells.
        image_size: (height, width) of the image that the grid covers.

    Example:
        >>> cell_centres(torch.tensor([0, 5]), (2, 3), (64, 96)).tolist()
        [[16.0, 16.0], [80.0, 48.0]]
    """
    whole = torch.tensor([[0, 0, image_size[1], image_size[0]]], device=cells.device)
    return boxes.cell_centres(whole, grid)[0, cells]


def mirrored_scores(
    first: Tensor,
    second: Tensor,
    *,
    image_size: tuple[int, int],
    num_matches: int = NUM_MATCHES,
) -> Scores:
    """How well regions of images are found in their horizontally mirrored copies.

    The cell in column c of w belongs to the one in column w - 1 - c of the same row.

    Args:
        first: (N, C, h, w) region features of the images.
        second: (N, C, h, w) region features of the mirrored images.
        image_size: (height, width) in pixels.
        num_matches: How many of the most similar matches count.

    Raises:
        ValueError: Grids of different sizes or with too few cells, or features that are not finite.
    """
    grid = (first.shape[2], first.shape[3])
    if first.shape != second.shape:
        raise ValueError(
            f"Both views need the same grid, got features {tuple(first.shape)} and "
            f"{tuple(second.shape)}."
        )
    if not 1 <= num_matches < grid[0] * grid[1]:
        raise ValueError(
            f"{num_matches} matches and one more were asked for, but the network has a grid of "
            f"{grid[0]} x {grid[1]} regions for images of {image_size[0]} x {image_size[1]} pixels; "
            "use larger images."
        )
    matches = region_matches(first, second)
    source, target = matches.source[:, :num_matches], matches.target[:, :num_matches]
    column = source % grid[1]
    truth = source - column + (grid[1] - 1 - column)
    offset = cell_centres(target, grid, image_size) - cell_centres(truth, grid, image_size)
    return Scores(
        accuracy=(target == truth).double().mean(dim=1),
        distance=offset.double().norm(dim=2).mean(dim=1),
        next_similarity=matches.similarity[:, num_matches],
    )


def measure_correspondence(
    network: nn.Module,
    loader: DataLoader,
    *,
    branch: Branch = "online",
    preprocessor: nn.Module | None = None,
    num_matches: int = NUM_MATCHES,
    progress: str = "",
) -> CorrespondenceResult:
    """Run the correspondence benchmark over a set of images.

    The network is left as it was found; on several ranks each one gets the result of all images.

    Args:
        network: An algorithm (maybe wrapped for distributed training) or a backbone.
        loader: Of a dataset with the two views of `correspondence_views`; see `evaluation_loader`.
        branch: The online network's or the twin's backbone.
        preprocessor: Normalises the images of a plain backbone; default `ViewPreprocessor()`.
        num_matches: How many of the most similar matches of an image count.
        progress: Title of the progress bar; empty shows none.

    Raises:
        ValueError: Another number of views than two, too few regions, no such branch, no image, or
            features that are not finite.
    """
    sizes: dict[str, tuple[int, int]] = {}

    def compute(backbone: nn.Module, views: ViewBatch) -> Tensor:
        if len(views.images) != 2:
            raise ValueError(
                f"The correspondence benchmark compares two views, the dataset has "
                f"{len(views.images)}; give it views=correspondence_views(size)."
            )
        first, second = (view_and_map(backbone, images)[1].float() for images in views.images)
        sizes["image"] = (views.images[0].shape[2], views.images[0].shape[3])
        sizes["grid"] = (first.shape[2], first.shape[3])
        scores = mirrored_scores(first, second, image_size=sizes["image"], num_matches=num_matches)
        return torch.stack([part.double() for part in scores], dim=1)

    rows = rows_of_images(
        network, loader, compute, branch=branch, preprocessor=preprocessor, progress=progress
    ).features
    accuracy, error, next_similarity = rows.mean(dim=0).tolist()
    image, grid = sizes["image"], sizes["grid"]
    return CorrespondenceResult(
        accuracy=accuracy,
        error=error,
        next_similarity=next_similarity,
        num_images=len(rows),
        image_size=image,
        grid=grid,
        cell_size=(image[0] / grid[0], image[1] / grid[1]),
    )
