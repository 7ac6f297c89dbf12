"""TopKAccuracy: share of images whose class is among the k highest scores."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmssl.evaluation.image_metric import ImageMetric
from mmssl.registry import METRICS
from mmssl.structures import Predictions


@METRICS.register_module()
class TopKAccuracy(ImageMetric):
    """Top-k accuracies in per cent, counted over the images that have a label.

    Of classes with equal scores the one with the lower number comes first, as `argmax` has it. With fewer
    than k classes every image is right.

    Args:
        top_k: Numbers of guesses.
        prefix: First part of the names `accuracy/top1`, ...

    Raises:
        ValueError: No number, or one below 1.
    """

    default_prefix = "accuracy"

    def __init__(self, top_k: Sequence[int] = (1, 5), *, prefix: str | None = None) -> None:
        super().__init__(prefix)
        if not top_k or min(top_k) < 1:
            raise ValueError(f"top_k must be numbers of at least 1, got {tuple(top_k)}.")
        self.top_k = tuple(top_k)

    def rows(self, predictions: Predictions) -> Tensor:
        """(B, 1) int64: classes before the true one, -1 without a label.

        Raises:
            ValueError: Labels for several classes, or of a class that the classifier does not have.
        """
        labels, scores = predictions.label, predictions.scores
        if labels.ndim != 1:
            raise ValueError(
                "TopKAccuracy is for images of one class; use MultiLabelPrecision for several."
            )
        num_classes = scores.shape[1]
        if int(labels.max()) >= num_classes:
            raise ValueError(
                f"A validation image has class {int(labels.max())}, the classifier has {num_classes} "
                "classes. Train and validation folders must hold the same classes."
            )
        known = labels.clamp_min(0)[:, None]
        own = scores.gather(1, known)
        number = torch.arange(num_classes, device=scores.device)
        before = (scores > own) | ((scores == own) & (number < known))
        return before.sum(dim=1, keepdim=True).masked_fill((labels < 0)[:, None], -1)

    def figures(self, rows: Tensor) -> dict[str, float]:
        """`top<k>` in per cent.

        Raises:
            ValueError: No image has a label.
        """
        place = rows[rows >= 0]
        if not len(place):
            raise ValueError(
                f"None of the {len(rows)} validation images has a label. Put them into one folder per "
                "class."
            )
        return {f"top{k}": 100 * (place < k).double().mean().item() for k in self.top_k}
