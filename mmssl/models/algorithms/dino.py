"""DINO: the student says of every crop what its momentum twin says of the other large crop.

Emerging properties in self-supervised vision transformers, 2021, arXiv 2104.14294; compared with
facebookresearch/dino and the view-only mode of microsoft/esvit (goldens `dino_loss`, `dino_vit`,
`train_step_view_only`).

Deviations: any number of small crops, of any sizes, also none; the last layer is in float32 under autocast.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mmssl.losses import (
    mixed_distillation,
    pair_weights,
    prototype_distillation,
    teacher_entropy,
)
from mmssl.models.backbones import crop_features
from mmssl.models.memories import Center
from mmssl.models.momentum_twin import MomentumTwin
from mmssl.ops.schedules import Cosine, LinearWarmup, Schedule, build_schedule
from mmssl.registry import MODELS, build_module
from mmssl.structures import ViewBatch

from .base import BaseAlgorithm

MOMENTUM = Cosine(0.996, 1.0)
TEACHER_TEMPERATURE = LinearWarmup(0.04, 0.07, 30)


@MODELS.register_module()
class DINO(BaseAlgorithm):
    """Self-distillation with no labels.

        loss = mean over pairs (v, q), v != q, of  - p_q log softmax(s_v / temperature)
        p_q  = softmax((t_q - center) / teacher_temperature)

    s are the student's logits of all crops, t those of its twin for the first two. The twin runs in
    train mode without stochastic depth; the center takes in a batch after it was used.

    Args:
        backbone: Its view feature (`view_and_map`) goes into the head.
        head: `DINOHead`; a config may leave out `in_channels`.
        temperature: Of the student.
        teacher_temperature: A number or a schedule over epochs; default 0.04 -> 0.07 in 30 epochs.
        center_momentum: Share of the old center.
        momentum: Momentum of the twin, a number or a schedule; default cosine 0.996 -> 1.
        mixup: `BatchMix`: the student sees the first views mixed within the batch, the twin clean ones,
            and every target counts by its share (an unpublished option of EsViT's code).
        num_mixup_views: Views that are mixed.
        max_logits: Logits that are held at a time (`prototype_distillation`).
        data_preprocessor: Default `ViewPreprocessor()`.
        init_cfg: Weight initialisation of the mm family.
    """

    published_branch = "twin"

    def __init__(
        self,
        backbone: nn.Module | dict,
        head: nn.Module | dict,
        *,
        temperature: float = 0.1,
        teacher_temperature: Schedule | dict | float = TEACHER_TEMPERATURE,
        center_momentum: float = 0.9,
        momentum: Schedule | dict | float = MOMENTUM,
        mixup: nn.Module | dict | None = None,
        num_mixup_views: int = 2,
        max_logits: int = 2**26,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor, init_cfg)
        channels = self.backbone.out_channels[-1]
        self.head = build_module(MODELS, head, type="DINOHead", in_channels=channels)
        self.center = Center(self.head.out_channels, center_momentum)
        self.temperature = temperature
        self.teacher_temperature = build_schedule(teacher_temperature)
        self.mixup = None if mixup is None else build_module(MODELS, mixup)
        self.num_mixup_views = num_mixup_views
        self.max_logits = max_logits
        self.uniform_losses = {"loss": math.log(self.head.out_channels)}
        self.twin = MomentumTwin(
            self, ["backbone", "head"], momentum=momentum, update_at="after_step"
        )

    def loss(self, views: ViewBatch) -> dict[str, Tensor]:
        """The cross-entropy over all pairs of views, and diagnostics.

        Raises:
            ValueError: Fewer than two views.
        """
        global_views = self.teacher_views(views)
        images, mixing = self._mixed(views.images)
        student = self.head.bottleneck(crop_features(self.backbone, images).views)
        with torch.no_grad():
            teacher = self.twin.head.bottleneck(
                crop_features(self.twin.backbone, global_views).views
            )
        pairs = pair_weights([1] * len(images))
        temperature = self.teacher_temperature(self.progress.epoch, self.progress.max_epochs)
        if mixing is None:
            loss = prototype_distillation(
                student,
                self.head.prototypes,
                teacher,
                self.twin.head.prototypes,
                self.center.mean,
                pairs,
                temperature=self.temperature,
                teacher_temperature=temperature,
                max_logits=self.max_logits,
            )
        else:
            logits = self.twin.head.last_layer(teacher).float()
            targets = ((logits - self.center.mean) / temperature).softmax(dim=-1)
            logits = self.head.last_layer(student)
            loss = mixed_distillation(logits, targets, pairs, mixing, temperature=self.temperature)
        entropy = teacher_entropy(
            teacher, self.twin.head.prototypes, self.center.mean, temperature=temperature
        )
        self.center.update_from_rows(teacher, self.twin.head.prototypes)
        return dict(
            loss=loss,
            teacher_entropy=entropy,
            center_norm=self.center.mean.norm(),
            embedding_std=student[:, 0].detach().float().std(dim=0, correction=0).mean(),
        )

    def _mixed(self, images: list[Tensor]) -> tuple[list[Tensor], Tensor | None]:
        """The views of the student and (V, B, B) shares; `None` without mixing."""
        if self.mixup is None:
            return images, None
        pairs = [self.mixup(view) for view in images[: self.num_mixup_views]]
        same = torch.eye(len(images[0]), device=images[0].device)
        shares = [share for _, share in pairs] + [same] * (len(images) - len(pairs))
        return [view for view, _ in pairs] + images[len(pairs) :], torch.stack(shares)
