"""The goldens and other cases of local aggregation, and how they are run."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from mmssl.ops.cpp_library import cpp_compiler
from mmssl.ops.local_aggregation import local_aggregation
from tests.helpers.fill import image
from tests.helpers.goldens import ROOT

LAYOUTS = ("nchw", "channels_last", "strided")
needs_compiler = pytest.mark.skipif(cpp_compiler() is None, reason="needs a C++ compiler")
CPP = pytest.param("cpp", marks=needs_compiler)
FAST = ("shifted", CPP)  # on CPUs


class Case(NamedTuple):
    """Inputs and results of one golden, in float64."""

    options: dict[str, tuple[int, int]]
    x: Tensor
    weight: Tensor
    grad: Tensor
    expected: dict[str, Tensor]


# kernel, stride, padding, dilation, groups, heads, channels, weight channels, height, width
CASES = {
    "plain": (3, 1, 1, 1, 1, 1, 8, 2, 5, 4),
    "groups": (3, 1, 1, 1, 2, 1, 12, 6, 4, 5),
    "heads": ((3, 1), 1, (1, 0), 1, 2, 2, 8, 4, 4, 3),
    "stride": (3, (2, 3), 1, 1, 1, 1, 6, 3, 7, 8),
    "dilation": ((3, 5), 1, (2, 6), (2, 3), 1, 2, 6, 2, 6, 7),
    "shrinks": (3, 1, 0, 1, 1, 1, 6, 3, 5, 6),
    "grows": (3, 1, (3, 4), 1, 1, 1, 4, 2, 3, 2),
    "point": (1, 1, 0, 1, 1, 1, 5, 5, 3, 3),
    "narrow": (5, 1, 2, 1, 1, 1, 4, 1, 3, 1),
    "strided_dilated": (2, 2, 1, (2, 1), 3, 1, 9, 3, 6, 5),
}


def inputs(name: str, images: int = 2, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """x, weight and a gradient of the result."""
    kernel, stride, padding, dilation, _, heads, channels, weight_channels, *size = CASES[name]
    pairs = [each if isinstance(each, tuple) else (each, each) for each in CASES[name][:4]]
    kernel, stride, padding, dilation = pairs
    out = [
        (size[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1
        for i in range(2)
    ]
    random = torch.Generator().manual_seed(0)
    shapes = (
        (images, channels, *size),
        (images, heads, weight_channels, kernel[0] * kernel[1], *out),
        (images, heads * channels, *out),
    )
    return tuple(
        torch.randn(shape, generator=random, dtype=torch.float64).to(dtype) for shape in shapes
    )


def options(name: str) -> dict[str, Any]:
    """Arguments after the tensors."""
    names = ("kernel_size", "stride", "padding", "dilation", "groups")
    return dict(zip(names, CASES[name][:5], strict=True))


def golden_cases() -> list[str]:
    """Names of the goldens of local aggregation."""
    found = json.loads((ROOT / "cotnet" / "goldens.json").read_text())
    return [each["name"] for each in found["cases"] if each["kind"] == "aggregation"]


def golden(name: str) -> Case:
    """One golden; its tensors are float64."""
    found = json.loads((ROOT / "cotnet" / "goldens.json").read_text())
    entry = next(entry for entry in found["cases"] if entry["name"] == name)
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
