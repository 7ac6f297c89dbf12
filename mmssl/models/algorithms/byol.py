"""BYOL: predict the momentum twin's projection of the other view.

Bootstrap your own latent: a new approach to self-supervised learning, 2020, arXiv 2006.07733.
Compared with deepmind-research/byol @f5de0ed (goldens `byol_heads_a`, `schedules_byol`, `lars_byol`).

Deviations: the twin starts as a copy of the online network (theirs from another seed); no classifier is
trained alongside (use the kNN hook or a linear probe).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmssl.losses import cosine_regression, unit_norm
from mmssl.models.momentum_twin import MomentumTwin
from mmssl.models.necks import AvgPool
from mmssl.ops.schedules import Cosine, Schedule
from mmssl.registry import MODELS, build_module
from mmssl.structures import ViewBatch

from .base import BaseAlgorithm

MOMENTUM = Cosine(0.996, 1.0)


@MODELS.register_module()
class BYOL(BaseAlgorithm):
    """Bootstrap your own latent.

        loss = |p(z1) - z2'|^2 + |p(z2) - z1'|^2       all of unit length, batch mean; z' from the twin

    Each view is a forward pass of its own, with its own BatchNorm statistics; the twin runs in train
    mode.

    Args:
        backbone: Returns feature maps; the last one is pooled.
        neck: Projector, (B, C) -> (B, D). A config may leave out `in_channels`, and `norm_cfg`, which
            then is BatchNorm.
        head: Predictor, (B, D) -> (B, D). A config may leave out channels and `norm_cfg`.
        momentum: Momentum of the twin, a number or a schedule; default cosine 0.996 -> 1.
        data_preprocessor: Default `ViewPreprocessor()`.
        init_cfg: Weight initialisation of the mm family.
    """

    def __init__(
        self,
        backbone: nn.Module | dict,
        neck: nn.Module | dict,
        head: nn.Module | dict,
        *,
        momentum: Schedule | dict | float = MOMENTUM,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor, init_cfg)
        # Without norms in its heads BYOL collapses, so they are not left to the config.
        norm, channels = dict(type="BN1d"), self.backbone.out_channels[-1]
        self.neck = build_module(MODELS, neck, in_channels=channels, norm_cfg=norm)
        dim = self.neck.out_channels
        self.head = build_module(MODELS, head, in_channels=dim, out_channels=dim, norm_cfg=norm)
        self.pool = AvgPool()
        self.twin = MomentumTwin(
            self, ["backbone", "neck"], momentum=momentum, update_at="after_step"
        )

    def project(self, net: nn.Module, images: Tensor) -> Tensor:
        """Projections (B, D) of `images`, by the online network (`self`) or by `self.twin`."""
        return net.neck(self.pool(net.backbone(images)))

    def loss(self, views: ViewBatch) -> dict[str, Tensor]:
        """The regression loss of both directions, and diagnostics.

        Raises:
            ValueError: Not exactly two views.
        """
        view1, view2 = self.two_views(views)
        prediction1 = unit_norm(self.head(self.project(self, view1)))
        prediction2 = unit_norm(self.head(self.project(self, view2)))
        with torch.no_grad():
            target1 = unit_norm(self.project(self.twin, view2))
            target2 = unit_norm(self.project(self.twin, view1))
        loss = cosine_regression(prediction1, target1) + cosine_regression(prediction2, target2)
        return dict(
            loss=loss,
            similarity=1 - loss.detach() / 4,
            embedding_std=prediction1.detach().std(dim=0, correction=0).mean(),
        )
