"""Is there anything to learn in these views? What the untrained network makes of them, in seconds."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmssl.models.algorithms.base import BaseAlgorithm


class ViewSignal(NamedTuple):
    """Mean correlation of the features of two views, in [-1, 1].

    Attributes:
        same_image: Two views of one image.
        same_class: Views of two images of one class; `None` without labels or with one class only.
        other: Views of two images (of different classes, if there are labels); about 0.
        num_images: How many were looked at.
    """

    same_image: float
    same_class: float | None
    other: float
    num_images: int


@torch.no_grad()
def view_signal(algorithm: BaseAlgorithm, batches: Iterable[dict], num_batches: int) -> ViewSignal:
    """Compare views through the backbone of an algorithm as it is, before any training.

    Methods that regress onto a momentum copy (BYOL, CARE) begin with the targets of a random network.
    They get off the ground only if it finds two views of an image more alike than views of two
    images. The last feature map is averaged over positions, and each channel is standardised over
    the batch, for each view by itself; batch norms use the statistics of the batch, as in training.

    Args:
        algorithm: Built and initialised; it is not changed.
        batches: Of a training loader, with at least two views of one size; single images at a time
            have no statistics, so batches need two images or more.
        num_batches: How many of them.

    Returns:
        The means over all pairs.

    Raises:
        ValueError: Fewer than two views, no batch of two images, or features that are not finite.
    """
    backbone = copy.deepcopy(algorithm.backbone).train()
    first, second, labels = [], [], []
    for number, batch in enumerate(batches):
        if number == num_batches:
            break
        views = algorithm.data_preprocessor(batch, True)["inputs"]
        if len(views.images) < 2:
            raise ValueError("A signal needs two views of each image; this view set has one.")
        if len(views.index) < 2:
            continue
        first.append(_standardised(backbone, views.images[0]))
        second.append(_standardised(backbone, views.images[1]))
        labels.append(views.label.cpu())
    if not first:
        raise ValueError("There was no batch of at least two images.")
    left, right, label = torch.cat(first), torch.cat(second), torch.cat(labels)
    correlation = left @ right.T / left.shape[1]
    if not correlation.isfinite().all():
        raise ValueError("The network's features are not finite.")
    itself = torch.eye(len(label), dtype=torch.bool)
    alike = (label[:, None] == label) & (label[:, None] >= 0) & ~itself
    if (alike | itself).all():  # one class only: labels tell nothing
        alike = torch.zeros_like(alike)
    return ViewSignal(
        same_image=correlation[itself].mean().item(),
        same_class=correlation[alike].mean().item() if alike.any() else None,
        other=correlation[~alike & ~itself].mean().item(),
        num_images=len(label),
    )


def _standardised(backbone: nn.Module, images: Tensor) -> Tensor:
    """(B, C) features on the CPU, mean 0 and deviation 1 per channel; constant channels are 0."""
    features = backbone(images)[-1].float().mean((2, 3)).cpu()
    centred = features - features.mean(0)
    return centred / centred.std(0, correction=0).clamp_min(1e-6)
