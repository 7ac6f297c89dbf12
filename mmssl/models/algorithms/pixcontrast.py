"""PixContrast: a pixel tells the twin's features of the same place from those of the rest of the other view.

Propagate Yourself: exploring pixel-level consistency for unsupervised visual representation learning, 2021,
arXiv 2011.10043, section 3.1. No code is published (goldens `pixcontrast_*` are the formula). Ours where the
paper says nothing: both directions are averaged, an image without a positive pair counts as 0.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mmssl.losses import cell_std, pixel_contrast, unit_norm
from mmssl.models.momentum_twin import MomentumTwin
from mmssl.models.necks import cell_projector, project_levels
from mmssl.ops.collectives import reduce_mean
from mmssl.ops.propagation import MAX_PAIRS
from mmssl.ops.schedules import Cosine, Schedule
from mmssl.registry import MODELS, build_module
from mmssl.structures import ViewBatch

from .base import BaseAlgorithm

MOMENTUM = Cosine(0.99, 1.0)


@MODELS.register_module()
class PixContrast(BaseAlgorithm):
    """Pixel contrast.

        loss = (L(x1, x2') + L(x2, x1')) / 2
        L    = mean - log( sum_{j in Pos(i)} e^(cos(x_i, x'_j) / t) / sum_{j in Pos(i) or Neg(i)} e^(...) )

    over the cells i that have a positive, then over the images. Pos(i) are the cells of the other view
    nearer than `pos_ratio` cell diagonals in the picture, Neg(i) the others of that view. x are projections
    of the online network, x' of the twin, of unit length. Passes as in PixPro: a view each, both by the
    online network, then both by the twin in train mode.

    Boxes are read from `ViewBatch.boxes`; in which space they are, is the choice of `MultiView.boxes`.

    Args:
        backbone: Returns feature maps; the last one is used, or all by `pyramid`.
        neck: Projector of every cell, a `ConvMLPNeck`, shared by all levels. A config may leave out `type`,
            `in_channels`, and `norm_cfg`, which then is BatchNorm.
        pyramid: Maps the backbone's maps to a tuple of maps, such as `DetectorPyramid`; the loss is the
            mean over these. `None`: the last map of the backbone alone.
        temperature: t.
        pos_ratio: Largest distance of a positive pair, in diagonals of the larger cell.
        neg_ratio: Smallest distance of a negative pair; pairs between are left out. `None`: none is.
        empty: `zero` counts an image without a positive pair as 0, `skip` averages over the others, those
            of all ranks.
        directions: `mean` or `sum` of the two directions.
        max_pairs: Pairs of cells that the loss looks at together.
        momentum: Momentum of the twin, a number or a schedule; default cosine 0.99 -> 1.
        data_preprocessor: Default `ViewPreprocessor()`.
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ValueError: An unknown `empty` or `directions`, or a temperature or ratio that nothing can learn with.
    """

    def __init__(
        self,
        backbone: nn.Module | dict,
        neck: nn.Module | dict,
        *,
        pyramid: nn.Module | dict | None = None,
        temperature: float = 0.3,
        pos_ratio: float = 0.7,
        neg_ratio: float | None = None,
        empty: Literal["zero", "skip"] = "zero",
        directions: Literal["mean", "sum"] = "mean",
        max_pairs: int = MAX_PAIRS,
        momentum: Schedule | dict | float = MOMENTUM,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor, init_cfg)
        for name, value, known in (
            ("empty", empty, ("zero", "skip")),
            ("directions", directions, ("mean", "sum")),
        ):
            if value not in known:
                raise ValueError(f"PixContrast.{name} must be one of {known}, got {value!r}.")
        _check_ratios(temperature, pos_ratio, neg_ratio)
        self.pyramid = None if pyramid is None else build_module(MODELS, pyramid)
        source = self.backbone if self.pyramid is None else self.pyramid
        self.neck = cell_projector(neck, source.out_channels[-1])
        self.temperature = temperature
        self.pos_ratio = pos_ratio
        self.neg_ratio = neg_ratio
        self.empty = empty
        self.directions = directions
        self.max_pairs = max_pairs
        self.twin = MomentumTwin(
            self,
            ["backbone", "pyramid", "neck"],
            momentum=momentum,
            update_at="before_forward",
        )

    def project(self, net: nn.Module, images: Tensor) -> list[Tensor]:
        """Unit embeddings (B, D, H, W) of the cells of all levels, by `self` or by `self.twin`."""
        return [unit_norm(maps) for maps in project_levels(net, images)[0]]

    def loss(self, views: ViewBatch) -> dict[str, Tensor]:
        """The contrastive loss, and diagnostics.

        Raises:
            ValueError: Not exactly two views, or no boxes.
        """
        images, boxes = self.two_views(views), self.two_boxes(views)
        queries = [self.project(self, view) for view in images]
        with torch.no_grad():
            keys = [self.project(self.twin, view) for view in images]
        options = dict(
            pos_ratio=self.pos_ratio,
            temperature=self.temperature,
            neg_ratio=self.neg_ratio,
            max_pairs=self.max_pairs,
        )
        terms = [
            pixel_contrast(query, key, boxes, **options)
            for query, key in zip(zip(*queries, strict=True), zip(*keys, strict=True), strict=True)
        ]
        positives = torch.stack([term.num_positives for term in terms])  # (levels, B)
        overlap = (positives > 0).to(positives.dtype)
        both = torch.stack([term.first + term.second for term in terms])
        if self.empty == "skip":
            # gradients are averaged over the ranks: of a rank's mean number, not of its own
            both = both / reduce_mean(overlap.mean(dim=1, keepdim=True)).clamp(min=1e-6)
        if self.directions == "mean":
            both = both / 2
        return dict(
            loss=both.mean(),
            num_positives=positives.mean(),
            overlap=overlap.mean(),
            embedding_std=cell_std(queries[0][-1]),
        )


def _check_ratios(temperature: float, pos_ratio: float, neg_ratio: float | None) -> None:
    if temperature <= 0:
        raise ValueError(f"PixContrast.temperature must be above 0, got {temperature}.")
    if pos_ratio <= 0:
        raise ValueError(
            f"PixContrast.pos_ratio must be above 0, or no pair of cells is positive; got {pos_ratio}."
        )
    if neg_ratio is not None and neg_ratio < pos_ratio:
        raise ValueError(
            f"PixContrast.neg_ratio must not be below pos_ratio={pos_ratio}, or pairs would be positive "
            f"and negative at once; got {neg_ratio}."
        )
