"""ViewBatch: what a loader yields and a loss receives."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class ViewBatch(NamedTuple):
    """Augmented views of a batch of images.

    A dataset sample has the same fields without the leading B. mmengine's `default_collate` stacks
    named tuples field by field, so no collate function of ours exists.

    Attributes:
        images: One tensor (B, 3, H_v, W_v) per view. uint8 RGB as loaded, float32 and normalised
            behind the data preprocessor.
        index: (B,) int64 positions in the dataset.
        boxes: One tensor (B, 4) float32 per view: the crop rectangle (left, top, right, bottom)
            relative to the source image, in output orientation (a mirrored view has left > right,
            or top > bottom). An empty list when the pipeline did not record it.
        label: (B,) int64 class, -1 where the image has none. Data sets whose images show several
            classes (`VOCClassification`) have (B, C) int8: 1 present, 0 only difficult objects, -1
            absent.
        photometric: One tensor (B, P) float32 per view: packed parameters for the photometric
            half that is still to run on the training device. An empty list when it was done.
    """

    images: list[Tensor]
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody needs
    boxes: list[Tensor]
    label: Tensor
    photometric: list[Tensor]
