"""Tiny clusterings made by hand, and images to go with them."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from mmssl.structures import Clustering

ANGLES = [0.0, 0.1, 0.25, 1.0, 1.1, 1.3, 3.0, 3.25]
"""Directions of eight images: three close together, three others, and two more."""
GROUPS = [0, 0, 0, 1, 1, 1, 3, 3]
"""Their prototypes on level 0; nobody has prototype 2."""
COLOURS = [(200, 40, 40)] * 3 + [(40, 160, 60)] * 3 + [(40, 70, 200)] * 2


def directions(angles: list[float]) -> Tensor:
    """(R, 2) unit rows."""
    at = torch.tensor(angles, dtype=torch.float64)
    return torch.stack([at.cos(), at.sin()], dim=1).float()


def hand_tree() -> Clustering:
    """Four prototypes, of which one is empty, below two."""
    return Clustering(
        centroids=[directions([0.1, 1.1, 1.9, 3.1]), directions([0.6, 3.0])],
        density=[torch.tensor([0.1, 0.2, 0.3, 0.2]), torch.tensor([0.15, 0.25])],
        parents=[torch.tensor([0, 0, 1, 1])],
        assignment=torch.tensor([GROUPS], dtype=torch.int32),
        objective=[],
    )


def hand_flat() -> Clustering:
    """The same images in four prototypes and, by themselves, in two."""
    tree = hand_tree()
    upper = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1], dtype=torch.int32)
    assignment = torch.stack([tree.assignment[0], upper])
    return tree._replace(parents=[], assignment=assignment)


def write_coloured(folder: Path, names: list[str]) -> None:
    """A file of one colour per image, in the colours of the prototypes."""
    for name, colour in zip(names, COLOURS, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 10), colour).save(folder / name)
