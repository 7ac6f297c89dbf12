"""InfoMin: MoCo with views that share less, and shuffled patches of a third that have to find the key too.

What Makes for Good Views for Contrastive Learning?, 2020, arXiv 2005.10243; the jigsaw branch is PIRL's
(arXiv 1912.01991). After HobbitLong/PyContrast; of its numbers no golden is known, of its names one is.

Deviations: contrasts are float32 under autocast; shuffling BatchNorm exchanges keys among all processes
(theirs within a machine).
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
class InfoMin(BaseAlgorithm):
    """Momentum contrast of a view and of a jigsaw with the same key.

        q = neck(backbone(view 0)), k = twin(view 1), j = jigsaw_head(backbone(patches of view 2))
        loss = (1 - jigsaw_weight) info_nce(q, k, queue) + jigsaw_weight info_nce(j, k, queue)

    All of unit length; then k goes into the queue. BatchNorm is each process's own; the twin sees the views
    of all processes shuffled, and follows after the optimizer's step.

    Args:
        backbone: Returns feature maps; the view's feature is `view_and_map`'s.
        neck: (B, C) -> (B, D), as MoCo v2's. A config may leave out `in_channels`.
        jigsaw_head: `JigsawHead`; a config may leave out everything.
        jigsaw_weight: Share of the jigsaw in the loss.
        queue_length: Keys in the queue.
        temperature: Of both contrasts.
        momentum: Of the twin, a number or a schedule.
        data_preprocessor: Default `ViewPreprocessor()`.
        init_cfg: Weight initialisation of the mm family.
    """

    def __init__(
        self,
        backbone: nn.Module | dict,
        neck: nn.Module | dict,
        *,
        jigsaw_head: nn.Module | dict | None = None,
        jigsaw_weight: float = 0.5,
        queue_length: int = 65536,
        temperature: float = 0.15,
        momentum: Schedule | dict | float = 0.999,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor, init_cfg)
        channels = self.backbone.out_channels[-1]
        self.neck = build_module(MODELS, neck, in_channels=channels)
        self.jigsaw_head = build_module(
            MODELS,
            {} if jigsaw_head is None else jigsaw_head,
            type="JigsawHead",
            in_channels=channels,
            out_channels=self.neck.out_channels,
        )
        self.jigsaw_weight = jigsaw_weight
        self.temperature = temperature
        self.twin = MomentumTwin(
            self, ["backbone", "neck"], momentum=momentum, update_at="after_step"
        )
        self.queue = FeatureQueue(queue_length, self.neck.out_channels)

    def project(self, net: nn.Module, images: Tensor) -> Tensor:
        """Unit embeddings (B, D) of `images`, by the online network (`self`) or by `self.twin`."""
        return unit_norm(net.neck(view_and_map(net.backbone, images)[0]))

    def puzzle(self, picture: Tensor) -> Tensor:
        """Unit embeddings (B, D) of pictures (B, 3, G * S, G * S) of G x G patches side by side."""
        side = round(self.jigsaw_head.num_patches**0.5)
        if any(length % side for length in picture.shape[2:]):
            raise ValueError(
                f"The third view is {side} x {side} patches side by side (`PatchGrid`), got a picture of "
                f"{picture.shape[2]} x {picture.shape[3]} pixels."
            )
        cells = picture.unflatten(3, (side, -1)).unflatten(2, (side, -1))  # (B, 3, G, S, G, S)
        patches = cells.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
        feats = view_and_map(self.backbone, patches.flatten(0, 1))[0]
        return unit_norm(self.jigsaw_head(feats.unflatten(0, patches.shape[:2])))

    def loss(self, views: ViewBatch) -> dict[str, Tensor]:
        """The two contrasts, and diagnostics; then the keys go into the queue.

        Raises:
            ValueError: Not exactly three views, or a third one that is no grid of patches.
        """
        if len(views.images) != 3:
            raise ValueError(
                "InfoMin needs a query, a key and a grid of patches per image, got "
                f"{len(views.images)} views (see configs/_base_/views/infomin.py)."
            )
        queries, others, pictures = views.images
        q, jigsaw = self.project(self, queries), self.puzzle(pictures)
        k = through_shuffled_batch(lambda images: self.project(self.twin, images), others)
        # the backward pass needs the queue as it is now
        queue = self.queue.features.clone()
        contrast = info_nce(q, k, queue, temperature=self.temperature)
        of_jigsaw = info_nce(jigsaw, k, queue, temperature=self.temperature)
        self.queue.enqueue(k)
        with torch.no_grad():
            similarity = (q * k).sum(dim=1).mean()
            spread = q.std(dim=0, correction=0).mean()
        return dict(
            loss_view=(1 - self.jigsaw_weight) * contrast,
            loss_jigsaw=self.jigsaw_weight * of_jigsaw,
            similarity=similarity,
            embedding_std=spread,
        )
