"""ViewPreprocessor: device move, photometric half and normalisation of a ViewBatch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from mmssl.datasets.transforms import apply_photometric
from mmssl.registry import MODELS
from mmssl.structures import ViewBatch


@MODELS.register_module()
class ViewPreprocessor(BaseDataPreprocessor):
    """Move a `ViewBatch` to the model's device, finish its views there and normalise them.

    With `MultiView(photometric='device')` the workers only crop; jitter, grayscale, blur and
    solarisation then run here in batches, with the parameters the workers drew.

    Args:
        mean: Per RGB channel, in pixel units (0..255); default ImageNet's.
        std: Per RGB channel, in pixel units (0..255); default ImageNet's.
        channels_last: Lay the images out with channels last, which convolutions then keep (the runner
            lays out the weights alike): faster on CPUs and with mixed precision on GPUs; results
            change by rounding.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
        *,
        channels_last: bool = False,
    ) -> None:
        # pinned memory is copied beside the step, other memory is read before the call returns
        super().__init__(non_blocking=True)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        for name, values in (("mean", mean), ("std", std)):
            tensor = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Normalise `data['inputs'].images` to (x - mean) / std in float32.

        Returns:
            `dict(inputs=ViewBatch, data_samples=None)`; the batch has no photometric rows left.

        Raises:
            TypeError: `data['inputs']` is no `ViewBatch`.
        """
        views = data["inputs"]
        if not isinstance(views, ViewBatch):
            raise TypeError(
                f"Expected data['inputs'] to be a ViewBatch, got {type(views).__name__}; use "
                "collate_fn=dict(type='default_collate') and a dataset of mmssl."
            )
        # The rows stay on the CPU, where they decide which images an op concerns.
        rows = views.photometric
        views = self.cast_data(views._replace(photometric=[]))
        images = views.images
        if rows:
            images = [apply_photometric(*pair) for pair in zip(images, rows, strict=True)]
        images = [
            ((image.float() - self.mean) / self.std).contiguous(memory_format=self.memory_format)
            for image in images
        ]
        return dict(inputs=views._replace(images=images), data_samples=None)
