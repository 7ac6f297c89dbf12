"""Tiny pictures for tests of the data pipeline."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image


def picture(seed: int = 0, width: int = 48, height: int = 40) -> np.ndarray:
    """(height, width, 3) uint8: smooth colours, edges and a little noise."""
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 256, (5, 6, 3)).astype(np.uint8)
    image = cv2.resize(base, (width, height), interpolation=cv2.INTER_CUBIC)
    cv2.circle(image, (width // 3, height // 2), height // 4, (240, 30, 90), -1)
    noise = rng.normal(0, 6, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def write_folder(root: Path, num: int, *, classes: tuple[str, ...] = ("",)) -> list[Path]:
    """Write `num` JPEGs of different sizes, round robin over `classes`; returns them sorted."""
    paths = []
    for number in range(num):
        folder = root / classes[number % len(classes)]
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{number:03d}.jpg"
        image = picture(number, 40 + number % 7, 36 + number % 5)
        Image.fromarray(image).save(path, quality=90)
        paths.append(path)
    return sorted(paths)


SMALL_VIEWS = dict(
    type="MultiView",
    views=[
        dict(
            num=2,
            transforms=[
                dict(type="RandomResizedCrop", size=16, scale=(0.2, 1.0)),
                dict(type="HorizontalFlip", prob=0.5),
                dict(type="ColorJitter", brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1),
                dict(type="RandomGrayscale", prob=0.2),
                dict(type="GaussianBlur", sigma=(0.1, 2.0), prob=0.5),
                dict(type="Solarize", threshold=128, prob=0.2),
            ],
        ),
        dict(num=1, transforms=[dict(type="RandomResizedCrop", size=8, scale=(0.05, 0.4))]),
    ],
)
"""Three views: two of 16 px with every photometric op, one of 8 px without."""
