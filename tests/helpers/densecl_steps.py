"""Training steps of DenseCL as its goldens prescribe them, with weights through our converter."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.model import BaseModule
from torch import Tensor
from torch.nn import functional as F

from mmssl.convert.official.densecl import from_official, to_official
from mmssl.models.algorithms import DenseCL
from mmssl.models.algorithms import densecl as densecl_module
from mmssl.models.backbones import ResNet
from mmssl.structures import Progress, ViewBatch
from tests.helpers.fill import fill, image
from tests.helpers.official_steps import unlabelled

Found = dict[str, Tensor | np.ndarray]


class Given(BaseModule):
    """Returns its input as the map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_channels = [channels]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return (images,)


def model_of(options: dict[str, Any]) -> DenseCL:
    """The model that an entry describes, without its weights."""
    neck = {name: value for name, value in options["neck"].items() if name != "in_channels"}
    backbone = options["backbone"]
    return DenseCL(
        Given(options["neck"]["in_channels"])
        if backbone["type"] == "Given"
        else ResNet(backbone["depth"], out_indices=(3,)),
        neck,
        queue_length=options["queue_len"],
        temperature=options["temperature"],
        dense_weight=options["loss_lambda"],
        momentum=options["momentum"],
        max_logits=1000,
    )


def fill_model(model: DenseCL, dtype: torch.dtype) -> DenseCL:
    """The model with the filled weights, ready to train; its queues are at the first row."""
    state = model.state_dict()
    theirs = to_official(state)
    filled = {key: fill(key, value.shape) for key, value in theirs.items()}
    for name in ("queue", "queue2"):
        filled[name] = F.normalize(filled[name], dim=0)
        filled[f"{name}_ptr"] = torch.zeros(1, dtype=torch.long)
    model.load_state_dict(state | from_official(filled))
    return model.to(dtype).train()


def norms(tensors: dict[str, Tensor], names: list[str]) -> Tensor:
    """Norms of those of our tensors that have these official names."""
    theirs = to_official(tensors)
    return torch.stack([theirs[name].double().norm() for name in names])


def observed(model: DenseCL, views: ViewBatch, progress: Progress) -> tuple[dict, Found]:
    """Losses of a batch, and what the goldens store of it."""
    seen: Found = {}
    kept = densecl_module.best_cells, densecl_module.cell_pairs, densecl_module.info_nce

    def best_cells(queries: Tensor, keys: Tensor) -> Tensor:
        seen["sim_ind"] = kept[0](queries, keys)
        return seen["sim_ind"]

    def cell_pairs(*arguments: Tensor) -> tuple[Tensor, Tensor]:
        q, k = kept[1](*arguments)
        seen["l_pos_dense"] = (q * k).sum(dim=1, keepdim=True).detach()
        return q, k

    def info_nce(q: Tensor, k: Tensor, queue: Tensor, *, temperature: float) -> Tensor:
        seen["l_pos"] = (q * k).sum(dim=1, keepdim=True).detach()
        return kept[2](q, k, queue, temperature=temperature)

    names = ("best_cells", "cell_pairs", "info_nce")
    for name, function in zip(names, (best_cells, cell_pairs, info_nce), strict=True):
        setattr(densecl_module, name, function)
    try:
        model.progress = progress
        losses = model(views, mode="loss")
    finally:
        for name, function in zip(names, kept, strict=True):
            setattr(densecl_module, name, function)
    return losses, seen


def steps(case: str, options: dict[str, Any], names: list[str], shape: list[int], dtype) -> Found:
    """All arrays of a case; theirs moves the key encoder in the forward pass, also the first time.

    Args:
        case: Prefix of the inputs.
        options: Of the entry.
        names: Official names of the parameters whose norms are stored.
        shape: Of the inputs.
        dtype: To compute in.
    """
    model = fill_model(model_of(options), dtype)
    online = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(online, **options["sgd"])
    found: Found = {}
    losses = []
    for step in range(options["steps"]):
        images = [image(f"{case}_{step}_{view}", shape).to(dtype) for view in "qk"]
        views = unlabelled(images)
        model.twin.update(model, step, options["steps"])
        parts, seen = observed(model, views, Progress(step, options["steps"], 0, 1))
        optimizer.zero_grad()
        (parts["loss_view"] + parts["loss_dense"]).backward()
        losses.append(torch.stack([parts["loss_view"], parts["loss_dense"]]).detach())
        if step == 0:
            gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
            number = len(images[0])
            found = seen | dict(
                grad_norms=norms(gradients, names),
                k=model.queue.features[:number].clone(),
                k2=model.dense_queue.features[:number].clone(),
            )
        optimizer.step()
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    theirs = to_official(model.state_dict())
    keys = [name.replace("encoder_q", "encoder_k") for name in names]
    return found | dict(
        losses=torch.stack(losses),
        param_norms=norms(parameters, names),
        key_norms=norms(parameters, keys),
        **{name: theirs[name] for name in ("queue", "queue2", "queue_ptr", "queue2_ptr")},
    )
