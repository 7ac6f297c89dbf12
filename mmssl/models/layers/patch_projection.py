"""Images to the tokens of a Vision Transformer: one linear map for each patch, or a few convolutions."""

from __future__ import annotations

from mmengine.model import BaseModule
from torch import Tensor, nn

from .norm import norm_layer


def _check_sides(images: Tensor, patch: int) -> None:
    sides = images.shape[2:]
    if any(side % patch or side == 0 for side in sides):
        near = [(max(side // patch, 1) * patch, (side // patch + 1) * patch) for side in sides]
        raise ValueError(
            f"Images of {sides[0]} x {sides[1]} pixels are no whole number of {patch}-pixel patches. "
            f"Heights that fit nearby: {near[0][0]}, {near[0][1]}; widths: {near[1][0]}, {near[1][1]}."
        )


class PatchProjection(BaseModule):
    """Images (N, 3, H, W) to maps (N, C, H / patch, W / patch): one linear map for each patch."""

    def __init__(self, dim: int, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(3, dim, patch_size, patch_size)

    def forward(self, images: Tensor) -> Tensor:
        """Project the patches.

        Raises:
            ValueError: A side that is no whole number of patches.
        """
        _check_sides(images, self.patch_size)
        return self.proj(images)


class ConvProjection(BaseModule):
    """Images (N, 3, H, W) to maps (N, C, H / 16, W / 16): convolutions of stride 2, then one of 1 x 1.

    Early Convolutions Help Transformers See Better (arXiv 2106.14881), in the form of MoCo v3's code: C / 8,
    C / 4, C / 2 and C channels, BatchNorm and ReLU behind each.

    Args:
        dim: C, a multiple of 8.
        norm_cfg: Of the norms; default BatchNorm.

    Raises:
        ValueError: `dim` is no multiple of 8.
    """

    patch_size = 16

    def __init__(self, dim: int, *, norm_cfg: dict | None = None) -> None:
        super().__init__()
        if dim % 8:
            raise ValueError(f"stem='conv' needs embed_dims to be a multiple of 8, got {dim}.")
        layers: list[nn.Module] = []
        channels = 3
        for width in (dim // 8, dim // 4, dim // 2, dim):
            layers += [
                nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False),
                norm_layer(norm_cfg or dict(type="BN"), width, maps=True),
                nn.ReLU(inplace=True),
            ]
            channels = width
        self.proj = nn.Sequential(*layers, nn.Conv2d(dim, dim, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Convolve.

        Raises:
            ValueError: A side that is no multiple of 16.
        """
        _check_sides(images, self.patch_size)
        return self.proj(images)
