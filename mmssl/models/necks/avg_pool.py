"""AvgPool: global average pooling of the last feature map."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor

from mmssl.registry import MODELS


@MODELS.register_module()
class AvgPool(BaseModule):
    """Average a map, or the last of several maps, over its cells.

    Example:
        >>> import torch
        >>> AvgPool()((torch.zeros(1, 2, 4, 4), torch.ones(1, 3, 2, 2)))
        tensor([[1., 1., 1.]])
    """

    def forward(self, feats: Tensor | Sequence[Tensor]) -> Tensor:
        """(B, C) means of a map (B, C, H, W), the last one if `feats` is a sequence."""
        return (feats if isinstance(feats, Tensor) else feats[-1]).mean(dim=(2, 3))
