"""HCSC: a hierarchy of prototypes selects the negatives of an instance and of a prototype contrast.

HCSC: Hierarchical Contrastive Selective Coding, 2022, arXiv 2202.00455.
Compared with hirl-team/HCSC @cec852d (goldens `select_*`, `hcsc_r18_step`, `hkmeans_*`).

The released code is the default; the article's reading is an option where they differ: a removed negative
stays as an orthogonal one (`mask_mode='exclude'` drops it), the instance losses of the levels are summed
(`instance_reduction='mean'`), the last used prototype is never a negative (`skip_last=False`).
Deviations: those of MoCo; an error in the selection is an error, not a silent fall-back to MoCo.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from mmssl.losses import info_nce, prototype_contrast, selective_info_nce, unit_norm
from mmssl.losses.prototype import MOST_KEPT, MaskMode
from mmssl.models.backbones import view_and_map
from mmssl.models.memories import FeatureQueue, Prototypes
from mmssl.models.momentum_twin import MomentumTwin
from mmssl.ops.collectives import through_shuffled_batch
from mmssl.ops.schedules import Schedule
from mmssl.registry import MODELS, build_module
from mmssl.structures import Clustering, ViewBatch

from .base import BaseAlgorithm

_INSTANCE_CLAMP, _PROTOTYPE_CLAMP = (0.0, MOST_KEPT), (1e-4, MOST_KEPT)


@MODELS.register_module()
class HCSC(BaseAlgorithm):
    """MoCo whose negatives, keys and prototypes alike, are selected by a tree of prototypes.

        loss = sum_l selective_info_nce(q, k, queue; mask^l) + 1/L sum_l prototype_contrast(q; level l)

    A key stays a negative of an image with the probability that it is of another prototype than the image,
    on each level by itself; a prototype with the probability that it has another parent. Small crops (views
    2, 3, ...) add the same terms with their embeddings in the place of q.

    `ClusterHook` clusters the twin's embeddings of all images before an epoch and fills `prototypes`; until
    then (warm-up) it is MoCo.

    Args:
        backbone: Returns feature maps; the view's feature is `view_and_map`'s.
        neck: (B, C) -> (B, D), Linear-ReLU-Linear. A config may leave out `in_channels`.
        prototypes: `Prototypes` or its config, a tree; `dim` may be left out.
        queue_length: K, keys in the queue.
        temperature: t of the instance contrast.
        momentum: Of the twin, a number or a schedule.
        instance_selection: Select among the keys; else the instance term is MoCo's.
        prototype_selection: Select among the prototypes; else all are negatives.
        selection_on_local: Small crops use the masks of q; else their instance term is MoCo's.
        mask_mode: What becomes of a removed negative; see `removed_logits`.
        instance_reduction: Of the instance losses over the levels.
        skip_last: Leave the last used prototype of a level out of the negatives.
        data_preprocessor: Default `ViewPreprocessor()`.
        init_cfg: Weight initialisation of the mm family.

    Attributes:
        draw: Uniform numbers for probabilities; a mask is `draw(p) < p`.
        key_partition: (L, K) log-partition of each key over the prototypes of a level, so that a step
            computes those of new keys only.

    Raises:
        ValueError: Prototypes that are no tree, or an unknown option.
    """

    key_partition: Tensor

    def __init__(
        self,
        backbone: nn.Module | dict,
        neck: nn.Module | dict,
        prototypes: Prototypes | dict,
        *,
        queue_length: int = 16384,
        temperature: float = 0.2,
        momentum: Schedule | dict | float = 0.999,
        instance_selection: bool = True,
        prototype_selection: bool = True,
        selection_on_local: bool = True,
        mask_mode: MaskMode = "zero",
        instance_reduction: Literal["sum", "mean"] = "sum",
        skip_last: bool = True,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor, init_cfg)
        self.neck = build_module(MODELS, neck, in_channels=self.backbone.out_channels[-1])
        dim = self.neck.out_channels
        self.prototypes: Prototypes = build_module(MODELS, prototypes, dim=dim)
        known = mask_mode in ("zero", "exclude") and instance_reduction in ("sum", "mean")
        if not (self.prototypes.tree and known):
            raise ValueError(
                "HCSC needs prototypes with tree=True, mask_mode 'zero' or 'exclude' and "
                f"instance_reduction 'sum' or 'mean', got {self.prototypes!r}, {mask_mode!r} and "
                f"{instance_reduction!r}."
            )
        self.temperature = temperature
        self.instance_selection = instance_selection
        self.prototype_selection = prototype_selection
        self.selection_on_local = selection_on_local
        self.mask_mode: MaskMode = mask_mode
        self.instance_reduction, self.skip_last = instance_reduction, skip_last
        self.draw: Callable[[Tensor], Tensor] = torch.rand_like
        self.twin = MomentumTwin(
            self, ["backbone", "neck"], momentum=momentum, update_at="before_forward"
        )
        self.queue = FeatureQueue(queue_length, self.neck.out_channels, with_index=True)
        self.register_buffer("key_partition", torch.zeros(self.prototypes.num_levels, queue_length))

    def project(self, net: nn.Module, images: Tensor) -> Tensor:
        """Unit embeddings (B, D) of `images`, by the online network (`self`) or by `self.twin`."""
        return unit_norm(net.neck(view_and_map(net.backbone, images)[0]))

    def load_prototypes(self, clustering: Clustering, *, epoch: int) -> None:
        """Take over the clustering that was made at the beginning of an epoch; see `Prototypes.load`."""
        self.prototypes.load(clustering, epoch=epoch)
        for partition, level in zip(self.key_partition, self.prototypes.levels, strict=True):
            partition.copy_(level.log_partition(self.queue.features))

    def keep_keys(self, assigned: Tensor) -> Tensor:
        """Probability (L, N, K) that a key of the queue stays a negative of images with prototypes (L, N)."""
        return self.prototypes.keep_keys(
            self.queue.features, assigned, log_partition=self.key_partition
        )

    def prototype_losses(self, features: Tensor, assigned: Tensor) -> list[Tensor]:
        """Prototype contrast (before the mean over levels) of embeddings on each level.

        Args:
            features: (N, D) of one view.
            assigned: (L, N) prototypes of the images.
        """
        losses = []
        for number, level in enumerate(self.prototypes.levels):
            keep = None
            if self.prototype_selection and number + 1 < len(assigned):
                probability = self.prototypes.keep_kin(number, assigned[number + 1])
                probability = probability.clamp(*_PROTOTYPE_CLAMP)
                keep = self.draw(probability) < probability
            losses.append(
                prototype_contrast(
                    features,
                    level.centroids,
                    density=level.scale,
                    assigned=assigned[number],
                    negatives=self.prototypes.others(
                        number, assigned[number], skip_last=self.skip_last
                    ),
                    keep=keep,
                    mask_mode=self.mask_mode,
                )
            )
        return losses

    def loss(self, views: ViewBatch) -> dict[str, Tensor]:
        """Instance and prototype losses of all views, and diagnostics; then the keys go into the queue.

        Raises:
            ValueError: Fewer than two views.
        """
        queries, others = self.teacher_views(views)
        q = self.project(self, queries)
        k = through_shuffled_batch(lambda images: self.project(self.twin, images), others)
        crops = [self.project(self, images) for images in views.images[2:]]
        # the backward pass needs the queue as it is now
        queue = self.queue.features.clone()
        losses = self._contrast(q, k, crops, queue=queue, index=views.index)
        rows = self.queue.enqueue(k, views.index)
        if self.prototypes.is_ready:
            for partition, level in zip(self.key_partition, self.prototypes.levels, strict=True):
                partition[rows] = level.log_partition(self.queue.features[rows])
        with torch.no_grad():
            losses["similarity"] = (q * k).sum(dim=1).mean()
            losses["embedding_std"] = q.std(dim=0, correction=0).mean()
        return losses

    def _instance_losses(
        self, features: Tensor, k: Tensor, queue: Tensor, *, keep: Tensor | None
    ) -> Tensor:
        """Weighted instance losses of one view, one per level; a single one if nothing is selected."""
        if keep is None:
            return info_nce(features, k, queue, temperature=self.temperature)[None]
        losses = selective_info_nce(
            features, k, queue, keep=keep, temperature=self.temperature, mask_mode=self.mask_mode
        )
        return losses / len(losses) if self.instance_reduction == "mean" else losses

    def _contrast(
        self, q: Tensor, k: Tensor, crops: list[Tensor], *, queue: Tensor, index: Tensor
    ) -> dict[str, Tensor]:
        """Loss terms with their weights, by name."""
        losses: dict[str, Tensor] = {}
        keep = assigned = None
        if self.prototypes.is_ready:
            assigned = self.prototypes.assign(index)
            for number, loss in enumerate(self.prototype_losses(q, assigned)):
                losses[f"loss_proto_l{number}"] = loss / len(assigned)
            if self.instance_selection:
                probability = self.keep_keys(assigned)
                clamped = probability.clamp(*_INSTANCE_CLAMP)
                keep = torch.stack([self.draw(level) < level for level in clamped])
                losses["keep_ratio"] = probability.mean()
                for number, level in enumerate(probability):
                    losses[f"keep_ratio_l{number}"] = level.mean()
        instance = self._instance_losses(q, k, queue, keep=keep)
        if keep is None:
            losses["loss_inst"] = instance[0]
        else:
            losses |= {f"loss_inst_l{number}": loss for number, loss in enumerate(instance)}
        if crops:
            local = keep if self.selection_on_local else None
            terms = [self._instance_losses(u, k, queue, keep=local).sum() for u in crops]
            losses["loss_local_inst"] = torch.stack(terms).sum()
        if crops and assigned is not None:
            terms = [torch.stack(self.prototype_losses(u, assigned)).mean() for u in crops]
            losses["loss_local_proto"] = torch.stack(terms).sum()
        return losses
