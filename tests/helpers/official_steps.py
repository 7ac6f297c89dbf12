"""Training steps of a method whose weights come through its converter, as goldens of baselines have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from mmengine.model import BaseModel
from torch import Tensor

from mmssl.convert.key_map import check_complete
from mmssl.structures import Progress, ViewBatch
from tests.helpers.fill import fill, image

Convert = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


def fill_through(
    model: BaseModel,
    to_official: Convert,
    from_official: Convert,
    dtype: torch.dtype,
    *,
    kept: Sequence[str] = (),
) -> BaseModel:
    """The model with filled weights, ready to train.

    Args:
        model: In its first state.
        to_official: Of its converter.
        from_official: Of its converter.
        dtype: Of the weights.
        kept: Official names that keep the values they have.
    """
    state = model.state_dict()
    theirs = to_official(state)
    filled = {
        key: value if key.endswith(tuple(kept)) and kept else fill(key, value.shape)
        for key, value in theirs.items()
    }
    ours = from_official(filled)
    check_complete(ours, state)
    model.load_state_dict(ours)
    return model.to(dtype).train()


def views_of(
    names: Sequence[str], shapes: Sequence[Sequence[int]], dtype: torch.dtype
) -> ViewBatch:
    """A batch of the golden's images, one name for each view."""
    images = [image(name, list(shape)).to(dtype) for name, shape in zip(names, shapes, strict=True)]
    return unlabelled(images)


def unlabelled(images: Sequence[Tensor], index: Tensor | None = None) -> ViewBatch:
    """A batch of views without labels and boxes; images are numbered from 0 unless `index` says how."""
    number = len(images[0])
    index = torch.arange(number) if index is None else index
    return ViewBatch(list(images), index, [], torch.full((number,), -1), [])


def loss_of(
    model: BaseModel, views: ViewBatch, *, step: int = 0, steps: int = 10, epoch: int = 0
) -> dict[str, Tensor]:
    """What the model says of a batch in a step of a run."""
    model.progress = Progress(step, steps, epoch, 10)
    return model(views, mode="loss")


def gradient(parameter: Tensor) -> Tensor:
    """Its gradient; zeros for what does not learn."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def official_norms(
    model: BaseModel,
    to_official: Convert,
    names: Sequence[str],
    value: Callable[[Tensor], Tensor],
) -> Tensor:
    """Norms of what `value` makes of the parameters with these official names.

    Summed in float64: a float32 sum over a million squares alone would be off by more than a tolerance.
    """
    theirs = to_official({name: value(p) for name, p in model.named_parameters()})
    return torch.stack([theirs[name].double().norm() for name in names])


def gradient_norms(model: BaseModel, to_official: Convert, names: Sequence[str]) -> Tensor:
    """Norms of the gradients of parameters with official names, in the type of the network."""
    found = official_norms(model, to_official, names, gradient)
    return found.to(next(model.parameters()).dtype)
