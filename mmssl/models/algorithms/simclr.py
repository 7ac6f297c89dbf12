"""SimCLR: tell the other view of an image from all other views of the batch.

A Simple Framework for Contrastive Learning of Visual Representations, 2020, arXiv 2002.05709; Big
Self-Supervised Models are Strong Semi-Supervised Learners (v2), 2020, arXiv 2006.10029.
Compared with google-research/simclr @383d414 (goldens `simclr_ntxent_a`, `simclr_ntxent_b`,
`simclr_head_2l`, `lars_simclr_classic`, `schedules_simclr`).

Deviations: no classifier is trained alongside (use the kNN hook or a linear probe); the contrast is
float32 under autocast.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmssl.losses import nt_xent, unit_norm
from mmssl.models.backbones import view_and_map
from mmssl.ops.collectives import gather_cat_with_grad, rank
from mmssl.registry import MODELS, build_module
from mmssl.structures import ViewBatch

from .base import BaseAlgorithm


@MODELS.register_module()
class SimCLR(BaseAlgorithm):
    """Contrast within a batch.

        z = neck(backbone(both views in one pass)), of unit length
        loss = nt_xent(z of view 0, z of view 1, those of all processes)

    Both views share batch statistics, which should be those of all processes (`SyncBN`): local ones would
    tell which rows belong together.

    Args:
        backbone: Returns feature maps; the view's feature is `view_and_map`'s.
        neck: (B, C) -> (B, D). v1 has two layers, v2 and the released code three, each Linear without bias
            and BatchNorm, the last one's without shift: `dict(type='MLPNeck', num_layers=2, bias=False,
            last_bias=False, norm_cfg=dict(type='SyncBN'), last_norm_cfg=dict(type='SyncBN', bias=False))`.
            A config may leave out `in_channels`, and `hid_channels`, which then is the same.
        temperature: t.
        loss_scale: 2 is the sum of both views' means, as released, 1 the mean over all rows, as in the
            article. With LARS it matters for biases and norms only, which are not scaled.
        gather_grad: Whether gradients pass through the rows of other processes, as released. Without, those
            are constants and nothing has to be sent back.
        data_preprocessor: Default `ViewPreprocessor()`.
        init_cfg: Weight initialisation of the mm family.
    """

    negatives_in_batch = True

    def __init__(
        self,
        backbone: nn.Module | dict,
        neck: nn.Module | dict,
        *,
        temperature: float = 0.1,
        loss_scale: float = 2.0,
        gather_grad: bool = True,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor, init_cfg)
        channels = self.backbone.out_channels[-1]
        self.neck = build_module(MODELS, neck, in_channels=channels, hid_channels=channels)
        self.temperature = temperature
        self.loss_scale = loss_scale
        self.gather_grad = gather_grad

    def loss(self, views: ViewBatch) -> dict[str, Tensor]:
        """The contrastive loss, and diagnostics.

        Raises:
            ValueError: Not exactly two views, or one image, from which there is nothing to tell.
        """
        both = torch.cat(self.two_views(views))
        first, second = unit_norm(self.neck(view_and_map(self.backbone, both)[0])).chunk(2)
        all_first, all_second = (
            gather_cat_with_grad(rows, others=self.gather_grad) for rows in (first, second)
        )
        if len(all_first) == 1:
            raise ValueError(
                "SimCLR got a batch of one image over all processes, so there is no other image to tell it "
                "from; use a larger batch_size (and drop_last=True)."
            )
        loss = nt_xent(
            first,
            second,
            all_first,
            all_second,
            temperature=self.temperature,
            offset=rank() * len(first),
            scale=self.loss_scale,
        )
        with torch.no_grad():
            similarity = (first * second).sum(dim=1).mean()
            spread = first.std(dim=0, correction=0).mean()
        return dict(loss=loss, similarity=similarity, embedding_std=spread)
