"""The goldens and other cases of local aggregation, and how they are run."""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmssl.ops.local_aggregation import local_aggregation
from tests.helpers.fill import image
from tests.helpers.goldens import ROOT

LAYOUTS = ("nchw", "channels_last", "strided")


class Case(NamedTuple):
    """Inputs and results of one golden, in float64."""

    options: dict[str, tuple[int, int]]
    x: Tensor
    weight: Tensor
    grad: Tensor
    expected: dict[str, Tensor]


def golden_cases() -> list[str]:
    """Names of the goldens of local aggregation."""
    found = json.loads((ROOT / "cotnet" / "goldens.json").read_text())
    entries = found["cases"] if isinstance(found, dict) else found
    names = [entry.get("name", entry.get("case")) for entry in entries]
    return [name for name in names if name.startswith("agg_")]


def golden(name: str) -> Case:
    """One golden; its tensors are float64."""
    found = json.loads((ROOT / "cotnet" / "goldens.json").read_text())
    entries = found["cases"] if isinstance(found, dict) else found
    entry = next(entry for entry in entries if entry.get("name", entry.get("case")) == name)
    args = entry["args"]
    options = {key: tuple(args[key]) for key in ("kernel_size", "stride", "padding", "dilation")}
    with np.load(ROOT / "cotnet" / f"{name}.npz") as file:
        arrays = {key: torch.from_numpy(file[key]) for key in ("y", "gx", "gw")}
    for key, value in arrays.items():
        arrays[key] = value.view(entry["arrays"][key]["shape"])
    x, weight, grad = (image(each["name"], each["shape"]).double() for each in entry["inputs"])
    return Case(options, x, weight, grad, arrays)


def laid_out(tensor: Tensor, layout: str) -> Tensor:
    """The same values with other strides: channels innermost, or no dimension dense."""
    if layout == "channels_last":
        # what a view of a channels_last map has: the last two dimensions outermost but one
        order = [0, *range(tensor.dim() - 2, tensor.dim()), *range(1, tensor.dim() - 2)]
        inverse = [order.index(axis) for axis in range(tensor.dim())]
        return tensor.permute(order).contiguous().permute(inverse)
    if layout == "strided":
        holes = tensor.new_zeros(*(2 * size for size in tensor.shape))
        view = holes[tuple(slice(None, None, 2) for _ in tensor.shape)]
        return view.copy_(tensor)
    return tensor.contiguous()


def results(
    x: Tensor, weight: Tensor, grad: Tensor, implementation: str, **options: object
) -> dict[str, Tensor]:
    """Output and gradients, by the names of the goldens."""
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    y = local_aggregation(x, weight, implementation=implementation, **options)
    gx, gw = torch.autograd.grad(y, (x, weight), grad)
    return dict(y=y.detach(), gx=gx, gw=gw)
