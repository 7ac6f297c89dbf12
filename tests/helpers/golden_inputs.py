"""Inputs and random draws of the goldens of HCSC, PCL and MoCo, made from their names."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def _stream(kind: str, name: str) -> np.random.RandomState:
    return np.random.RandomState(zlib.crc32(f"{kind}/{name}".encode()))


def uniform(name: str, shape: Sequence[int]) -> Tensor:
    """float32 draws from [0, 1); a mask with probability p is `uniform < p`."""
    return torch.from_numpy(_stream("uniform", name).random_sample(tuple(shape)).astype(np.float32))


def permutation(name: str, size: int) -> Tensor:
    """What stands for `torch.randperm(size)` where a batch is shuffled over the ranks."""
    return torch.from_numpy(_stream("perm", name).permutation(size))


def mixture(name: str, size: int, dim: int, groups: int, spread: float) -> Tensor:
    """(size, dim) float32 unit vectors around `groups` random centres."""
    random = _stream("mixture", name)
    centres = random.standard_normal((groups, dim))
    points = centres[random.randint(groups, size=size)]
    points = points + spread * random.standard_normal((size, dim))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return torch.from_numpy(points.astype(np.float32))


def unpacked(bits: np.ndarray, shape: Sequence[int]) -> Tensor:
    """A bool mask that was stored by `numpy.packbits`."""
    flat = np.unpackbits(bits)[: int(np.prod(shape))].astype(bool)
    return torch.from_numpy(flat).view(tuple(shape))


def strided(array: np.ndarray | Tensor, limit: int = 4096) -> np.ndarray:
    """The sample of a large array that a golden keeps: every ceil(size / limit)-th value."""
    flat = np.asarray(array).ravel()
    return flat[:: -(-flat.size // limit)]
