"""MoCo v3: contrast predictions with the momentum twin's keys of the other view, among those of the batch.

An Empirical Study of Training Self-Supervised Vision Transformers, 2021, arXiv 2104.02057.
Compared with facebookresearch/moco-v3 @c349e6e (goldens `mocov3_r18_w1`, `mocov3_vit_w1`,
`mocov3_pos_embed`, `lars_mocov3`, `schedules_a`).

Deviations: the contrast is float32 under autocast.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmssl.losses import contrast_among, unit_norm
from mmssl.models.backbones import view_and_map
from mmssl.models.momentum_twin import MomentumTwin
from mmssl.ops.collectives import gather_cat, own_rows, world_size
from mmssl.ops.schedules import Cosine, Schedule
from mmssl.registry import MODELS, build_module
from mmssl.structures import ViewBatch

from .base import BaseAlgorithm

MOMENTUM = Cosine(0.99, 1.0)


@MODELS.register_module()
class MoCoV3(BaseAlgorithm):
    """Momentum contrast without a queue.

        q = head(neck(backbone(view))), k = twin(view)              all of unit length
        loss = ctr(q1, k2) + ctr(q2, k1)
        ctr(q, k)_i = - 2 t log( exp(q_i.k_i / t) / sum_j exp(q_i.k_j / t) )     j: images of all processes

    Each view is a forward pass of its own, with its own BatchNorm statistics, which should be those of all
    processes (`SyncBN`); the twin runs in train mode.

    Args:
        backbone: Its view feature (`view_and_map`) goes into the neck: the pooled map of a ResNet, the class
            token of a ViT, whose recipe has `positions='sincos', frozen_patch_embed=True`.
        neck: Projector, (B, C) -> (B, D): two layers on a ResNet, three on a ViT. A config may leave out
            `in_channels`, biases (none) and norms: BatchNorm behind each layer, the last one's without scale
            and shift.
        head: Predictor, (B, D) -> (B, D). A config may leave out the same; give `last_norm_cfg=None` on a
            ResNet, where nothing follows the last layer.
        temperature: t, 1.0 on a ResNet, 0.2 on a ViT.
        momentum: Momentum of the twin, a number or a schedule; default cosine 0.99 -> 1.
        data_preprocessor: Default `ViewPreprocessor()`.
        init_cfg: Weight initialisation of the mm family.
    """

    negatives_in_batch = True

    def __init__(
        self,
        backbone: nn.Module | dict,
        neck: nn.Module | dict,
        head: nn.Module | dict,
        *,
        temperature: float = 1.0,
        momentum: Schedule | dict | float = MOMENTUM,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor, init_cfg)
        if isinstance(neck, dict):
            neck = _without_bias(neck, dict(in_channels=self.backbone.out_channels[-1]))
        self.neck = build_module(MODELS, neck)
        if isinstance(head, dict):
            dim = self.neck.out_channels
            head = _without_bias(head, dict(in_channels=dim, out_channels=dim))
        self.head = build_module(MODELS, head)
        self.temperature = temperature
        self.twin = MomentumTwin(
            self, ["backbone", "neck"], momentum=momentum, update_at="before_forward"
        )

    def project(self, net: nn.Module, images: Tensor) -> Tensor:
        """Projections (B, D) of `images`, by the online network (`self`) or by `self.twin`."""
        return net.neck(view_and_map(net.backbone, images)[0])

    def loss(self, views: ViewBatch) -> dict[str, Tensor]:
        """The contrastive loss of both directions, and diagnostics.

        Raises:
            ValueError: Not exactly two views, or one image, from which there is nothing to tell.
        """
        images = self.two_views(views)
        if len(images[0]) * world_size() == 1:
            raise ValueError(
                "MoCo v3 got a batch of one image over all processes, so there is no other key to tell its "
                "own from; use a larger batch_size (and drop_last=True)."
            )
        q1, q2 = (unit_norm(self.head(self.project(self, view))) for view in images)
        with torch.no_grad():
            k1, k2 = (unit_norm(self.project(self.twin, view)) for view in images)
            similarity = ((q1 * k2).sum(dim=1) + (q2 * k1).sum(dim=1)).mean() / 2
        own = own_rows(len(q1), q1.device)
        contrasts = [
            contrast_among(q, gather_cat(k), own, temperature=self.temperature)
            for q, k in ((q1, k2), (q2, k1))
        ]
        return dict(
            loss=2 * self.temperature * (contrasts[0] + contrasts[1]),
            similarity=similarity,
            embedding_std=q1.detach().std(dim=0, correction=0).mean(),
        )


def _without_bias(config: dict, channels: dict) -> dict:
    """The MLP of a config with the defaults of the method."""
    norm = config.get("norm_cfg", dict(type="BN1d"))
    last = None if norm is None else dict(norm, affine=False)
    norms = dict(norm_cfg=norm, last_norm_cfg=last)
    return channels | norms | dict(bias=False, last_bias=False) | config
