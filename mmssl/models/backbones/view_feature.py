"""What a network says about a whole view and about each of its regions, for every backbone."""

from __future__ import annotations

from torch import Tensor, nn


def view_and_map(backbone: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """The feature of each view and the map of its regions.

    The view's feature is the mean over the last feature map; a backbone with something else for it (a
    class token) has a method of this name.

    Args:
        backbone: Returns a tuple of feature maps.
        images: (N, 3, H, W) normalised images.

    Returns:
        (N, C) and (N, C, h, w).
    """
    own = getattr(backbone, "view_and_map", None)
    if own is not None:
        return own(images)
    regions = backbone(images)[-1]
    return regions.mean(dim=(2, 3)), regions
