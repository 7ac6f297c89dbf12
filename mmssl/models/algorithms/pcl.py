"""PCL: instance contrast, and contrast with prototypes of several clusterings of the data set.

Prototypical Contrastive Learning of Unsupervised Representations, 2021, arXiv 2005.04966.
Compared with salesforce/PCL (goldens `pcl_step`, `pcl_kmeans_1200x16`).

Deviations: those of MoCo; negative prototypes are drawn by torch (Python's `random` there).
"""

from __future__ import annotations

import logging

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmssl.losses import info_nce, shared_prototype_contrast, unit_norm
from mmssl.models.backbones import view_and_map
from mmssl.models.memories import FeatureQueue, Prototypes
from mmssl.models.momentum_twin import MomentumTwin
from mmssl.ops.collectives import through_shuffled_batch
from mmssl.ops.schedules import Schedule
from mmssl.registry import MODELS, build_module
from mmssl.structures import Clustering, ViewBatch

from .base import BaseAlgorithm


@MODELS.register_module()
class PCL(BaseAlgorithm):
    """MoCo, and from the first clustering on a contrast with the prototypes of each level.

        loss = info_nce(q, k, queue) + 1/L sum_l shared_prototype_contrast(q, prototypes of level l)

    `ClusterHook` clusters the twin's embeddings of all images before an epoch and fills `prototypes`; until
    then (warm-up) it is MoCo.

    Args:
        backbone: Returns feature maps; the view's feature is `view_and_map`'s.
        neck: (B, C) -> (B, D): one Linear (v1) or Linear-ReLU-Linear (v2). A config may leave out
            `in_channels`.
        prototypes: `Prototypes` or its config, flat; `dim` may be left out.
        num_negatives: r, prototypes drawn as negatives on each level; `None` takes all.
        queue_length: K, keys in the queue.
        temperature: t of the instance contrast.
        momentum: Of the twin, a number or a schedule.
        data_preprocessor: Default `ViewPreprocessor()`.
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ValueError: Prototypes that are a tree, or fewer on a level than negatives are to be drawn.
    """

    def __init__(
        self,
        backbone: nn.Module | dict,
        neck: nn.Module | dict,
        prototypes: Prototypes | dict,
        *,
        num_negatives: int | None = 16384,
        queue_length: int = 16384,
        temperature: float = 0.2,
        momentum: Schedule | dict | float = 0.999,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor, init_cfg)
        self.neck = build_module(MODELS, neck, in_channels=self.backbone.out_channels[-1])
        dim = self.neck.out_channels
        self.prototypes: Prototypes = build_module(MODELS, prototypes, dim=dim, tree=False)
        fewest = min(self.prototypes.num_clusters)
        if self.prototypes.tree or (num_negatives is not None and num_negatives >= fewest):
            raise ValueError(
                f"PCL needs prototypes with tree=False and more of them than num_negatives={num_negatives} "
                f"on every level, got {self.prototypes!r}."
            )
        self.num_negatives = num_negatives
        self.temperature = temperature
        self.twin = MomentumTwin(
            self, ["backbone", "neck"], momentum=momentum, update_at="before_forward"
        )
        self.queue = FeatureQueue(queue_length, self.neck.out_channels)

    def project(self, net: nn.Module, images: Tensor) -> Tensor:
        """Unit embeddings (B, D) of `images`, by the online network (`self`) or by `self.twin`."""
        return unit_norm(net.neck(view_and_map(net.backbone, images)[0]))

    def load_prototypes(self, clustering: Clustering, *, epoch: int) -> None:
        """Take over the clustering that was made at the beginning of an epoch; see `Prototypes.load`."""
        self.prototypes.load(clustering, epoch=epoch)

    def draw_negatives(self, level: int, assigned: Tensor) -> Tensor:
        """Ids (r,) of prototypes of a level, at random among those that no image of the batch has.

        Args:
            level: Its number.
            assigned: (N,) prototypes of the batch.

        Raises:
            ValueError: There are fewer than `num_negatives`.
        """
        used = self.prototypes.num_used[level]
        free = self.prototypes.others(level, assigned, skip_last=False)[:used]
        if self.num_negatives is None:
            return free.nonzero()[:, 0]
        # the device is asked only where the batch may leave too few
        if self.num_negatives > used - len(assigned) and self.num_negatives > int(free.sum()):
            raise ValueError(
                f"Of the {used} prototypes of level {level} the batch leaves {int(free.sum())}: too few for "
                f"num_negatives={self.num_negatives}. Lower it (None takes all that are left), or cluster "
                "into more."
            )
        rank = torch.rand(used, device=assigned.device).masked_fill(~free, -1.0)
        return rank.topk(self.num_negatives).indices

    def _warn_of_few_prototypes(self, batch: int) -> None:
        """Say in the first step what could otherwise end the run after its warm-up."""
        first = self.progress is not None and self.progress.iter == 0
        fewest = min(self.prototypes.num_clusters)
        if first and self.num_negatives is not None and self.num_negatives + batch > fewest:
            print_log(
                f"PCL draws {self.num_negatives} of {fewest} prototypes as negatives beside those of {batch} "
                "images: a batch may leave too few, which ends the run. Lower model.num_negatives.",
                logger="current",
                level=logging.WARNING,
            )

    def loss(self, views: ViewBatch) -> dict[str, Tensor]:
        """Instance and prototype losses, and diagnostics; then the keys go into the queue.

        Raises:
            ValueError: Not exactly two views, or too few prototypes for the negatives.
        """
        queries, others = self.two_views(views)
        self._warn_of_few_prototypes(len(queries))
        k = through_shuffled_batch(lambda images: self.project(self.twin, images), others)
        q = self.project(self, queries)
        # the backward pass needs the queue as it is now
        queue = self.queue.features.clone()
        losses = dict(loss_inst=info_nce(q, k, queue, temperature=self.temperature))
        if self.prototypes.is_ready:
            assigned = self.prototypes.assign(views.index)
            for number, level in enumerate(self.prototypes.levels):
                losses[f"loss_proto_l{number}"] = shared_prototype_contrast(
                    q,
                    level.centroids,
                    density=level.scale,
                    assigned=assigned[number],
                    negatives=self.draw_negatives(number, assigned[number]),
                ) / len(assigned)
        self.queue.enqueue(k)
        with torch.no_grad():
            losses["similarity"] = (q * k).sum(dim=1).mean()
            losses["embedding_std"] = q.std(dim=0, correction=0).mean()
        return losses
