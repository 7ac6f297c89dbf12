"""EsViT: DINO on views, and the same on regions that are matched between views.

Efficient self-supervised vision transformers for representation learning, 2022, arXiv 2106.09785;
compared with microsoft/esvit (goldens `ddino_loss*`, `train_step`, `train_step_lars`).

Deviations from the code: any number of small crops, of any sizes, also none; cosines of the matching in
float32 also under autocast (`match_dtype`); the last layers are in float32 under autocast. From the
article: both terms weigh one half, as in the code.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from mmssl.losses import (
    matched_regression,
    pair_weights,
    prototype_distillation,
    region_pairs,
    teacher_entropy,
)
from mmssl.models.backbones import crop_features, sampled_regions
from mmssl.models.memories import Center
from mmssl.models.momentum_twin import MomentumTwin
from mmssl.ops.schedules import Cosine, LinearWarmup, Schedule, build_schedule
from mmssl.registry import MODELS, build_module
from mmssl.structures import ViewBatch

from .base import BaseAlgorithm

MOMENTUM = Cosine(0.996, 1.0)
TEACHER_TEMPERATURE = LinearWarmup(0.04, 0.07, 30)


@MODELS.register_module()
class EsViT(BaseAlgorithm):
    """Self-distillation of views and of regions.

        loss = view_weight * L_V + region_weight * L_R
        L_V  = mean over pairs (v, q), v != q, of  - p_q log softmax(s_v / temperature)
        L_R  = the same over regions i of v, each with the region of q that is most similar to it:
               mean over pairs and i of  - p'_q[j(i)] log softmax(s'_v[i] / temperature)
        j(i) = argmax_j cos(f_v[i], f'_q[j])
        p    = softmax((t - center) / teacher_temperature)

    f are features of the backbones, s and t logits of the heads of student and twin; views and regions
    have heads and centers of their own. The student sees all crops, the twin the first two.

    Args:
        backbone: The positions of its last map are the regions.
        head: `DINOHead` for views; a config may leave out `in_channels`.
        region_head: `DINOHead` for regions, likewise.
        temperature: Of the student.
        teacher_temperature: A number or a schedule over epochs; default 0.04 -> 0.07 in 30 epochs.
        view_weight: Of L_V.
        region_weight: Of L_R.
        region_loss: `softmax` as above, or `mse`: squared distance of the heads' unit rows (the article's
            comparison; the center of regions then stays unused).
        match: `argmax`, or `transport` (see `region_pairs`).
        match_dtype: Precision of the matching, a name such as `float16`; default that of the features.
        num_sampled_regions: Regions of each student view that take part, drawn anew for every batch;
            default all (the article's test on DeiT).
        center_momentum: Share of the old centers.
        momentum: Momentum of the twin, a number or a schedule; default cosine 0.996 -> 1.
        max_logits: Logits that are held at a time (`prototype_distillation`).
        data_preprocessor: Default `ViewPreprocessor()`.
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ValueError: An unknown `region_loss`, `match` or `match_dtype`, or less than one sampled region.
    """

    published_branch = "twin"

    def __init__(
        self,
        backbone: nn.Module | dict,
        head: nn.Module | dict,
        region_head: nn.Module | dict,
        *,
        temperature: float = 0.1,
        teacher_temperature: Schedule | dict | float = TEACHER_TEMPERATURE,
        view_weight: float = 0.5,
        region_weight: float = 0.5,
        region_loss: Literal["softmax", "mse"] = "softmax",
        match: Literal["argmax", "transport"] = "argmax",
        match_dtype: str | None = None,
        num_sampled_regions: int | None = None,
        center_momentum: float = 0.9,
        momentum: Schedule | dict | float = MOMENTUM,
        max_logits: int = 2**26,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor, init_cfg)
        for name, value, valid in (
            ("region_loss", region_loss, ("softmax", "mse")),
            ("match", match, ("argmax", "transport")),
            ("match_dtype", match_dtype, (None, "float16", "bfloat16", "float32", "float64")),
        ):
            if value not in valid:
                raise ValueError(f"{name} must be one of {valid}, got {value!r}.")
        if num_sampled_regions is not None and num_sampled_regions < 1:
            raise ValueError(f"num_sampled_regions must be at least 1, got {num_sampled_regions}.")
        usual = dict(type="DINOHead", in_channels=self.backbone.out_channels[-1])
        self.head = build_module(MODELS, head, **usual)
        self.region_head = build_module(MODELS, region_head, **usual)
        if region_loss == "mse":
            # compares the rows before it
            self.region_head.last_layer.requires_grad_(False)
        self.center = Center(self.head.out_channels, center_momentum)
        self.region_center = Center(self.region_head.out_channels, center_momentum)
        self.temperature = temperature
        self.teacher_temperature = build_schedule(teacher_temperature)
        self.view_weight, self.region_weight = view_weight, region_weight
        self.region_loss, self.match = region_loss, match
        self.match_dtype = None if match_dtype is None else getattr(torch, match_dtype)
        self.num_sampled_regions = num_sampled_regions
        self.max_logits = max_logits
        self.uniform_losses = {"loss_view": view_weight * math.log(self.head.out_channels)}
        if region_loss == "softmax":
            uniform = region_weight * math.log(self.region_head.out_channels)
            self.uniform_losses["loss_region"] = uniform
        self.twin = MomentumTwin(
            self, ["backbone", "head", "region_head"], momentum=momentum, update_at="after_step"
        )

    def loss(self, views: ViewBatch) -> dict[str, Tensor]:
        """Both terms, and diagnostics.

        Raises:
            ValueError: Fewer than two views.
        """
        global_views = self.teacher_views(views)
        student = sampled_regions(
            crop_features(self.backbone, views.images), self.num_sampled_regions
        )
        own_views = self.head.bottleneck(student.views)
        own_regions = self.region_head.bottleneck(student.regions)
        with torch.no_grad():
            teacher = crop_features(self.twin.backbone, global_views)
            target_views = self.twin.head.bottleneck(teacher.views)
            target_regions = self.twin.region_head.bottleneck(teacher.regions)
        pairs = region_pairs(
            student.regions,
            teacher.regions,
            student.sizes,
            match=self.match,
            dtype=self.match_dtype,
        )
        entropy = teacher_entropy(
            target_views,
            self.twin.head.prototypes,
            self.center.mean,
            temperature=self.teacher_temperature(self.progress.epoch, self.progress.max_epochs),
        )
        view_pairs = pair_weights([1] * len(views.images))
        loss_view = self._distill("head", self.center, own_views, target_views, view_pairs)
        if self.region_loss == "mse":
            loss_region = matched_regression(own_regions, target_regions, pairs)
        else:
            loss_region = self._distill(
                "region_head", self.region_center, own_regions, target_regions, pairs
            )
        return dict(
            loss_view=self.view_weight * loss_view,
            loss_region=self.region_weight * loss_region,
            teacher_entropy=entropy,
            center_norm=self.center.mean.norm(),
            embedding_std=own_views[:, 0].detach().float().std(dim=0, correction=0).mean(),
        )

    def _distill(
        self, head: str, center: Center, student: Tensor, teacher: Tensor, pairs: Tensor
    ) -> Tensor:
        """The loss of one level; its center takes in the batch afterwards."""
        targets = self.twin.get_submodule(head).prototypes
        loss = prototype_distillation(
            student,
            self.get_submodule(head).prototypes,
            teacher,
            targets,
            center.mean,
            pairs,
            temperature=self.temperature,
            teacher_temperature=self.teacher_temperature(
                self.progress.epoch, self.progress.max_epochs
            ),
            max_logits=self.max_logits,
        )
        center.update_from_rows(teacher, targets)
        return loss
