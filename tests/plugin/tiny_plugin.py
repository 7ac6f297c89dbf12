"""Classes of a third party: a backbone, a neck, an algorithm and a hook."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmssl.models.algorithms.base import BaseAlgorithm
from mmssl.registry import HOOKS, MODELS, build_module
from mmssl.structures import ViewBatch


@MODELS.register_module()
class TinyNet(BaseModule):
    """Two convolutions; the contract is a tuple of maps and the attributes `out_channels`, `strides`."""

    def __init__(self, width: int = 8, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1), nn.ReLU(), nn.Conv2d(width, 2 * width, 3, 2, 1), nn.ReLU()
        )
        self.out_channels, self.strides = [2 * width], [4]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return (self.layers(images),)


@MODELS.register_module()
class MeanNeck(BaseModule):
    """(B, C, H, W) -> (B, dim): average pool and one linear layer."""

    def __init__(self, in_channels: int, dim: int = 16) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, dim)

    def forward(self, feature_map: Tensor) -> Tensor:
        return self.linear(feature_map.mean(dim=(2, 3)))


@MODELS.register_module()
class TinyVICReg(BaseAlgorithm):
    """Invariance and variance terms of VICReg (arXiv 2105.04906, section 4.1)."""

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        *,
        variance_weight: float = 1.0,
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor)
        self.neck = build_module(MODELS, dict(in_channels=self.backbone.out_channels[-1]) | neck)
        self.variance_weight = variance_weight

    def loss(self, views: ViewBatch) -> dict[str, Tensor]:
        z1, z2 = (self.neck(self.backbone(images)[-1]) for images in views.images)
        std = torch.cat([z1, z2], dim=1).var(dim=0).add(1e-4).sqrt()
        return dict(
            loss_invariance=(z1 - z2).square().mean(),
            loss_variance=self.variance_weight * torch.relu(1 - std).mean(),
            embedding_std=std.detach().mean(),
        )


@HOOKS.register_module()
class CountImagesHook(Hook):
    """Log how many images the run has seen."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        seen = runner.message_hub.get_info("num_images", 0) + len(data_batch["inputs"].index)
        runner.message_hub.update_info("num_images", seen)
