"""ViewPreprocessor: device move and normalisation of the images of a ViewBatch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from mmssl.registry import MODELS
from mmssl.structures import ViewBatch


@MODELS.register_module()
class ViewPreprocessor(BaseDataPreprocessor):
    """Move a `ViewBatch` to the model's device and normalise its images.

    Args:
        mean: Per RGB channel, in pixel units (0..255); default ImageNet's.
        std: Per RGB channel, in pixel units (0..255); default ImageNet's.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
    ) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            tensor = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Normalise `data['inputs'].images` to (x - mean) / std in float32.

        Raises:
            TypeError: `data['inputs']` is no `ViewBatch`.
        """
        views = self.cast_data(data)["inputs"]
        if not isinstance(views, ViewBatch):
            raise TypeError(
                f"Expected data['inputs'] to be a ViewBatch, got {type(views).__name__}; use "
                "collate_fn=dict(type='default_collate') and a dataset of mmssl."
            )
        images = [(image.float() - self.mean) / self.std for image in views.images]
        return dict(inputs=views._replace(images=images), data_samples=None)
