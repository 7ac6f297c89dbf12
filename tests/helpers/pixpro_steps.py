"""PixPro's training steps as the goldens prescribe them, with weights through our converter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mmssl.convert.official.pixpro import from_official, to_official
from mmssl.models.algorithms import PixPro
from mmssl.models.backbones import ResNet
from mmssl.ops.schedules import Cosine
from mmssl.structures import Progress, ViewBatch
from tests.helpers.fill import fill, image


def pixpro_of(options: dict[str, Any], dtype: torch.dtype) -> PixPro:
    """The model of an entry, with filled weights, ready to train."""
    neck = dict(hid_channels=4096, out_channels=options["feature_dim"])
    instance = options["pixpro_ins_loss_weight"]
    branch = dict(
        instance_neck=neck, instance_head=dict(hid_channels=4096), instance_weight=instance
    )
    length = int(options["num_instances"] / options["batch_size"] * options["epochs"])
    model = PixPro(
        ResNet(50, out_indices=(3,)),
        neck,
        dict(
            num_layers=options["pixpro_transform_layer"],
            gamma=options["pixpro_p"],
            clamp=options["pixpro_clamp_value"],
        ),
        pos_ratio=options["pixpro_pos_ratio"],
        momentum=Cosine(options["pixpro_momentum"], 1.0, length=length),
        **(branch if instance else {}),
    )
    theirs = to_official(model.state_dict())
    filled = {key: fill(key, value.shape) for key, value in theirs.items()}
    model.load_state_dict(from_official(filled, num_updates=1))
    return model.to(dtype).train()


def step_views(names: Sequence[str], shape: Sequence[int], boxes: Sequence[Tensor]) -> ViewBatch:
    """A batch of the images `names`, with these boxes."""
    images = [image(name, shape).to(boxes[0].dtype) for name in names]
    size = shape[0]
    return ViewBatch(images, torch.arange(size), list(boxes), torch.full((size,), -1), [])


def forward(model: PixPro, views: ViewBatch, step: int) -> tuple[dict[str, Tensor], float]:
    """The momentum update of a step and its losses; the momentum."""
    model.progress = Progress(step, 10**6, 0, 1)
    momentum = model.twin.update(model, step, 10**6)
    return model(views, mode="loss"), momentum


class Recorder:
    """What the parts of a model return, call by call, under the names of the arrays."""

    def __init__(self, model: PixPro) -> None:
        self.calls: dict[str, list[Tensor]] = {}
        parts = {
            "feat": model.backbone,
            "proj": model.neck,
            "pred": model.head,
            "feat_ng": model.twin.backbone,
            "proj_ng": model.twin.neck,
        }
        if model.instance_neck is not None:
            parts |= dict(
                pred_instance=model.instance_head, proj_instance_ng=model.twin.instance_neck
            )
        for name, part in parts.items():
            part.register_forward_hook(self._keep(name))

    def _keep(self, name: str) -> Callable[..., None]:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            value = output if isinstance(output, Tensor) else output[-1]
            self.calls.setdefault(name, []).append(value.detach())

        return hook

    def array(self, name: str) -> Tensor:
        """The array `<part>_<view>` or `<part>_<view>_ng` as the official forward has it."""
        part, _, view = name.removesuffix("_ng").rpartition("_")
        value = self.calls[part + ("_ng" if name.endswith("_ng") else "")][int(view) - 1]
        if "instance" in part:
            value = value.mean(dim=(2, 3))
        return value if part == "feat" or name == "proj_1" else F.normalize(value, dim=1)
