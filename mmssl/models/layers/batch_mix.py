"""BatchMix: images of a batch blended with, or pasted into, one another.

mixup (Zhang et al. 2018, arXiv 1710.09412) and CutMix (Yun et al. 2019, arXiv 1905.04899), one draw for the
whole batch, partners in reverse order, as EsViT's unpublished option and CoTNet's recipe (JDAI-CV/CoTNet)
take them from timm.
"""

from __future__ import annotations

import math

import torch
from mmengine.model import BaseModule
from torch import Tensor

from mmssl.registry import MODELS


@MODELS.register_module()
class BatchMix(BaseModule):
    """Mix a batch with itself in reverse order.

    With equal chance `lam x + (1 - lam) x'` (mixup), or a rectangle of x' in x that covers 1 - lam of it
    (CutMix); lam is drawn from Beta(alpha, alpha). Random numbers come from torch's generator.

    Args:
        mixup_alpha: Of mixup; 0 leaves it out.
        cutmix_alpha: Of CutMix; 0 leaves it out.

    Raises:
        ValueError: Both are left out, or one is negative.
    """

    def __init__(self, mixup_alpha: float = 0.8, cutmix_alpha: float = 1.0) -> None:
        super().__init__()
        if min(mixup_alpha, cutmix_alpha) < 0 or max(mixup_alpha, cutmix_alpha) == 0:
            raise ValueError(
                "BatchMix needs mixup_alpha or cutmix_alpha above 0 and none below, got "
                f"{mixup_alpha} and {cutmix_alpha}."
            )
        self.mixup_alpha, self.cutmix_alpha = mixup_alpha, cutmix_alpha

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mix.

        Args:
            images: (B, 3, H, W).

        Returns:
            The mixed images, and the (B, B) share that each image (row) has of each original (column).
        """
        cut = self.mixup_alpha == 0 or (self.cutmix_alpha > 0 and torch.rand(()).item() < 0.5)
        alpha = self.cutmix_alpha if cut else self.mixup_alpha
        share = torch.distributions.Beta(alpha, alpha).sample().item()
        others = images.flip(0)
        if cut:
            height, width = images.shape[2:]
            centre = (int(torch.randint(height, ())), int(torch.randint(width, ())))
            rows, columns, share = cut_rectangle((height, width), share, centre)
            mixed = images.clone()
            mixed[:, :, rows, columns] = others[:, :, rows, columns]
        else:
            mixed = share * images + (1 - share) * others
        same = torch.eye(len(images), device=images.device)
        return mixed, share * same + (1 - share) * same.flip(0)


def cut_rectangle(
    size: tuple[int, int], share: float, centre: tuple[int, int]
) -> tuple[slice, slice, float]:
    """CutMix's rectangle around a drawn centre, and the share of the image that stays.

    Sides are floor(sqrt(1 - share) * length); half of a side, rounded down, reaches from the centre either
    way and ends at the border.

    Args:
        size: (height, width) of the image.
        share: The part of the image that was drawn to stay.
        centre: (row, column) of the rectangle.

    Returns:
        Rows, columns, and the share that does stay now that the border has cut the rectangle.

    Example:
        >>> cut_rectangle((8, 8), 0.75, (1, 4))
        (slice(0, 3, None), slice(2, 6, None), 0.8125)
    """
    height, width = size
    ratio = math.sqrt(1 - share)
    rows, columns = _side(height, ratio, centre[0]), _side(width, ratio, centre[1])
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    return rows, columns, 1 - area / (height * width)


def _side(length: int, ratio: float, centre: int) -> slice:
    half = int(length * ratio) // 2
    return slice(max(centre - half, 0), min(centre + half, length))
