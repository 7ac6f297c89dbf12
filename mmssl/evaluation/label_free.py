"""What features are worth without labels: the measures of `collapse` for a backbone and a folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmssl.evaluation.collapse import (
    alignment,
    alpha_req,
    effective_rank,
    feature_std,
    lidar,
    uniformity,
)
from mmssl.evaluation.evaluate import center_views
from mmssl.evaluation.features import evaluation_loader, rows_of_images, view_feature
from mmssl.registry import DATASETS, build_module
from mmssl.structures import ViewBatch

LAST_RANK = 100
"""Of the fit of alpha-ReQ: with fewer directions the last eigenvalues are rounding, and bend the line."""


@dataclass
class LabelFreeMeasures:
    """See `mmssl.evaluation.collapse` for what is healthy.

    Attributes:
        effective_rank: RankMe, of the central crops.
        alpha_req: Decay of the spectrum of the central crops; None below 101 images or 100 dimensions.
        lidar: Of the augmented views, between images over within them.
        alignment: Mean squared distance of two augmented views of an image.
        uniformity: Of the central crops.
        feature_std: Of the central crops, times the root of the dimension: 1 on an even sphere.
        dim: Size D of the features.
        num_images: N of the central crops.
        num_view_images: Images whose views were looked at.
        num_views: Q, views of each.
    """

    effective_rank: float
    alpha_req: float | None
    lidar: float
    alignment: float
    uniformity: float
    feature_std: float
    dim: int
    num_images: int
    num_view_images: int
    num_views: int


def augmented_views(size: int, num: int) -> dict[str, Any]:
    """Config of random views as MoCo v2's: crop, jitter, grey, blur, flip.

    Args:
        size: Side in pixels.
        num: Views of an image.
    """
    transforms = [
        dict(type="RandomResizedCrop", size=size, scale=(0.2, 1.0)),
        dict(type="ColorJitter", brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, prob=0.8),
        dict(type="RandomGrayscale", prob=0.2),
        dict(type="GaussianBlur", sigma=(0.1, 2.0), prob=0.5),
        dict(type="HorizontalFlip", prob=0.5),
    ]
    return dict(type="MultiView", boxes=None, views=[dict(num=num, transforms=transforms)])


def _side_by_side(backbone: nn.Module, views: ViewBatch) -> Tensor:
    return torch.cat([view_feature(backbone, images) for images in views.images], dim=1)


def label_free_measures(features: Tensor, views: Tensor) -> LabelFreeMeasures:
    """All measures.

    Args:
        features: (N, D) of the central crops.
        views: (M, Q, D) of Q >= 2 augmented views of M images.

    Raises:
        ValueError: Too few images or views, or features of different sizes.
    """
    if features.shape[-1] != views.shape[-1]:
        raise ValueError(
            f"Features of crops and views must have one size, got {tuple(features.shape)} and "
            f"{tuple(views.shape)}."
        )
    # centred features of N images have no more than N - 1 directions
    directions = min(len(features) - 1, features.shape[1])
    return LabelFreeMeasures(
        effective_rank=effective_rank(features),
        alpha_req=alpha_req(features) if directions >= LAST_RANK else None,
        lidar=lidar(views),
        alignment=alignment(views[:, 0], views[:, 1]),
        uniformity=uniformity(features),
        feature_std=feature_std(features) * features.shape[1] ** 0.5,
        dim=features.shape[1],
        num_images=len(features),
        num_view_images=len(views),
        num_views=views.shape[1],
    )


def measure_label_free(
    backbone: nn.Module,
    folder: str,
    *,
    size: int = 224,
    num_images: int | None = None,
    num_view_images: int = 1000,
    num_views: int = 10,
    preprocessor: nn.Module | None = None,
    seed: int = 0,
    batch_size: int = 64,
    num_workers: int = 2,
    progress: str = "",
) -> LabelFreeMeasures:
    """The measures of a backbone's pooled features.

    RankMe takes 25 600 images, more than dimensions in any case, LiDAR some 1000 images with 50 views.

    Args:
        backbone: On its device.
        folder: Of images, in sub-folders or not.
        size: Side of crops and views.
        num_images: Images whose central crops are looked at, always the same random ones; None for all.
        num_view_images: At most as many of them have augmented views.
        num_views: Of each of these.
        preprocessor: Normalises; default `ViewPreprocessor()`.
        seed: Of the views.
        batch_size: Images at a time.
        num_workers: Worker processes.
        progress: Title of the progress bars; empty shows none.

    Raises:
        ValueError: Fewer than two images or views, or no image in the folder.
        UnreadableImageError: An image cannot be read: another in its place would be compared with it.
    """
    if num_views < 2:
        raise ValueError(f"Views are compared with each other: num_views >= 2, got {num_views}.")

    def rows(views: dict[str, Any], limit: int | None, title: str) -> Tensor:
        """(N, Q D) of the Q views of each image, side by side."""
        dataset = build_module(
            DATASETS,
            dict(type="ImageFolder", root=folder, views=views, seed=seed, max_bad_ratio=0.0),
        )
        loader = evaluation_loader(
            dataset, batch_size=batch_size, num_workers=num_workers, limit=limit
        )
        return rows_of_images(
            backbone, loader, _side_by_side, preprocessor=preprocessor, progress=progress and title
        ).features

    crops = rows(center_views(size), num_images, f"{progress}, central crops")
    few = min(num_view_images, len(crops))
    if few < 2:
        raise ValueError(f"Images are compared with each other: at least 2, got {few} of {folder}.")
    views = rows(augmented_views(size, num_views), few, f"{progress}, views")
    views = views.unflatten(1, (num_views, -1))
    return label_free_measures(crops, views)
