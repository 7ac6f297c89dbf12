"""MoBY: contrast a prediction with the momentum twin's keys of the other view, for Transformers.

Self-Supervised Learning with Swin Transformers, 2021, arXiv 2105.04553.
Compared with SwinTransformer/Transformer-SSL @11148ef (golden `moby`).

Deviations: a batch of any size goes into the queues (theirs must divide their length); products with
the queues are float32 under autocast (half precision there); no "BN before MLP" variant, whose released
code makes a new norm at every call.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmssl.losses import info_nce, unit_norm
from mmssl.models.backbones import view_and_map
from mmssl.models.memories import FeatureQueue
from mmssl.models.momentum_twin import MomentumTwin
from mmssl.ops.schedules import Cosine, Schedule
from mmssl.registry import MODELS, build_module
from mmssl.structures import ViewBatch

from .base import BaseAlgorithm

MOMENTUM = Cosine(0.99, 1.0)


@MODELS.register_module()
class MoBY(BaseAlgorithm):
    """MoCo v2's contrast over queues with BYOL's predictor, in both directions.

        loss = info_nce(p1, k2, Q2) + info_nce(p2, k1, Q1)

    p = head(neck(backbone(view))) and, from the twin, k = neck(backbone(view)), all of unit length; Q1
    and Q2 hold the keys of the first and of the second views of earlier batches. Each view is a forward
    pass of its own; the twin runs in train mode, without stochastic depth.

    Args:
        backbone: Returns feature maps; the view's feature is `view_and_map`'s.
        neck: Projector, (B, C) -> (B, D). A config may leave out `in_channels`, and `norm_cfg`, which
            then is BatchNorm.
        head: Predictor, (B, D) -> (B, D). A config may leave out channels and `norm_cfg`.
        queue_length: Keys per queue.
        temperature: Of both losses.
        momentum: Momentum of the twin, a number or a schedule; default cosine 0.99 -> 1.
        data_preprocessor: Default `ViewPreprocessor()`.
        init_cfg: Weight initialisation of the mm family.
    """

    def __init__(
        self,
        backbone: nn.Module | dict,
        neck: nn.Module | dict,
        head: nn.Module | dict,
        *,
        queue_length: int = 4096,
        temperature: float = 0.2,
        momentum: Schedule | dict | float = MOMENTUM,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor, init_cfg)
        norm = dict(type="BN1d")
        channels = self.backbone.out_channels[-1]
        self.neck = build_module(MODELS, neck, in_channels=channels, norm_cfg=norm)
        dim = self.neck.out_channels
        self.head = build_module(MODELS, head, in_channels=dim, out_channels=dim, norm_cfg=norm)
        self.temperature = temperature
        self.twin = MomentumTwin(
            self, ["backbone", "neck"], momentum=momentum, update_at="before_forward"
        )
        self.queues = nn.ModuleList(FeatureQueue(queue_length, dim) for _ in range(2))

    def project(self, net: nn.Module, images: Tensor) -> Tensor:
        """Projections (B, D) of `images`, by the online network (`self`) or by `self.twin`."""
        return net.neck(view_and_map(net.backbone, images)[0])

    def loss(self, views: ViewBatch) -> dict[str, Tensor]:
        """The contrastive loss of both directions, and diagnostics; then the keys go into the queues.

        Raises:
            ValueError: Not exactly two views.
        """
        images = self.two_views(views)
        q1, q2 = (unit_norm(self.head(self.project(self, view))) for view in images)
        with torch.no_grad():
            k1, k2 = (unit_norm(self.project(self.twin, view)) for view in images)
        # the backward pass needs the queues as they are now
        queue1, queue2 = (queue.features.clone() for queue in self.queues)
        loss = info_nce(q1, k2, queue2, temperature=self.temperature) + info_nce(
            q2, k1, queue1, temperature=self.temperature
        )
        for queue, keys in zip(self.queues, (k1, k2), strict=True):
            queue.enqueue(keys)
        with torch.no_grad():
            similarity = ((q1 * k2).sum(dim=1) + (q2 * k1).sum(dim=1)).mean() / 2
        return dict(
            loss=loss,
            similarity=similarity,
            embedding_std=q1.detach().std(dim=0, correction=0).mean(),
        )
