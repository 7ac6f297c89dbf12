"""Features of views of several sizes: one pass per size, whatever the number of views.

Multi-crop: SwAV (Caron et al. 2020, arXiv 2006.09882), DINO, EsViT.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmssl.models.backbones.view_feature import view_and_map


class CropFeatures(NamedTuple):
    """What a backbone says of all views of a batch.

    Attributes:
        views: (B, V, C) a feature per view.
        regions: (B, S, C) features of the regions of all views, view by view, rows of a map first.
        sizes: Regions of each view; their sum is S.
    """

    views: Tensor
    regions: Tensor
    sizes: list[int]


def crop_features(backbone: nn.Module, images: Sequence[Tensor]) -> CropFeatures:
    """Run a backbone over views; neighbours of equal size go through it together.

    Args:
        backbone: Returns feature maps (see `view_and_map`).
        images: One (B, 3, H, W) per view.
    """
    num_images = len(images[0])
    views, regions, sizes = [], [], []
    for _, group in groupby(images, key=lambda view: view.shape[2:]):
        crops = list(group)
        # Crop by crop, so that BatchNorm and random depth see what they see in the official code.
        view, region_map = view_and_map(backbone, torch.cat(crops))
        rows = region_map.flatten(2).transpose(1, 2)
        sizes += [rows.shape[1]] * len(crops)
        views.append(view.unflatten(0, (len(crops), num_images)).transpose(0, 1))
        rows = rows.unflatten(0, (len(crops), num_images)).transpose(0, 1)
        regions.append(rows.flatten(1, 2))
    return CropFeatures(torch.cat(views, dim=1), torch.cat(regions, dim=1), sizes)


def sampled_regions(features: CropFeatures, num: int | None) -> CropFeatures:
    """At most `num` regions of each view, drawn at random, the same for all images; `None` keeps all."""
    if num is None:
        return features
    rows, start = [], 0
    for size in features.sizes:
        drawn = torch.randperm(size)[:num].sort().values
        rows.append(start + drawn)
        start += size
    chosen = torch.cat(rows).to(features.regions.device, non_blocking=True)
    sizes = [len(part) for part in rows]
    return CropFeatures(features.views, features.regions[:, chosen], sizes)
