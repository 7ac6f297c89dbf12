"""MultiLabelPrecision: mean average precision of a classifier of several classes per image."""

from __future__ import annotations

import torch
from torch import Tensor

from mmssl.evaluation.average_precision import average_precision
from mmssl.evaluation.image_metric import ImageMetric
from mmssl.registry import METRICS
from mmssl.structures import Predictions


@METRICS.register_module()
class MultiLabelPrecision(ImageMetric):
    """Mean over classes, and mean over images, of the average precision, in per cent.

    - `mAP`: per class the images are ranked; area under the monotone envelope of precision over recall
      (VOC since 2010; Everingham et al., IJCV 2010); the mean over the classes that some image shows.
    - `image_mAP`: per image the classes are ranked; area without envelope; an image of no class counts
      as 0. What HCSC's VOC07 script calls mAP; not comparable with the other.

    Args:
        leave_out_difficult: For a class, images of which only difficult objects show it (label 0) do not
            count in `mAP`; else they count as images without it.
        per_class: Also `AP_<number>` for each class.
        prefix: First part of the names `multi_label/mAP`, ...
    """

    default_prefix = "multi_label"

    def __init__(
        self,
        *,
        leave_out_difficult: bool = False,
        per_class: bool = False,
        prefix: str | None = None,
    ) -> None:
        super().__init__(prefix)
        self.leave_out_difficult = leave_out_difficult
        self.per_class = per_class

    def rows(self, predictions: Predictions) -> Tensor:
        """(B, 2 C): scores and labels.

        Raises:
            ValueError: Labels of another form.
        """
        labels, scores = predictions.label, predictions.scores
        if labels.shape != scores.shape:
            raise ValueError(
                f"MultiLabelPrecision needs a label for each of {scores.shape[1]} classes, got labels "
                f"of the form {tuple(labels.shape)}; see VOCClassification."
            )
        return torch.cat([scores, labels.to(scores.dtype)], dim=1)

    def figures(self, rows: Tensor) -> dict[str, float]:
        """`mAP` and `image_mAP` in per cent.

        Raises:
            ValueError: No image shows any class.
        """
        scores, labels = rows.chunk(2, dim=1)
        present = labels > 0
        if not present.any():
            raise ValueError(f"None of the {len(rows)} validation images shows any class.")
        ignored = labels == 0 if self.leave_out_difficult else None
        classes = 100 * average_precision(scores, present, ignored=ignored)
        images = 100 * average_precision(scores.T, present.T, kind="step").nan_to_num(0.0)
        found = dict(mAP=classes.nanmean().item(), image_mAP=images.mean().item())
        if self.per_class:
            found.update({f"AP_{number}": value for number, value in enumerate(classes.tolist())})
        return found
