"""Inputs and comparisons of the goldens of PixPro and PixContrast."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.helpers.fill import image
from tests.helpers.golden_inputs import strided
from tests.helpers.goldens import Golden


def compare(golden: Golden, name: str, value: Tensor | np.ndarray | float, rtol: float) -> None:
    """Assert that `value` is the array `name`, to `rtol` of its largest entry; mean and std too."""
    expected = golden.arrays[name].astype(np.float64)
    actual = torch.as_tensor(value).detach().double().numpy()
    largest = np.abs(expected).max(initial=0.0)
    if f"{name}__mean" in golden.arrays:
        assert actual.shape == tuple(golden.arrays[f"{name}__shape"]), name
        for moment in ("mean", "std"):
            off = abs(float(getattr(actual, moment)()) - float(golden.arrays[f"{name}__{moment}"]))
            assert off <= rtol * largest, f"{golden.case} {name}: {moment} differs by {off:.3g}"
        actual = strided(actual)
    assert actual.size == expected.size, f"{name}: {actual.shape}, expected {expected.shape}"
    off = np.abs(actual.ravel() - expected.ravel()).max(initial=0.0)
    assert off <= rtol * largest, f"{golden.case} {name}: {off:.3g} > {rtol:g} * {largest:.3g}"


def boxes_of(golden: Golden, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The stored coordinates of both views."""
    first, second = (torch.from_numpy(golden.arrays[f"coord{view}"]) for view in (1, 2))
    return first.to(dtype), second.to(dtype)


def unit_maps(golden: Golden, dtype: torch.dtype) -> dict[str, Tensor]:
    """The maps q1, q2, k1, k2 by the entry's rule; queries learn."""
    tags = dict(golden.entry["inputs"])
    prefix = next(iter(tags)).split("_")[0]
    maps = {}
    for name in ("q1", "q2", "k1", "k2"):
        parts = [f"{prefix}_{name}_{part}" for part in ("a", "base")]
        total = sum(image(tag, tags[tag]).to(dtype) for tag in parts)
        maps[name] = F.normalize(total, dim=1).requires_grad_(name.startswith("q"))
    return maps


def named_in(text: str) -> list[str]:
    """The names in quotes of a description."""
    return re.findall(r"'([\w.]+)'", text)
