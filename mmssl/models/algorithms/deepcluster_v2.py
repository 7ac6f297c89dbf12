"""DeepCluster-v2: every view predicts the cluster of its image among the embeddings of the last epoch.

Unsupervised Learning of Visual Features by Contrasting Cluster Assignments, 2020, arXiv 2006.09882; its
repository facebookresearch/swav has the code. No golden pins it: compared with a description.

Deviations: the first centroids of k-means are random rows of all processes, those of the first one there,
and an image's row is found by its position, on whatever process; so the clusters are the same on any number
of processes. The pass that fills the memory before the first epoch sees the large views together, as
training does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from mmssl.losses import assignment_cross_entropy, unit_norm
from mmssl.models.backbones import crop_features
from mmssl.models.heads import PrototypesHead
from mmssl.models.memories import EpochMemory
from mmssl.ops.spherical_kmeans import SphericalClusters
from mmssl.registry import MODELS, build_module
from mmssl.structures import ViewBatch

from .base import BaseAlgorithm


@MODELS.register_module()
class DeepClusterV2(BaseAlgorithm):
    """Classification of all views among clusters of the data set, which k-means finds anew for each epoch.

        z_v  = neck(backbone(view v)) of unit length; scores of head h are its products with centroids C_h
        loss = mean over heads of assignment_cross_entropy(z_v . C_h, cluster of the image, t), over all v

    `MemoryClusterHook` clusters `memory` before each epoch: the embeddings of the large views that the last
    epoch made, view h mod Q for head h. The centroids are the heads' weights, which nothing else trains.
    Neighbouring views of equal size share a pass, and so batch statistics, which should be those of all
    processes (`SyncBN`); all views pass the neck together.

    Args:
        backbone: Returns feature maps; the view's feature is `view_and_map`'s.
        neck: Projector, (B, C) -> (B, D). A config may leave out `in_channels`, `hid_channels`, which then is
            the same, and `norm_cfg`, which then is BatchNorm.
        num_samples: Images of the training set.
        num_prototypes: Clusters of each head.
        num_banks: Q, large views, the first ones, whose embeddings are clustered.
        temperature: t.
        data_preprocessor: Default `ViewPreprocessor()`.
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ValueError: No head, no bank, or fewer images than prototypes.
    """

    def __init__(
        self,
        backbone: nn.Module | dict,
        neck: nn.Module | dict,
        num_samples: int,
        *,
        num_prototypes: Sequence[int] = (3000, 3000, 3000),
        num_banks: int = 2,
        temperature: float = 0.1,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor, init_cfg)
        if not num_prototypes or num_banks < 1 or num_samples < max(num_prototypes):
            raise ValueError(
                "DeepClusterV2 needs num_prototypes for one head or more, num_banks >= 1 and at least as "
                f"many images as prototypes, got num_prototypes={tuple(num_prototypes)}, "
                f"num_banks={num_banks} and num_samples={num_samples}. Lower num_prototypes well below the "
                "number of images."
            )
        channels, norm = self.backbone.out_channels[-1], dict(type="BN1d")
        self.neck = build_module(
            MODELS, neck, in_channels=channels, hid_channels=channels, norm_cfg=norm
        )
        dim = self.neck.out_channels
        self.heads = nn.ModuleList(PrototypesHead(dim, number) for number in num_prototypes)
        # centroids are found, not trained
        self.heads.requires_grad_(False)
        uniform = sum(map(math.log, num_prototypes)) / len(num_prototypes)
        self.uniform_losses = {"loss": uniform}
        self.num_samples, self.temperature = num_samples, temperature
        self.memory = EpochMemory(
            num_samples, dim, num_banks=num_banks, num_heads=len(num_prototypes)
        )

    @property
    def num_prototypes(self) -> list[int]:
        """Clusters of each head."""
        return [cast(PrototypesHead, head).prototypes.out_features for head in self.heads]

    def embed(self, images: Sequence[Tensor]) -> Tensor:
        """Unit embeddings (V, B, D) of views (B, 3, H, W) each."""
        features = crop_features(self.backbone, images).views.transpose(0, 1)
        return unit_norm(self.neck(features.flatten(0, 1))).unflatten(0, features.shape[:2])

    @torch.no_grad()
    def remember(self, views: ViewBatch) -> None:
        """Put the embeddings of a batch into the memory without a loss, as before the first epoch.

        Raises:
            ValueError: Too few views, or an image that has no row.
        """
        large = self.teacher_views(views, self.memory.embeds.shape[1])
        self.memory.check(views.index)
        self.memory.write(views.index, self.embed(large))

    @torch.no_grad()
    def load_clusters(self, found: Sequence[SphericalClusters], *, epoch: int) -> None:
        """Take over the clusters that were found at the beginning of an epoch, for each head."""
        for head, clusters in zip(self.heads, found, strict=True):
            cast(PrototypesHead, head).prototypes.weight.copy_(clusters.centroids)
        self.memory.load(found, epoch=epoch)

    def loss(self, views: ViewBatch) -> dict[str, Tensor]:
        """The cross-entropy of all views, and diagnostics; then the memory takes the embeddings.

        Raises:
            RuntimeError: Nothing was clustered yet.
            ValueError: Fewer views than banks, or an image that has no row.
        """
        num_banks = self.memory.embeds.shape[1]
        self.teacher_views(views, max(num_banks, 2))
        if not self.memory.is_ready:
            raise RuntimeError(
                "DeepClusterV2 has no clusters to predict. Add dict(type='MemoryClusterHook') to "
                "custom_hooks, which finds them before each epoch."
            )
        embeds = self.embed(views.images)
        # behind the network, which a GPU works at while positions are looked at
        assigned = self.memory.assigned(views.index)
        scores = [head(embeds) for head in self.heads]
        losses = [
            assignment_cross_entropy(score, own, temperature=self.temperature)
            for score, own in zip(scores, assigned, strict=True)
        ]
        with torch.no_grad():
            large = embeds.detach()[:num_banks]
            right = (scores[0].argmax(dim=2) == assigned[0]).float().mean()
            spread = large[0].std(dim=0, correction=0).mean()
        self.memory.write(views.index, large)
        return dict(loss=torch.stack(losses).mean(), accuracy=right, embedding_std=spread)
