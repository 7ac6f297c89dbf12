"""PIC: every training image is a class of its own, with one branch and a softmax over all of them.

Parametric Instance Classification for Unsupervised Visual Feature Learning, 2020, arXiv 2006.14618. Compared
with bl0/PIC (golden `pic_r18_multicrop`). The released code lacks recent negatives and the correction of rows
that were not sampled; both are compared with SGD over all rows (`pic_lazy_*`).

Deviations: one crop alone works too, which the released model cannot read; products, softmax and rows are
float32 under autocast (the release multiplies in float16 and reports NaN in long runs).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmssl.losses import instance_softmax
from mmssl.models.backbones import view_and_map
from mmssl.registry import MODELS, build_module
from mmssl.structures import ViewBatch

from .base import BaseAlgorithm


@MODELS.register_module()
class PIC(BaseAlgorithm):
    """Tell every image from all others, or from those seen lately.

        f_v  = neck(backbone(view v))                     one pass for each crop, large ones first
        loss = mean over crops and images of  - log softmax(cos(f_v, rows) / t)[own row]

    With `head.cosine=False` products take the place of cosines: a linear classifier, as Exemplar-CNN has it.

    The rows learn from the large crops only; small crops see them as constants.

    Args:
        backbone: Returns feature maps; the view's feature is `view_and_map`'s.
        neck: (B, C) -> (B, D); the paper's is Linear - ReLU - Linear without norm. A config may leave out
            `in_channels`.
        head: `InstanceClassifier`; a config may leave out `type` and `in_channels`.
        num_large: Large crops, the first views; `None`: those of the first view's size.
        data_preprocessor: Default `ViewPreprocessor()`.
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ValueError: `num_large` below 1, or a neck whose embeddings the head does not take.
    """

    samples_option = "head.num_instances"

    def __init__(
        self,
        backbone: nn.Module | dict,
        neck: nn.Module | dict,
        head: nn.Module | dict,
        *,
        num_large: int | None = None,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor, init_cfg)
        if num_large is not None and num_large < 1:
            raise ValueError(f"PIC needs at least one large crop, got num_large={num_large}.")
        self.neck = build_module(MODELS, neck, in_channels=self.backbone.out_channels[-1])
        channels = self.neck.out_channels
        self.head = build_module(MODELS, head, type="InstanceClassifier", in_channels=channels)
        if self.head.in_channels != self.neck.out_channels:
            raise ValueError(
                f"The neck makes embeddings of {self.neck.out_channels} numbers, but the rows of the head "
                f"have {self.head.in_channels}: leave out head.in_channels, or make both equal."
            )
        self.num_large = num_large

    @property
    def num_samples(self) -> int:
        """Training images that have a row; `ProgressHook` compares it with the data set."""
        return self.head.num_instances

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings (B, D) of `images`, of any length."""
        return self.neck(view_and_map(self.backbone, images)[0])

    def _count_large(self, images: list[Tensor]) -> int:
        if not images:
            raise ValueError(
                "PIC takes at least one view per image (see configs/_base_/views/pic.py)."
            )
        size = images[0].shape[2:]
        largest = max(view.shape[2] * view.shape[3] for view in images)
        if size[0] * size[1] < largest or len(images) < (self.num_large or 1):
            raise ValueError(
                f"PIC takes its {self.num_large or ''} large crops first, got views of "
                f"{[tuple(view.shape[2:]) for view in images]} (see configs/_base_/views/pic.py)."
            )
        same = [view.shape[2:] == size for view in images]
        alike = same.index(False) if False in same else len(same)
        return self.num_large or alike

    def loss(self, views: ViewBatch) -> dict[str, Tensor]:
        """The loss of all crops, and diagnostics.

        Raises:
            ValueError: No view, large crops that do not come first, or an image without a row.
        """
        num_large, num_images = self._count_large(views.images), len(views.index)
        # a pass for each crop, for each has batch statistics of its own; rows are crop-major
        features = torch.cat([self.embed(crop) for crop in views.images])
        # behind the network, which a GPU works at while the rows are looked for
        classes = self.head(views.index)
        large, small = features.split(
            [num_large * num_images, (len(views.images) - num_large) * num_images]
        )
        result = instance_softmax(
            large,
            small,
            classes.weight,
            classes.target,
            temperature=self.head.temperature,
            cosine=self.head.cosine,
            sharded=classes.sharded,
        )
        with torch.no_grad():
            unit = nn.functional.normalize(large.float(), dim=1)
            spread = unit[:num_images].std(dim=0, correction=0).mean()
        return dict(loss=result.loss, accuracy=result.correct.float().mean(), embedding_std=spread)
