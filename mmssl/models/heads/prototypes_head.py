"""PrototypesHead: cosine scores of embeddings against prototypes that are trained."""

from __future__ import annotations

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from mmssl.registry import MODELS


@MODELS.register_module()
class PrototypesHead(BaseModule):
    """Scores (B, K) of unit embeddings (B, D): products with K prototypes, a Linear without bias.

    SwAV (arXiv 2006.09882), section 3.1. The optimizer moves the rows off the unit sphere;
    `normalize` brings them back, which the method does before it reads them.

    Args:
        in_channels: D.
        num_prototypes: K.
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ValueError: Fewer than two prototypes.
    """

    def __init__(
        self,
        in_channels: int,
        num_prototypes: int = 3000,
        *,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if num_prototypes < 2:
            raise ValueError(f"PrototypesHead needs num_prototypes >= 2, got {num_prototypes}.")
        self.prototypes = nn.Linear(in_channels, num_prototypes, bias=False)

    @torch.no_grad()
    def normalize(self) -> None:
        """Give every prototype length 1, in place."""
        self.prototypes.weight.copy_(F.normalize(self.prototypes.weight, dim=1))

    def forward(self, embeds: Tensor) -> Tensor:
        """Scores (..., K) of embeddings (..., D), in the type of the embeddings under autocast too."""
        with torch.autocast(embeds.device.type, enabled=False):
            return self.prototypes(embeds)
