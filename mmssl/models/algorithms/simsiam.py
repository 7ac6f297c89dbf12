"""SimSiam: predict the other view's projection, which is held constant; no twin, no negatives.

Exploring Simple Siamese Representation Learning, 2021, arXiv 2011.10566.
Compared with facebookresearch/simsiam @a7bc177 (golden `simsiam_r18`).

Deviations: cosines are float32 under autocast.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmssl.losses import cosine_regression, unit_norm
from mmssl.models.backbones import view_and_map
from mmssl.registry import MODELS, build_module
from mmssl.structures import ViewBatch

from .base import BaseAlgorithm


@MODELS.register_module()
class SimSiam(BaseAlgorithm):
    """A simple Siamese network.

        z = neck(backbone(view)), p = head(z)
        loss = - ( cos(p1, stop(z2)) + cos(p2, stop(z1)) ) / 2         -1 where all agree, as after a collapse

    Each view is a forward pass of its own, with its own BatchNorm statistics, which should be those of all
    processes (`SyncBN`). The recipe keeps the predictor's learning rate constant:
    `paramwise_cfg=dict(constant_lr=("head",))`.

    Args:
        backbone: Returns feature maps; the view's feature is `view_and_map`'s.
        neck: Projector, (B, C) -> (B, D). A config may leave out everything but `out_channels`: three
            Linear layers without bias, each with a BatchNorm, the last one's without scale and shift; the
            bias before that one is there and never trained, as released.
        head: Predictor, (B, D) -> (B, D). A config may leave out everything: a bottleneck of D / 4.
        data_preprocessor: Default `ViewPreprocessor()`.
        init_cfg: Weight initialisation of the mm family.
    """

    def __init__(
        self,
        backbone: nn.Module | dict,
        neck: nn.Module | dict,
        head: nn.Module | dict,
        *,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor, init_cfg)
        if isinstance(neck, dict):
            channels = self.backbone.out_channels[-1]
            norm = neck.get("norm_cfg", dict(type="BN1d"))
            last_norm = None if norm is None else dict(norm, affine=False)
            neck = (
                dict(in_channels=channels, hid_channels=channels, num_layers=3, bias=False)
                | dict(last_bias="frozen", norm_cfg=norm, last_norm_cfg=last_norm)
                | neck
            )
        self.neck = build_module(MODELS, neck)
        dim = self.neck.out_channels
        self.head = build_module(
            MODELS,
            head,
            in_channels=dim,
            hid_channels=max(dim // 4, 1),
            out_channels=dim,
            bias=False,
            norm_cfg=dict(type="BN1d"),
        )

    def loss(self, views: ViewBatch) -> dict[str, Tensor]:
        """The negative cosine of both directions, and diagnostics.

        Raises:
            ValueError: Not exactly two views.
        """
        z1, z2 = (
            self.neck(view_and_map(self.backbone, images)[0]) for images in self.two_views(views)
        )
        p1, p2 = unit_norm(self.head(z1)), unit_norm(self.head(z2))
        target1, target2 = unit_norm(z2.detach()), unit_norm(z1.detach())
        distance = cosine_regression(p1, target1) + cosine_regression(p2, target2)
        with torch.no_grad():
            # 1 / sqrt(D) where directions are spread evenly, 0 after a collapse
            spread = target1.std(dim=0, correction=0).mean()
        return dict(
            loss=distance / 4 - 1,
            similarity=1 - distance.detach() / 4,
            embedding_std=spread,
        )
