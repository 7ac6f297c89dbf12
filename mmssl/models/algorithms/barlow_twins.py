"""Barlow Twins: make the cross-correlation of the embeddings of two views the identity.

Barlow Twins: Self-Supervised Learning via Redundancy Reduction, 2021, arXiv 2103.03230.
Compared with facebookresearch/barlowtwins @8e8d284 (goldens `barlow_r14_w1`, `lars_barlow`).

Deviations: the correlation is float32 under autocast.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from mmssl.losses import redundancy_reduction, unit_norm
from mmssl.models.backbones import view_and_map
from mmssl.models.layers import norm_layer
from mmssl.ops.collectives import sum_with_own_grad, world_size
from mmssl.ops.precision import full_product
from mmssl.registry import MODELS, build_module
from mmssl.structures import ViewBatch

from .base import BaseAlgorithm

GradScale = Literal["released", "true"]


@MODELS.register_module()
class BarlowTwins(BaseAlgorithm):
    """Redundancy reduction.

        z = norm(neck(backbone(view))), each number of mean 0 and variance 1 over the batch
        c = z1' z2 / N over the images of all processes
        loss = sum_i (c_ii - 1)^2 + off_diagonal_weight * sum_{i != j} c_ij^2

    Each view is a forward pass of its own, with its own BatchNorm statistics, which should be those of all
    processes (`SyncBN`).

    Args:
        backbone: Returns feature maps; the view's feature is `view_and_map`'s.
        neck: Projector, (B, C) -> (B, D). A config may leave out everything but channels: three Linear layers
            without bias, a BatchNorm behind all but the last.
        norm_cfg: Of the norm on the embeddings, which has neither scale nor shift; default BatchNorm.
        off_diagonal_weight: lambda.
        grad_scale: `released` gives each process the gradient through its own images only, of which
            data-parallel training takes the mean: the gradient of the loss divided by the number of
            processes. LARS takes the size out again except for biases and norms, whose published learning
            rate belongs to the processes of the published run. `true` is the gradient of the loss, the
            same on any number of processes.
        data_preprocessor: Default `ViewPreprocessor()`.
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ValueError: An unknown `grad_scale`.
    """

    negatives_in_batch = True

    def __init__(
        self,
        backbone: nn.Module | dict,
        neck: nn.Module | dict,
        *,
        norm_cfg: dict | None = None,
        off_diagonal_weight: float = 0.0051,
        grad_scale: GradScale = "released",
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor, init_cfg)
        if grad_scale not in get_args(GradScale):
            raise ValueError(f"grad_scale must be 'released' or 'true', got {grad_scale!r}.")
        norm = dict(type="BN1d") if norm_cfg is None else dict(norm_cfg)
        self.neck = build_module(
            MODELS,
            neck,
            in_channels=self.backbone.out_channels[-1],
            num_layers=3,
            norm_cfg=norm,
            bias=False,
            last_bias=False,
        )
        self.norm = norm_layer(dict(norm, affine=False), self.neck.out_channels, maps=False)
        self.off_diagonal_weight = off_diagonal_weight
        self.grad_scale = grad_scale

    def project(self, images: Tensor) -> Tensor:
        """Embeddings (B, D) before their norm, float32 at least."""
        embeds = self.neck(view_and_map(self.backbone, images)[0])
        return embeds.to(torch.promote_types(embeds.dtype, torch.float32))

    def loss(self, views: ViewBatch) -> dict[str, Tensor]:
        """The distance of the cross-correlation to the identity, and diagnostics.

        Raises:
            ValueError: Not exactly two views.
        """
        embeds1, embeds2 = (self.project(images) for images in self.two_views(views))
        z1, z2 = self.norm(embeds1), self.norm(embeds2)
        own = full_product(z1.T, z2) / (len(z1) * world_size())
        correlation = sum_with_own_grad(own, before_mean=self.grad_scale == "true")
        loss = redundancy_reduction(correlation, off_diagonal_weight=self.off_diagonal_weight)
        with torch.no_grad():
            diagonal = correlation.diagonal()
            rest = torch.linalg.vector_norm(correlation).square() - diagonal.square().sum()
            pairs = max(correlation.numel() - len(correlation), 1)
        return dict(
            loss=loss,
            similarity=diagonal.detach().mean(),
            redundancy=(rest.clamp(min=0) / pairs).sqrt(),
            embedding_std=unit_norm(embeds1.detach()).std(dim=0, correction=0).mean(),
        )
