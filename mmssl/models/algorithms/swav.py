"""SwAV: predict the balanced code of one view, over prototypes, from every other view.

Unsupervised Learning of Visual Features by Contrasting Cluster Assignments, 2020, arXiv 2006.09882.
Compared with facebookresearch/swav @06b1b7c (goldens `swav_sinkhorn_*`, `swav_train_*`, `lars_larc`).

Deviations: codes are computed in the logarithmic domain, so that no score overflows; the queues hold the
embeddings of all processes, the same on each, which gives the same codes on any number of them, as theirs do
with one queue for each process.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmssl.losses import distillation, pair_weights, unit_norm
from mmssl.models.backbones import crop_features
from mmssl.models.memories import FeatureQueue
from mmssl.ops.collectives import rank, world_size
from mmssl.ops.sinkhorn import balanced_codes
from mmssl.registry import MODELS, build_module
from mmssl.structures import ViewBatch

from .base import BaseAlgorithm


@MODELS.register_module()
class SwAV(BaseAlgorithm):
    """Swapped assignments between views.

        z = neck(backbone(view)) of unit length, scores s = head(z)
        q_i = balanced_codes(s_i, and scores of the queue) of the large views i, constants
        loss = mean over i, over views v != i, of  - q_i log softmax(s_v / temperature)

    Neighbouring views of equal size share a pass, and so batch statistics, which should be those of all
    processes (`SyncBN`); all views pass the neck together. Prototypes are brought to length 1 before each
    step. The recipe keeps them as they are at first: `FreezeHook(["head"], iters=313)`.

    Args:
        backbone: Returns feature maps; the view's feature is `view_and_map`'s.
        neck: Projector, (B, C) -> (B, D). A config may leave out `in_channels`, `hid_channels`, which then is
            the same, and `norm_cfg`, which then is BatchNorm.
        head: `PrototypesHead`; a config may leave out `in_channels`.
        temperature: Of the predictions.
        epsilon: Of `balanced_codes`.
        num_iterations: Of `balanced_codes`.
        num_code_views: Large views, the first ones, that give codes.
        queue_length: Embeddings of earlier batches, of all processes, that take part in balancing; 0 for
            none. For batches that are small beside the number of prototypes.
        queue_start: First epoch that fills the queues; they take part as soon as they are full.
        data_preprocessor: Default `ViewPreprocessor()`.
        init_cfg: Weight initialisation of the mm family.
    """

    negatives_in_batch = True
    filled: Tensor | None

    def __init__(
        self,
        backbone: nn.Module | dict,
        neck: nn.Module | dict,
        head: nn.Module | dict,
        *,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        num_iterations: int = 3,
        num_code_views: int = 2,
        queue_length: int = 0,
        queue_start: int = 15,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor, init_cfg)
        channels, norm = self.backbone.out_channels[-1], dict(type="BN1d")
        self.neck = build_module(
            MODELS, neck, in_channels=channels, hid_channels=channels, norm_cfg=norm
        )
        dim = self.neck.out_channels
        self.head = build_module(MODELS, head, type="PrototypesHead", in_channels=dim)
        self.uniform_losses = {"loss": math.log(self.head.prototypes.out_features)}
        self.temperature = temperature
        self.epsilon = epsilon
        self.num_iterations = num_iterations
        self.num_code_views = num_code_views
        self.queue_length = queue_length
        self.queue_start = queue_start
        self.queues = nn.ModuleList(
            FeatureQueue(queue_length, self.neck.out_channels)
            for _ in range(num_code_views if queue_length else 0)
        )
        filled = torch.zeros((), dtype=torch.long) if queue_length else None
        self.register_buffer("filled", filled)
        self._num_filled: int | None = 0  # the same on the host; None: to be asked for

    def loss(self, views: ViewBatch) -> dict[str, Tensor]:
        """The cross-entropy over all pairs of a code and another view, and diagnostics.

        Raises:
            ValueError: Fewer views than give codes, fewer than two, or one image, which has nothing to share
                the prototypes with.
        """
        self.teacher_views(views, max(self.num_code_views, 2))
        if len(views.images[0]) * world_size() == 1 and not self.queues:
            raise ValueError(
                "SwAV got a batch of one image over all processes, so prototypes cannot be balanced; use a "
                "larger batch_size (and drop_last=True)."
            )
        self.head.normalize()
        features = crop_features(self.backbone, views.images).views.transpose(0, 1)
        embeds = unit_norm(self.neck(features.flatten(0, 1)))
        scores = self.head(embeds).unflatten(0, features.shape[:2])  # (V, B, K)
        large = embeds.detach().unflatten(0, features.shape[:2])[: self.num_code_views]
        codes = self._codes(scores.detach(), large)
        loss = distillation(
            scores.transpose(0, 1),
            codes,
            pair_weights([1] * len(views.images), self.num_code_views),
            temperature=self.temperature,
        )
        used = torch.zeros_like(codes[0, 0]).index_fill_(0, codes[:, 0].argmax(dim=1), 1.0)
        return dict(
            loss=loss,
            prototypes_used=used.sum(),
            embedding_std=large[0].std(dim=0, correction=0).mean(),
        )

    @torch.no_grad()
    def _codes(self, scores: Tensor, large: Tensor) -> Tensor:
        """Codes (B, Q, K) of the large views, whose embeddings (Q, B, D) then go into the queues."""
        number = scores.shape[1]
        full = self.filled is not None and self.num_filled >= self.queue_length
        codes = []
        for view in range(self.num_code_views):
            rows = scores[view]
            if full:  # each process takes a share, so that all rows count once
                queue = cast(FeatureQueue, self.queues[view])
                earlier = queue.features[rank() :: world_size()]
                rows = torch.cat([self.head(earlier.to(large.dtype)), rows])
            balanced = balanced_codes(
                rows, epsilon=self.epsilon, num_iterations=self.num_iterations
            )
            codes.append(balanced[-number:])
        if self.filled is not None and self.progress.epoch >= self.queue_start:
            for own, embeds in zip(self.queues, large, strict=True):
                cast(FeatureQueue, own).enqueue(embeds)
            self._num_filled = self.num_filled + number * world_size()
            self.filled.fill_(self._num_filled)
        return torch.stack(codes, dim=1)

    @property
    def num_filled(self) -> int:
        """Embeddings that went into each queue so far; asks the device once after loading."""
        if self._num_filled is None:
            self._num_filled = 0 if self.filled is None else int(self.filled)
        return self._num_filled

    def _load_from_state_dict(self, *args: Any) -> None:
        self._num_filled = None
        super()._load_from_state_dict(*args)
