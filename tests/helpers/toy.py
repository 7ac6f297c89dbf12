"""A method small enough to train hundreds of iterations in a second, and its data: for engine tests.

No BatchNorm, so that two processes with half the batch each compute what one process computes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmssl.models.algorithms.base import BaseAlgorithm
from mmssl.models.momentum_twin import MomentumTwin
from mmssl.ops.collectives import rank
from mmssl.registry import DATASETS, MODELS
from mmssl.structures import ViewBatch


@MODELS.register_module()
class ToyBackbone(nn.Module):
    """Images (B, 3, 8, 8) -> one map (B, width, 4, 4)."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.out_channels, self.strides = [width], [2]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return (torch.relu(self.conv(images)),)


@MODELS.register_module()
class ToyMethod(BaseAlgorithm):
    """The online embedding regresses the twin's embedding of the other view."""

    def __init__(
        self,
        backbone: nn.Module | dict | None = None,
        update_at: str = "after_step",
        drop: float = 0.0,
        nan_at: int = -1,
        spread: float = 0.1,
        nan_rank: int | None = None,
    ) -> None:
        super().__init__(backbone or ToyBackbone())
        self.neck = nn.Sequential(nn.Flatten(), nn.Dropout(drop), nn.Linear(64, 6))
        self.head = nn.Linear(6, 6)
        self.nan_at = nan_at
        self.spread = spread
        self.nan_rank = nan_rank
        self.twin = MomentumTwin(
            self,
            ["backbone", "neck"],
            momentum=dict(type="Cosine", start=0.9, end=1.0),
            update_at=update_at,
        )

    def loss(self, views: ViewBatch) -> dict[str, Tensor]:
        first, second = views.images
        online = self.head(self.neck(self.backbone(first)[0]))
        with torch.no_grad():
            target = self.twin.neck(self.twin.backbone(second)[0])
        distance = (online - target).square().mean()
        spread = self.spread * (online.square().mean() - 1).square()
        if self.progress.iter == self.nan_at and self.nan_rank in (None, rank()):
            distance = distance * float("nan")
        return dict(loss_distance=distance, loss_spread=spread, embedding_std=online.std())


@DATASETS.register_module()
class ToyImages(Dataset):
    """Random images, a pure function of (seed, epoch, index, view); one view for each of `sizes`.

    Boxes are those of crops of half the length, which overlap more or less.
    """

    metainfo: dict = {}

    def __init__(
        self, length: int = 24, size: int = 8, seed: int = 0, sizes: Sequence[int] | None = None
    ) -> None:
        self.length, self.seed = length, seed
        self.sizes = tuple(sizes or (size, size))

    def __len__(self) -> int:
        return self.length

    def path(self, index: int) -> str:
        return f"image_{index}.png"

    def with_views(self, views: object, *, seed: int) -> ToyImages:
        """The first view alone, the same in every epoch of every run, whatever `views` says."""
        return ToyImages(self.length, seed=seed, sizes=self.sizes[:1])

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, ViewBatch]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        rng = np.random.default_rng((self.seed, epoch, index))
        images = [
            torch.from_numpy(rng.integers(0, 256, (3, size, size), dtype=np.uint8))
            for size in self.sizes
        ]
        corners = [torch.from_numpy(rng.random(2)).float() / 2 for _ in self.sizes]
        boxes = [torch.cat([corner, corner + 0.5]) for corner in corners]
        return dict(inputs=ViewBatch(images, torch.tensor(index), boxes, torch.tensor(-1), []))
