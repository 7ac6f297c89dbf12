"""The goldens and other cases of local relation, and how they are run."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmssl.ops.local_relation import SIMILARITIES, local_relation
from tests.helpers.fill import image
from tests.helpers.goldens import ROOT

NAMES = ("query", "key", "value", "position_weight")
GRADIENTS = ("gq", "gk", "gv", "gpos")


class Case(NamedTuple):
    """Inputs, options and results of one golden, in float64."""

    inputs: list[Tensor]
    grad: Tensor
    options: dict[str, Any]
    expected: dict[str, Tensor]


@cache
def _entries() -> dict[str, dict]:
    found = json.loads((ROOT / "cotnet" / "goldens.json").read_text())
    return {each["name"]: each for each in found["cases"] if each["kind"] == "local_relation"}


def golden_cases() -> list[str]:
    """Names of the goldens of local relation."""
    return list(_entries())


def golden(name: str) -> Case:
    """One golden; its tensors are float64."""
    entry = _entries()[name]
    args = entry["args"]
    options = {key: args[key] for key in ("kernel_size", "groups", "stride", "dilation", "scale")}
    options["outside"] = args["no_define_value"]
    options["similarity"] = SIMILARITIES[args["sim_method"]]
    *inputs, grad = (image(each["name"], each["shape"]).double() for each in entry["inputs"])
    with np.load(ROOT / "cotnet" / f"{name}.npz") as file:
        expected = {key: torch.from_numpy(file[key]) for key in ("y", *GRADIENTS)}
    return Case(inputs, grad, options, expected)


def random_inputs(
    *,
    groups: int = 3,
    inner: int = 2,
    outer: int = 3,
    extra: int = 0,
    num: int = 2,
    size: tuple[int, int] = (5, 6),
    kernel_size: tuple[int, int] = (3, 3),
    stride: tuple[int, int] = (1, 1),
    dtype: torch.dtype = torch.float64,
) -> list[Tensor]:
    """Queries, keys, values and prior of seed 0."""
    torch.manual_seed(0)
    places = [-(-size[axis] // stride[axis]) for axis in (0, 1)]
    shapes = [
        (num, groups * inner, *places),
        (num, groups * inner + extra, *size),
        (num, groups * outer, *size),
        (groups, *kernel_size),
    ]
    return [torch.randn(shape, dtype=dtype) for shape in shapes]


def results(
    inputs: list[Tensor], implementation: str, grad: Tensor | None = None, **options: Any
) -> dict[str, Tensor]:
    """Output and gradients, by the names of the goldens; the gradient of the output is fixed."""
    leaves = [each.detach().requires_grad_() for each in inputs]
    y = local_relation(*leaves, implementation=implementation, **options)
    if grad is None:
        grad = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)
    grads = torch.autograd.grad(y, leaves, grad, allow_unused=True)
    found = dict(y=y.detach(), **dict(zip(GRADIENTS, grads, strict=True)))
    # one that does not take part has none, or zeros
    return {
        key: torch.zeros_like(inputs[number - 1]) if value is None else value
        for number, (key, value) in enumerate(found.items())
    }
