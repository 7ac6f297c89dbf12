"""NPID: every image is a class of its own, classified against a bank of features (memory bank, InstDisc).

Unsupervised Feature Learning via Non-Parametric Instance Discrimination, 2018, arXiv 1805.01978.
Compared with zhirongw/lemniscate.pytorch @f7cfe29 (goldens `npid_nce_a`, `npid_full_a`).

Deviations: rows of the bank keep unit length by `eps` 1e-12; an image that comes twice in a batch moves its
row once; on several ranks Z is the mean of theirs; the article's proximal term, which the released code
lacks, is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from mmssl.losses import bank_loss, instance_cross_entropy, noise_contrastive, unit_norm
from mmssl.models.backbones import view_and_map
from mmssl.models.memories import FeatureBank
from mmssl.ops.collectives import reduce_mean
from mmssl.registry import MODELS, build_module
from mmssl.structures import ViewBatch

from .base import BaseAlgorithm


@MODELS.register_module()
class NPID(BaseAlgorithm):
    """Find an image's own row in the bank, among rows drawn at random or all of them.

        f = neck(backbone(view)), of unit length
        loss = criterion(f . bank[own row, K rows at random]); then the own row moves towards f

    Args:
        backbone: Returns feature maps; the view's feature is `view_and_map`'s.
        neck: (B, C) -> (B, D), one Linear. A config may leave out `in_channels`.
        num_samples: Images of the training set.
        num_negatives: K, rows drawn with replacement from the whole bank for each image; `None` takes the
            whole bank (the small data sets of the article).
        criterion: `cross_entropy` (the updated release) or `nce` (noise-contrastive estimation, the article;
            its constant Z is estimated on the first batch).
        temperature: t.
        bank_momentum: Weight of the old row when the bank moves.
        data_preprocessor: Default `ViewPreprocessor()`.
        init_cfg: Weight initialisation of the mm family.

    Attributes:
        draw: Rows (B, K) of the bank for a batch (B,) of own rows.
        normalizer: () Z of `nce`, 0 before the first batch.

    Raises:
        ValueError: An unknown criterion, or `nce` without `num_negatives`.
    """

    normalizer: Tensor

    def __init__(
        self,
        backbone: nn.Module | dict,
        neck: nn.Module | dict,
        num_samples: int,
        *,
        num_negatives: int | None = 65536,
        criterion: Literal["cross_entropy", "nce"] = "cross_entropy",
        temperature: float = 0.07,
        bank_momentum: float = 0.5,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor, init_cfg)
        if criterion not in ("cross_entropy", "nce") or (criterion, num_negatives) == ("nce", None):
            raise ValueError(
                "NPID takes criterion 'cross_entropy', or 'nce' with num_negatives, got "
                f"{criterion!r} with num_negatives={num_negatives}."
            )
        self.neck = build_module(MODELS, neck, in_channels=self.backbone.out_channels[-1])
        self.num_samples, self.num_negatives = num_samples, num_negatives
        self.criterion, self.temperature = criterion, temperature
        self.bank = FeatureBank(num_samples, self.neck.out_channels, momentum=bank_momentum)
        self.draw: Callable[[Tensor], Tensor] = self._at_random
        self.register_buffer("normalizer", torch.zeros(()))

    def _at_random(self, own: Tensor) -> Tensor:
        shape = (len(own), self.num_negatives)
        return torch.randint(self.num_samples, shape, device=own.device)

    def project(self, images: Tensor) -> Tensor:
        """Unit features (B, D) of `images`."""
        return unit_norm(self.neck(view_and_map(self.backbone, images)[0]))

    def _nce(self, products: Tensor) -> Tensor:
        estimate = (products.detach() / self.temperature).exp().mean() * self.num_samples
        found = torch.where(self.normalizer > 0, self.normalizer, reduce_mean(estimate))
        self.normalizer.copy_(found)
        return noise_contrastive(
            products,
            num_samples=self.num_samples,
            normalizer=found,
            temperature=self.temperature,
        )

    def loss(self, views: ViewBatch) -> dict[str, Tensor]:
        """The loss of the batch's only view, and diagnostics; then the bank moves.

        Raises:
            ValueError: Not exactly one view.
        """
        if len(views.images) != 1:
            raise ValueError(
                f"NPID takes one view per image, got {len(views.images)} "
                "(see configs/_base_/views/mocov1.py)."
            )
        features, own = self.project(views.images[0]), views.index
        rows, target = None, own
        if self.num_negatives is not None:
            rows = torch.cat([own[:, None], self.draw(own)], dim=1)
            target = torch.zeros_like(own)
        criterion = partial(instance_cross_entropy, target=target, temperature=self.temperature)
        loss = bank_loss(
            features,
            self.bank.features,
            rows,
            self._nce if self.criterion == "nce" else criterion,
        )
        with torch.no_grad():
            similarity = (features * self.bank.features[own]).sum(dim=1).mean()
            spread = features.std(dim=0, correction=0).mean()
        self.bank.update(own, features.detach())
        return dict(loss=loss, similarity=similarity, embedding_std=spread)
