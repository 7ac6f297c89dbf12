"""JigsawHead: one embedding of an image from its shuffled patches."""

from __future__ import annotations

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmssl.models.layers import MLP
from mmssl.registry import MODELS


@MODELS.register_module()
class JigsawHead(BaseModule):
    """Embed each patch, put the patches in a random order, and embed what stands there.

        fc2(concatenation, in a random order for each image, of fc1(patch)),   fc1 = Linear-ReLU-Linear

    The pretext task of PIRL (Misra and van der Maaten 2020, arXiv 1912.01991) in the form of InfoMin's code
    (HobbitLong/PyContrast): the embedding is not to tell the order.

    Args:
        in_channels: C of a patch's feature.
        hid_channels: Of the first layer; default C.
        out_channels: D, of a patch's embedding and of the image's.
        num_patches: P.
        init_cfg: Weight initialisation of the mm family.
    """

    def __init__(
        self,
        in_channels: int,
        hid_channels: int | None = None,
        out_channels: int = 128,
        *,
        num_patches: int = 9,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.fc1 = MLP(in_channels, hid_channels or in_channels, out_channels)
        self.fc2 = nn.Linear(num_patches * out_channels, out_channels)
        self.num_patches = num_patches

    def forward(self, feats: Tensor) -> Tensor:
        """Map (B, P, C) features of patches to (B, D).

        Raises:
            ValueError: Another number of patches.
        """
        if feats.ndim != 3 or feats.shape[1] != self.num_patches:
            raise ValueError(
                f"JigsawHead embeds {self.num_patches} patches of an image, got features of shape "
                f"{tuple(feats.shape)}."
            )
        patches = self.fc1(feats.flatten(0, 1)).unflatten(0, feats.shape[:2])
        order = torch.rand(feats.shape[:2], device=feats.device).argsort(dim=1)
        shuffled = patches.gather(1, order[:, :, None].expand_as(patches))
        return self.fc2(shuffled.flatten(1))
