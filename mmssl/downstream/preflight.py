"""Compare a detector or segmenter with what its backbone was pretrained on, before it trains.

Pixels in another order or range, and frozen batch norm, cost several points of AP without any
error: they are the usual reasons why transfer results of others cannot be reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def input_faults(preprocessor: nn.Module, meta: Mapping[str, Any]) -> list[str]:
    """Differences between the images a detector sees and those of the pretraining.

    Args:
        preprocessor: The data preprocessor of mmdet or mmseg (they read images as BGR).
        meta: Metadata of the export: `mean` and `std` in pixel units, `channel_order`. What is absent
            is not compared.
    """
    faults = []
    converts = getattr(
        preprocessor, "_channel_conversion", getattr(preprocessor, "channel_conversion", False)
    )
    order = meta.get("channel_order")
    seen = "RGB" if converts else "BGR"
    if order and order != seen:
        wanted = order == "RGB"
        faults.append(
            f"the backbone was pretrained on {order} images and gets {seen}: set "
            f"model.data_preprocessor.bgr_to_rgb={wanted}"
        )
    for name in ("mean", "std"):
        want = meta.get(name)
        have = getattr(preprocessor, name, None)
        if want is None:
            continue
        if have is None:
            faults.append(f"images are not normalised: set model.data_preprocessor.{name}={want}")
        elif not torch.allclose(have.flatten().float().cpu(), torch.tensor(want).float(), atol=0.5):
            faults.append(
                f"{name} is {[round(v, 3) for v in have.flatten().tolist()]}, pretrained with {want}: "
                f"set model.data_preprocessor.{name}={want}"
            )
    return faults


def frozen_norms(backbone: nn.Module) -> list[str]:
    """Names of batch norms that would keep the statistics or the scale of the pretraining."""
    was_training = backbone.training
    backbone.train()  # frameworks switch frozen layers to eval mode here
    frozen = [
        name
        for name, layer in backbone.named_modules()
        if isinstance(layer, _BatchNorm)
        and not (layer.training and layer.weight is not None and layer.weight.requires_grad)
    ]
    backbone.train(was_training)
    return frozen
