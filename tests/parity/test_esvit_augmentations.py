"""The operations of the views of DINO and EsViT and of their evaluation, on Pillow images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from mmssl.datasets.transforms import (
    CenterCrop,
    ColorJitter,
    GaussianBlur,
    PackedTransform,
    RandomGrayscale,
    RandomResizedCrop,
    Resize,
    Solarize,
    ViewRandom,
)
from mmssl.datasets.transforms.geometric import Crop
from mmssl.datasets.transforms.photometric import Jitter
from mmssl.models import ViewPreprocessor
from mmssl.structures import ViewBatch
from tests.helpers.goldens import Golden

pytestmark = pytest.mark.parity

GOLDEN = Golden("esvit", "aug_ops")
PIXELS = GOLDEN.arrays["input"].astype(np.uint8)
ORDER = (0, 1, 2, 3)


def jitter(**changes: float) -> Jitter:
    names = ("brightness", "contrast", "saturation", "hue")
    factors = tuple(changes.get(name, float(name != "hue")) for name in names)
    return Jitter(ORDER, factors)


PHOTOMETRIC: list[tuple[str, PackedTransform, object]] = [
    ("blur_0.1", GaussianBlur(), 0.1),
    ("blur_0.7", GaussianBlur(), 0.7),
    ("blur_2.0", GaussianBlur(), 2.0),
    ("solarize", Solarize(), True),
    ("gray", RandomGrayscale(), True),
    ("brightness", ColorJitter(), jitter(brightness=1.3)),
    ("contrast", ColorJitter(), jitter(contrast=0.7)),
    ("saturation", ColorJitter(), jitter(saturation=1.15)),
    ("hue", ColorJitter(), jitter(hue=-0.06)),
    (
        "jitter_bcsh",
        ColorJitter(),
        jitter(brightness=1.3, contrast=0.7, saturation=1.15, hue=-0.06),
    ),
]


@pytest.mark.parametrize(("name", "transform", "params"), PHOTOMETRIC)
def test_values_photometric(name: str, transform: PackedTransform, params: object) -> None:
    GOLDEN.check(name, np.array(transform.apply(Image.fromarray(PIXELS), params)))


@pytest.mark.parametrize("size", [32, 24])
def test_values_crops(size: int) -> None:
    transform = RandomResizedCrop(size, interpolation="bicubic")
    cropped = transform.apply(Image.fromarray(PIXELS), Crop(left=11, top=7, width=41, height=33))
    GOLDEN.check(f"resized_crop_{size}", np.array(cropped))


def test_values_evaluation() -> None:
    image = Image.fromarray(PIXELS)
    for transform in (Resize(64, interpolation="bicubic"), CenterCrop(56)):
        params = transform.draw(ViewRandom(0, 0, 0, 0), image.size)
        image = transform.apply(image, params)
    GOLDEN.check("eval_resize64_crop56", np.array(image))


def test_values_normalisation() -> None:
    image = torch.from_numpy(PIXELS.transpose(2, 0, 1).copy())[None]
    index = torch.zeros(1, dtype=torch.long)
    views = ViewBatch([image], index, [], index, [])
    GOLDEN.check("normalised", ViewPreprocessor()(dict(inputs=views))["inputs"].images[0][0])
