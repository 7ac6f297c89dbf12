"""PixPro: the smoothed feature of a pixel predicts the twin's feature of the same place in the other view.

Propagate Yourself: exploring pixel-level consistency for unsupervised visual representation learning, 2021,
arXiv 2011.10043; compared with the official code (goldens `pixpro_*`).

Deviations from the code: pooling of the instance branch is global (a fixed 7x7 there, the same at 224 px);
a resumed run goes on with its momentum (there it starts again). Ours, as no code is published: `pyramid`,
`instance_loss='simclr_star'`. Where paper and code differ, the code is followed (configs/pixpro/README.md).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mmssl.losses import cell_std, contrast_among, pixel_consistency, unit_norm
from mmssl.models.momentum_twin import MomentumTwin
from mmssl.models.necks import AvgPool, cell_projector, project_levels
from mmssl.ops.collectives import gather_cat, own_rows
from mmssl.ops.propagation import MAX_PAIRS
from mmssl.ops.schedules import Cosine, Schedule
from mmssl.registry import MODELS, build_module
from mmssl.structures import ViewBatch

from .base import BaseAlgorithm

MOMENTUM = Cosine(0.99, 1.0)


@MODELS.register_module()
class PixPro(BaseAlgorithm):
    """Pixel-to-propagation consistency.

        loss_pixel = - loss_scale * (mean cos(y1_i, x2'_j) + mean cos(y2_j, x1'_i))

    over the pairs of cells (i, j) of the two views that lie nearer than `pos_ratio` cell diagonals in the
    picture, first within an image, then over all images: one without such a pair counts as 0. y are the
    propagated projections of the online network, x' plain ones of the twin, all of unit length. Each view
    is a forward pass of its own, with its own BatchNorm statistics; the twin runs in train mode.

    The instance branch (`instance_neck`) adds `instance_weight` times

        byol          - loss_scale * (mean cos(p1, z2') + mean cos(p2, z1'))      p, z' pooled behind the MLPs
        simclr_star   (CE(z1, z2') + CE(z2, z1')) / 2        z pooled before the neck; the keys of all ranks

    Boxes are read from `ViewBatch.boxes`; in which space they are, is the choice of `MultiView.boxes`: 'unit'
    as the released code, or 'pixel'.

    Args:
        backbone: Returns feature maps; the last one is used, or all by `pyramid`.
        neck: Projector of every cell, a `ConvMLPNeck`, shared by all levels. A config may leave out `type`,
            `in_channels`, and `norm_cfg`, which then is BatchNorm.
        head: Makes y of projections, a `PixelPropagation`. A config may leave out `type` and `channels`.
        pyramid: Maps the backbone's maps to a tuple of maps, such as `DetectorPyramid`; the loss is the
            mean over these. `None`: the last map of the backbone alone.
        instance_neck: Projector of the instance branch, on the backbone's last map; config as `neck`.
        instance_head: Predictor of the instance branch, for `byol`; config as `neck`.
        instance_loss: `byol` (released code) or `simclr_star` (the paper's words).
        instance_weight: alpha.
        instance_temperature: Of `simclr_star`.
        pos_ratio: Largest distance of a positive pair, in diagonals of the larger cell.
        loss_scale: 2 in the released code, 1 in the paper.
        max_pairs: Pairs of cells that the loss looks at together; `head.max_pairs` is that of propagation.
        momentum: Momentum of the twin, a number or a schedule; default cosine 0.99 -> 1.
        data_preprocessor: Default `ViewPreprocessor()`.
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ValueError: Parts of the instance branch that do not fit together, or a weight, ratio or temperature
            that nothing can learn with.
    """

    def __init__(
        self,
        backbone: nn.Module | dict,
        neck: nn.Module | dict,
        head: nn.Module | dict,
        *,
        pyramid: nn.Module | dict | None = None,
        instance_neck: nn.Module | dict | None = None,
        instance_head: nn.Module | dict | None = None,
        instance_loss: Literal["byol", "simclr_star"] = "byol",
        instance_weight: float = 1.0,
        instance_temperature: float = 0.2,
        pos_ratio: float = 0.7,
        loss_scale: float = 2.0,
        max_pairs: int = MAX_PAIRS,
        momentum: Schedule | dict | float = MOMENTUM,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor, init_cfg)
        _check_instance_branch(instance_neck, instance_head, instance_loss)
        _check_positive(pos_ratio=pos_ratio, loss_scale=loss_scale)
        if instance_neck is not None:
            _check_positive(
                instance_weight=instance_weight, instance_temperature=instance_temperature
            )
        channels = self.backbone.out_channels[-1]
        self.pyramid = None if pyramid is None else build_module(MODELS, pyramid)
        source = self.backbone if self.pyramid is None else self.pyramid
        self.neck = cell_projector(neck, source.out_channels[-1])
        channels_out = self.neck.out_channels
        self.head = build_module(MODELS, head, type="PixelPropagation", channels=channels_out)
        self.instance_neck = self.instance_head = None
        if instance_neck is not None:
            self.instance_neck = cell_projector(instance_neck, channels)
        if instance_head is not None:
            dim = self.instance_neck.out_channels
            if isinstance(instance_head, dict):
                instance_head = dict(out_channels=dim) | instance_head
            self.instance_head = cell_projector(instance_head, dim)
        self.instance_loss = instance_loss
        self.instance_weight = instance_weight
        self.instance_temperature = instance_temperature
        self.pos_ratio = pos_ratio
        self.loss_scale = loss_scale
        self.max_pairs = max_pairs
        # reached where every pair agrees: without a pair an image adds nothing (CollapseHook)
        self.loss_floors = {"loss_pixel": (-2 * loss_scale, "overlap")}
        self.pool = AvgPool()
        self.twin = MomentumTwin(
            self,
            ["backbone", "pyramid", "neck", "instance_neck"],
            momentum=momentum,
            update_at="before_forward",
        )

    def loss(self, views: ViewBatch) -> dict[str, Tensor]:
        """The pixel loss, that of the instance branch if there is one, and diagnostics.

        Raises:
            ValueError: Not exactly two views, or no boxes.
        """
        images, boxes = self.two_views(views), self.two_boxes(views)
        online = [project_levels(self, view) for view in images]
        queries = [[unit_norm(self.head(x)) for x in levels] for levels, _ in online]
        with torch.no_grad():
            twin = [project_levels(self.twin, view) for view in images]
            keys = [[unit_norm(x) for x in levels] for levels, _ in twin]
        terms = [
            pixel_consistency(query, key, boxes, pos_ratio=self.pos_ratio, max_pairs=self.max_pairs)
            for query, key in zip(zip(*queries, strict=True), zip(*keys, strict=True), strict=True)
        ]
        cosine = torch.stack([term.first.mean() + term.second.mean() for term in terms]).mean()
        positives = torch.stack([term.num_positives for term in terms])
        losses = dict(
            loss_pixel=-self.loss_scale * cosine,
            num_positives=positives.mean(),
            overlap=(positives > 0).to(positives.dtype).mean(),
            embedding_std=cell_std(queries[0][-1]),
        )
        if self.instance_neck is not None:
            maps, twin_maps = ([last for _, last in branch] for branch in (online, twin))
            losses["loss_instance"] = self.instance_weight * self.compare_instances(maps, twin_maps)
        return losses

    def compare_instances(self, maps: list[Tensor], twin_maps: list[Tensor]) -> Tensor:
        """The loss of the instance branch, without its weight.

        Args:
            maps: The backbone's last map (B, C, H, W) of both views.
            twin_maps: The same of the twin.
        """
        if self.instance_loss == "simclr_star":
            return self.contrast_instances(maps, twin_maps)
        p1, p2 = (unit_norm(self.pool(self.instance_head(self.instance_neck(x)))) for x in maps)
        with torch.no_grad():
            z1, z2 = (unit_norm(self.pool(self.twin.instance_neck(x))) for x in twin_maps)
        cosine = (p1 * z2).sum(dim=1).mean() + (p2 * z1).sum(dim=1).mean()
        return -self.loss_scale * cosine

    def contrast_instances(self, maps: list[Tensor], twin_maps: list[Tensor]) -> Tensor:
        """Cross-entropy of finding an image's key of the other view among the keys of all ranks."""
        q1, q2 = (unit_norm(self.instance_neck(_pooled(x)).flatten(1)) for x in maps)
        with torch.no_grad():
            keys = [unit_norm(self.twin.instance_neck(_pooled(x)).flatten(1)) for x in twin_maps]
            k1, k2 = (gather_cat(rows) for rows in keys)
        own = own_rows(len(q1), q1.device)
        options = dict(temperature=self.instance_temperature)
        return (contrast_among(q1, k2, own, **options) + contrast_among(q2, k1, own, **options)) / 2


def _pooled(feats: Tensor) -> Tensor:
    """(B, C, 1, 1) means of a map (B, C, H, W)."""
    return feats.mean(dim=(2, 3), keepdim=True)


def _check_positive(**options: float) -> None:
    """Raise for what would leave a loss without a gradient, or turn its sign."""
    for name, value in options.items():
        if value <= 0:
            advice = " (leave out instance_neck for none)" if name == "instance_weight" else ""
            raise ValueError(f"PixPro.{name} must be above 0{advice}, got {value}.")


def _check_instance_branch(neck: object, head: object, kind: str) -> None:
    if kind not in ("byol", "simclr_star"):
        raise ValueError(f"instance_loss must be 'byol' or 'simclr_star', got {kind!r}.")
    needs_head = neck is not None and kind == "byol"
    if (head is not None) != needs_head:
        raise ValueError(
            f"PixPro's instance branch with instance_loss={kind!r} takes "
            + (
                "an instance_neck and an instance_head (the predictor)"
                if kind == "byol"
                else "an instance_neck and no instance_head"
            )
            + f"; got {_kind(neck)} as instance_neck and {_kind(head)} as instance_head."
        )


def _kind(part: object) -> str:
    """A module's type: its own description is a page."""
    return "None" if part is None else f"a {type(part).__name__}"
