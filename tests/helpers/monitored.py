"""A small BYOL and a synthetic dataset, with switches that plant the faults the monitors look for."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from mmssl.models.algorithms.base import BaseAlgorithm
from mmssl.models.momentum_twin import MomentumTwin
from mmssl.structures import ViewBatch

Fault = Literal[
    "none",
    "constant",
    "no_predictor",
    "rank_one",
    "frozen_twin",
    "diverging_twin",
    "uniform",
    "same_views",
]


class TinyBackbone(nn.Module):
    """Two strided convolutions with BatchNorm: (B, 3, H, W) to one map (B, dim, H/4, W/4)."""

    def __init__(self, dim: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, dim, 3, 2, 1, bias=False),
            nn.BatchNorm2d(dim),
            nn.ReLU(),
            nn.Conv2d(dim, dim, 3, 2, 1, bias=False),
            nn.BatchNorm2d(dim),
            nn.ReLU(),
        )
        self.out_channels, self.strides = [dim], [4]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return (self.layers(images),)


def mlp(dim: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(dim, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, out)
    )


class MonitoredByol(BaseAlgorithm):
    """BYOL on `TinyBackbone`; `fault` plants one.

    constant: the target carries gradient and there is no predictor. no_predictor: neither predictor nor
    BatchNorm. rank_one: all channels of the projector are copies. same_views: the target is the online
    answer itself. uniform: a classifier over 128 classes whose logits are all equal. The
    twin's faults come from its momentum.
    """

    def __init__(self, fault: Fault = "none", dim: int = 32, backbone: Any = None) -> None:
        super().__init__(backbone or TinyBackbone(dim))
        width = self.backbone.out_channels[-1]
        self.fault = fault
        self.neck = mlp(width, 64, 32)
        if fault in ("constant", "no_predictor"):
            self.neck = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 32))
        elif fault == "rank_one":
            self.neck = nn.Sequential(nn.Linear(width, 1, bias=False), nn.Linear(1, 32, bias=False))
        self.head = nn.Identity() if fault == "no_predictor" else mlp(32, 64, 32)
        momentum = dict(frozen_twin=1.0, diverging_twin=1.02).get(fault, 0.99)
        self.twin = MomentumTwin(
            self, ["backbone", "neck"], momentum=momentum, update_at="after_step"
        )
        if fault == "uniform":
            self.uniform_losses = {"loss": math.log(128)}

    @staticmethod
    def project(net: nn.Module, images: Tensor) -> Tensor:
        return net.neck(net.backbone(images)[-1].mean(dim=(2, 3)))

    def loss(self, views: ViewBatch) -> dict[str, Tensor]:
        first, second = views.images
        online = [self.project(self, first), self.project(self, second)]
        if self.fault == "uniform":
            logits = (online[0] @ torch.zeros(32, 128)) + 0.0 * online[1].sum()
            return dict(loss=F.cross_entropy(logits, views.index % 128))
        if self.fault == "constant":
            return dict(loss=2 - 2 * F.cosine_similarity(*online).mean())
        if self.fault == "same_views":
            return dict(loss=2 - 2 * F.cosine_similarity(online[0], online[0].detach()).mean())
        with torch.no_grad():
            targets = [self.project(self.twin, second), self.project(self.twin, first)]
        terms = [
            2 - 2 * F.cosine_similarity(self.head(query), target).mean()
            for query, target in zip(online, targets, strict=True)
        ]
        return dict(loss=terms[0] + terms[1])


class Gratings(Dataset):
    """Labelled images: a grating whose direction is the class, with phase, colour and noise drawn.

    Item (epoch, index) or index; views differ by a shift, the brightness and the noise, and come
    again every fourth epoch. With `apart` they have boxes: of the whole image, but of places far from each
    other in every `apart`-th image (0: in none).
    """

    def __init__(
        self,
        num: int = 64,
        size: int = 16,
        classes: int = 4,
        views: int = 2,
        labelled: bool = True,
        apart: int | None = None,
    ) -> None:
        self.num, self.size, self.num_views, self.apart = num, size, views, apart
        self._drawn: dict[tuple[int, int], list[Tensor]] = {}
        self.classes = [f"class{label}" for label in range(classes)] if labelled else None
        self.labels = [index % classes if labelled else -1 for index in range(num)]
        self.direction = [index % classes * np.pi / classes for index in range(num)]

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, ViewBatch]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        address = (epoch % 4, index)
        if address not in self._drawn:
            self._drawn[address] = self._draw(*address)
        return dict(
            inputs=ViewBatch(
                images=self._drawn[address],
                index=torch.tensor(index),
                boxes=self._boxes(index),
                label=torch.tensor(self.labels[index]),
                photometric=[],
            )
        )

    def _boxes(self, index: int) -> list[Tensor]:
        if self.apart is None:
            return []
        far = bool(self.apart) and index % self.apart == 0
        return [
            torch.tensor([0.0, 0.0, 1.0, 1.0]) + 5 * far * view for view in range(self.num_views)
        ]

    def _draw(self, epoch: int, index: int) -> list[Tensor]:
        own = np.random.default_rng((7, index))
        colour, phase = own.uniform(0.3, 1.0, (3, 1, 1)), own.uniform(0, 6)
        frequency = own.uniform(0.5, 1.0)
        y, x = np.mgrid[: self.size, : self.size]
        images = []
        for view in range(self.num_views):
            rng = np.random.default_rng((epoch, index, view))
            dy, dx = rng.uniform(-2, 2, 2)
            along = (x + dx) * np.cos(self.direction[index]) + (y + dy) * np.sin(
                self.direction[index]
            )
            wave = 0.5 + 0.5 * np.sin(frequency * along + phase)
            image = wave * colour * rng.uniform(0.6, 1.0) + rng.normal(0, 0.05, (3, *wave.shape))
            images.append(torch.from_numpy((image.clip(0, 1) * 255).astype(np.uint8)))
        return images
