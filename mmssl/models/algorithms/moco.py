"""MoCo v1 and v2: contrast a view with the momentum twin's key of another view, among a queue of keys.

Momentum Contrast for Unsupervised Visual Representation Learning, 2020, arXiv 1911.05722; Improved Baselines
with Momentum Contrastive Learning, 2020, arXiv 2003.04297.
Compared with facebookresearch/moco @7397dfe (goldens `mocov1_r18_w1`, `mocov2_r18_w1`, `moco_r18_*`).

Deviations: a batch of any size goes into the queue (theirs must divide its length); on one process nothing
is shuffled (there it changes the rounding only); the contrast is float32 under autocast.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmssl.losses import info_nce, unit_norm
from mmssl.models.backbones import view_and_map
from mmssl.models.memories import FeatureQueue
from mmssl.models.momentum_twin import MomentumTwin
from mmssl.ops.collectives import through_shuffled_batch
from mmssl.ops.schedules import Schedule
from mmssl.registry import MODELS, build_module
from mmssl.structures import ViewBatch

from .base import BaseAlgorithm


@MODELS.register_module()
class MoCo(BaseAlgorithm):
    """Momentum contrast; v1 and v2 differ in neck, temperature, views and learning rates only.

        q = neck(backbone(view 0)), k = twin(view 1)                all of unit length
        loss = info_nce(q, k, queue); then k goes into the queue

    BatchNorm is each process's own; the twin sees the views of all processes shuffled, so that a query and
    its key never share batch statistics.

    Args:
        backbone: Returns feature maps; the view's feature is `view_and_map`'s.
        neck: (B, C) -> (B, D): one Linear (v1) or Linear-ReLU-Linear (v2). A config may leave out
            `in_channels`.
        queue_length: K, keys in the queue.
        temperature: t, 0.07 (v1) or 0.2 (v2).
        momentum: Of the twin, a number or a schedule.
        data_preprocessor: Default `ViewPreprocessor()`.
        init_cfg: Weight initialisation of the mm family.
    """

    def __init__(
        self,
        backbone: nn.Module | dict,
        neck: nn.Module | dict,
        *,
        queue_length: int = 65536,
        temperature: float = 0.2,
        momentum: Schedule | dict | float = 0.999,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor, init_cfg)
        self.neck = build_module(MODELS, neck, in_channels=self.backbone.out_channels[-1])
        self.temperature = temperature
        self.twin = MomentumTwin(
            self, ["backbone", "neck"], momentum=momentum, update_at="before_forward"
        )
        self.queue = FeatureQueue(queue_length, self.neck.out_channels)

    def project(self, net: nn.Module, images: Tensor) -> Tensor:
        """Unit embeddings (B, D) of `images`, by the online network (`self`) or by `self.twin`."""
        return unit_norm(net.neck(view_and_map(net.backbone, images)[0]))

    def loss(self, views: ViewBatch) -> dict[str, Tensor]:
        """The contrastive loss, and diagnostics; then the keys go into the queue.

        Raises:
            ValueError: Not exactly two views.
        """
        queries, others = self.two_views(views)
        q = self.project(self, queries)
        k = through_shuffled_batch(lambda images: self.project(self.twin, images), others)
        # the backward pass needs the queue as it is now
        loss = info_nce(q, k, self.queue.features.clone(), temperature=self.temperature)
        self.queue.enqueue(k)
        with torch.no_grad():
            similarity = (q * k).sum(dim=1).mean()
            spread = q.std(dim=0, correction=0).mean()
        return dict(loss=loss, similarity=similarity, embedding_std=spread)
