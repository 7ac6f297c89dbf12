"""ImageClassifier: a linear classifier on a backbone, which is frozen, fine-tuned or trained from scratch.

The supervised baseline (CoTNet, arXiv 2107.12292; JDAI-CV/CoTNet) and the evaluation protocols that train:
linear classification (MoCo, arXiv 1911.05722, section 4.1), semi-supervised fine-tuning (SimCLR, arXiv
2002.05709, section B.5), VOC07 classification (HCSC, arXiv 2202.00455; hirl-team/HCSC @cec852d).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmssl.losses import class_cross_entropy, multi_label_cross_entropy
from mmssl.models.backbones import view_and_map
from mmssl.models.momentum_twin import MomentumTwin
from mmssl.ops.schedules import Schedule
from mmssl.registry import MODELS, build_module
from mmssl.structures import Predictions, ViewBatch

from .base import BaseAlgorithm


@MODELS.register_module()
class ImageClassifier(BaseAlgorithm):
    """Backbone, the view's feature (mean over the last map, or the class token), linear head.

    | protocol                        | frozen | train_norms | while training, the backbone        |
    |---------------------------------|--------|-------------|-------------------------------------|
    | linear classification           | True   | False       | in eval mode, bit-identical         |
    | HCSC's VOC07 classification     | True   | True        | parameters fixed, BatchNorm trains  |
    | semi-supervised, fine-tuning    | False  | False       | trained                             |
    | supervised, from scratch        | False  | False       | trained                             |

    Start from pretrained weights with `backbone.init_cfg = dict(type='PretrainedBackbone',
    checkpoint=...)`.

    Args:
        backbone: Returns feature maps.
        head: (B, C) -> (B, num_classes). A config may leave out `in_channels`.
        frozen: No parameter of the backbone is trained, and it stays in eval mode.
        train_norms: With `frozen`: BatchNorm normalises by the batch and its running statistics move,
            so that the backbone at the end is another one.
        multi_label: Labels are (B, num_classes) of 1, 0, -1 instead of (B,) classes.
        label_smoothing: See `class_cross_entropy`.
        batch_mix: `BatchMix`: the classifier trains on images mixed within the batch. The accuracy of a
            batch is not logged then.
        momentum: m of averaged weights, theta' <- m theta' + (1 - m) theta after every optimizer step, of all
            parameters and floating-point buffers (the statistics of BatchNorm) of backbone and head. What is
            validated is the average, `twin`; None keeps none.
        reduction: See `multi_label_cross_entropy`.
        leave_out_difficult: See `multi_label_cross_entropy`.
        data_preprocessor: Default `ViewPreprocessor()`.
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ValueError: `train_norms` of a backbone that is not frozen, an average of one that is, or options of
            the other kind of label.
    """

    published_branch = "twin"

    def __init__(
        self,
        backbone: nn.Module | dict,
        head: nn.Module | dict,
        *,
        frozen: bool = True,
        train_norms: bool = False,
        multi_label: bool = False,
        label_smoothing: float = 0.0,
        batch_mix: nn.Module | dict | None = None,
        momentum: Schedule | dict | float | None = None,
        reduction: Literal["mean", "sum"] = "mean",
        leave_out_difficult: bool = False,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor, init_cfg)
        if train_norms and not frozen:
            raise ValueError(
                "train_norms=True is for frozen=True: fine-tuning trains norms anyway."
            )
        if multi_label and (label_smoothing or batch_mix is not None):
            raise ValueError(
                "label_smoothing and batch_mix are for images of one class; leave them out."
            )
        if frozen and momentum is not None:
            raise ValueError(
                "momentum averages what is trained, backbone included; it is for frozen=False."
            )
        if not multi_label and (reduction != "mean" or leave_out_difficult):
            raise ValueError("reduction and leave_out_difficult are for multi_label=True.")
        self.head = build_module(MODELS, head, in_channels=self.backbone.out_channels[-1])
        self.frozen = frozen
        self.train_norms = train_norms
        self.multi_label = multi_label
        self.label_smoothing = label_smoothing
        self.reduction: Literal["mean", "sum"] = reduction
        self.leave_out_difficult = leave_out_difficult
        self.batch_mix = None if batch_mix is None else build_module(MODELS, batch_mix)
        if frozen:
            self.backbone.requires_grad_(False)
        if momentum is not None:
            self.twin = MomentumTwin(
                self,
                ["backbone", "head"],
                momentum=momentum,
                update_at="after_step",
                average_buffers=True,
            )
        self.train(self.training)

    def train(self, mode: bool = True) -> ImageClassifier:
        """Switch the mode, except for a frozen backbone."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
            if mode and self.train_norms:
                for module in self.backbone.modules():
                    if isinstance(module, _BatchNorm):
                        module.train()
        return self

    def logits(self, images: Tensor, *, averaged: bool = False) -> Tensor:
        """(B, num_classes) of normalised images (B, 3, H, W), with the trained or the averaged weights."""
        net = self.twin if averaged else self
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            feature = view_and_map(net.get_submodule("backbone"), images)[0]
        return net.get_submodule("head")(feature)

    def loss(self, views: ViewBatch) -> dict[str, Tensor]:
        """Cross-entropy of the first view and, for single classes of unmixed images, the share that is right.

        Raises:
            ValueError: Labels that do not suit the head, or several views.
        """
        if len(views.images) != 1:
            raise ValueError(
                f"A classifier trains on one view per image, got {len(views.images)}; use a view set "
                "with one (see configs/benchmarks/_base_/classifier_data.py)."
            )
        images, share = views.images[0], None
        if self.batch_mix is not None:
            images, share = self.batch_mix(images)
        logits = self.logits(images)
        if self.multi_label:
            return dict(
                loss=multi_label_cross_entropy(
                    logits,
                    views.label,
                    reduction=self.reduction,
                    leave_out_difficult=self.leave_out_difficult,
                )
            )
        loss = class_cross_entropy(
            logits, views.label, label_smoothing=self.label_smoothing, share=share
        )
        if share is not None:
            return dict(loss=loss)
        right = (logits.detach().argmax(dim=1) == views.label).float().mean()
        return dict(loss=loss, accuracy=100 * right)

    def predict(self, views: ViewBatch) -> list[Predictions]:
        """Scores of every image, the mean of the logits of its views; one entry for the whole batch.

        With averaged weights these are theirs.
        """
        averaged = self.twin is not None
        scores = torch.stack(
            [self.logits(images, averaged=averaged).float() for images in views.images]
        ).mean(dim=0)
        return [Predictions(views.index, views.label, scores)]

    def forward(
        self,
        inputs: ViewBatch | Tensor,
        data_samples: Any = None,
        mode: Literal["loss", "tensor", "predict"] = "tensor",
    ) -> Any:
        """As `BaseAlgorithm.forward`, and `predict` for validation."""
        if mode == "predict":
            return self.predict(inputs)
        return super().forward(inputs, data_samples, mode)
