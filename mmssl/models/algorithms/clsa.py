"""CLSA: MoCo v2, and a strongly distorted view has to look among the keys as its weakly distorted one does.

Contrastive Learning with Stronger Augmentations, 2021, arXiv 2104.07713.
Compared with maple-research-lab/CLSA @37df76c (golden `clsa_single`).

Deviations: the divergence is a log-softmax (theirs the logarithm of a softmax); contrasts are float32 under
autocast. Their symmetric mode, which they call unverified, is not here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmssl.losses import contrast_among, distillation, unit_norm
from mmssl.models.backbones import view_and_map
from mmssl.models.memories import FeatureQueue
from mmssl.models.momentum_twin import MomentumTwin
from mmssl.ops.collectives import gather_cat, own_rows, through_shuffled_batch
from mmssl.ops.schedules import Schedule
from mmssl.registry import MODELS, build_module
from mmssl.structures import ViewBatch

from .base import BaseAlgorithm


@MODELS.register_module()
class CLSA(BaseAlgorithm):
    """Contrastive learning with stronger augmentations.

        keys = k of the batch of all processes, and the queue
        loss = sum over weak views w of ctr(q_w, own key among keys)
             + divergence_weight * sum over pairs (w, s) of
                 - softmax(q_w.keys / divergence_temperature) log softmax(q_s.keys / divergence_temperature)

    View 0 gives the key, the next `num_weak_views` are weakly distorted, the rest strongly. Each is a
    forward pass of its own, with each process's own BatchNorm; the twin sees the key views of all processes
    shuffled. What a weak view says is a constant.

    Args:
        backbone: Returns feature maps; the view's feature is `view_and_map`'s.
        neck: (B, C) -> (B, D), as MoCo v2's. A config may leave out `in_channels`.
        num_weak_views: Weakly distorted views.
        queue_length: Keys in the queue.
        temperature: Of the contrast.
        divergence_temperature: Of the divergence.
        divergence_weight: alpha.
        momentum: Of the twin, a number or a schedule.
        data_preprocessor: Default `ViewPreprocessor()`.
        init_cfg: Weight initialisation of the mm family.
    """

    def __init__(
        self,
        backbone: nn.Module | dict,
        neck: nn.Module | dict,
        *,
        num_weak_views: int = 1,
        queue_length: int = 65536,
        temperature: float = 0.2,
        divergence_temperature: float = 0.2,
        divergence_weight: float = 1.0,
        momentum: Schedule | dict | float = 0.999,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor, init_cfg)
        self.neck = build_module(MODELS, neck, in_channels=self.backbone.out_channels[-1])
        self.num_weak_views = num_weak_views
        self.temperature = temperature
        self.divergence_temperature = divergence_temperature
        self.divergence_weight = divergence_weight
        self.twin = MomentumTwin(
            self, ["backbone", "neck"], momentum=momentum, update_at="before_forward"
        )
        self.queue = FeatureQueue(queue_length, self.neck.out_channels)

    def project(self, net: nn.Module, images: Tensor) -> Tensor:
        """Unit embeddings (B, D) of `images`, by the online network (`self`) or by `self.twin`."""
        return unit_norm(net.neck(view_and_map(net.backbone, images)[0]))

    def loss(self, views: ViewBatch) -> dict[str, Tensor]:
        """The contrast of the weak views, the divergence of the strong ones; then keys go into the queue.

        Raises:
            ValueError: No strong view behind the key and the weak views.
        """
        weak_end = 1 + self.num_weak_views
        if len(views.images) <= weak_end:
            raise ValueError(
                f"CLSA needs a key view, {self.num_weak_views} weak and at least one strong view per image, "
                f"got {len(views.images)} views (see configs/_base_/views/clsa.py)."
            )
        queries = [self.project(self, view) for view in views.images[1:]]
        k = through_shuffled_batch(lambda x: self.project(self.twin, x), views.images[0])
        # the backward pass needs the queue as it is now
        keys = torch.cat([gather_cat(k), self.queue.features.to(k.dtype)])
        own = own_rows(len(k), k.device)
        weak, strong = queries[: self.num_weak_views], queries[self.num_weak_views :]
        contrasts = [contrast_among(q, keys, own, temperature=self.temperature) for q in weak]
        with torch.autocast(k.device.type, enabled=False):
            targets = [(q.detach() @ keys.T / self.divergence_temperature).softmax(1) for q in weak]
            logits = [q @ keys.T for q in strong]
        divergence = distillation(
            torch.stack(logits, dim=1),
            torch.stack(targets, dim=1),
            keys.new_ones(len(strong), len(weak)),
            temperature=self.divergence_temperature,
        )
        self.queue.enqueue(k)
        with torch.no_grad():
            similarity = (weak[0] * k).sum(dim=1).mean()
            spread = weak[0].std(dim=0, correction=0).mean()
        return dict(
            loss_contrast=torch.stack(contrasts).sum(),
            loss_divergence=self.divergence_weight * divergence,
            similarity=similarity,
            embedding_std=spread,
        )
