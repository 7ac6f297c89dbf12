"""Deterministic weights and images of the goldens: nothing but names and outputs is stored.

A golden says what the authors' model returns when each tensor of its state dict is `fill(key, shape)`, `key`
being the authors' key, and its input is `image(name, shape)`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor


def _normal(name: str, shape: Sequence[int]) -> np.ndarray:
    generator = np.random.RandomState(zlib.crc32(name.encode()))
    return generator.standard_normal(tuple(shape)).astype(np.float64)


def fill(key: str, shape: Sequence[int]) -> Tensor:
    """A float32 tensor for the state-dict entry `key`; int64 zero for `num_batches_tracked`."""
    last = key.rsplit(".", 1)[-1]
    if last == "num_batches_tracked":
        return torch.zeros(tuple(shape), dtype=torch.long)
    value = _normal(key, shape)
    if last == "running_var":
        value = 1 + 0.1 * np.abs(value)
    elif last == "running_mean":
        value = 0.1 * value
    elif len(shape) >= 2:
        value = value / np.sqrt(np.prod(shape[1:]))
    elif last in ("weight", "weight_g", "gamma"):
        value = 1 + 0.1 * value
    else:
        value = 0.05 * value
    return torch.from_numpy(np.asarray(value, dtype=np.float32))


def fill_keys(shapes: Mapping[str, Sequence[int]] | Iterable[tuple[str, Sequence[int]]]) -> dict:
    """The filled state dict of the authors' keys and shapes."""
    pairs = shapes.items() if isinstance(shapes, Mapping) else shapes
    return {key: fill(key, shape) for key, shape in pairs}


def image(name: str, shape: Sequence[int]) -> Tensor:
    """A float32 tensor like a batch of normalised images, for the input `name`."""
    return torch.from_numpy(_normal("input/" + name, shape).astype(np.float32))
