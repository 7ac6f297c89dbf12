"""LinearHead: a linear classifier on pooled features."""

from __future__ import annotations

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmssl.registry import MODELS


@MODELS.register_module()
class LinearHead(BaseModule):
    """Linear classifier, with a BatchNorm on its logits if asked for.

    Weights start from N(0, 0.01), biases from 0. CARE's linear evaluation has the norm
    (`Linear(2048, 1000)` and an affine `BatchNorm1d(1000)`); most others have none.

    Args:
        in_channels: Size of the features.
        num_classes: Classes.
        norm: Put an affine BatchNorm1d on the logits.
        init_cfg: Weight initialisation of the mm family.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        norm: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.num_classes = num_classes
        self.fc = nn.Linear(in_channels, num_classes)
        self.norm: nn.Module = nn.BatchNorm1d(num_classes) if norm else nn.Identity()
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def forward(self, feats: Tensor) -> Tensor:
        """(B, num_classes) logits of features (B, in_channels)."""
        return self.norm(self.fc(feats))
