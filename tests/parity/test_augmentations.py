"""The photometric ops against the authors' code (golden `care/aug_ops`)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from mmssl.datasets.transforms import (
    ColorJitter,
    GaussianBlur,
    PackedTransform,
    RandomGrayscale,
    Solarize,
    apply_photometric,
)
from mmssl.datasets.transforms.photometric import Jitter
from mmssl.models import ViewPreprocessor
from mmssl.structures import ViewBatch
from tests.helpers.goldens import ROOT

pytestmark = pytest.mark.parity

with np.load(ROOT / "care" / "aug_ops.npz") as _file:
    GOLDEN = {name: _file[name] for name in _file.files}
IMAGE = GOLDEN["x"]


def _only(op: int, factor: float) -> Jitter:
    factors = [1.0, 1.0, 1.0, 0.0]
    factors[op] = factor
    return Jitter((op, *(other for other in range(4) if other != op)), tuple(factors))


# name of the array, transform, parameters, mean difference allowed to the OpenCV and device versions
CASES: list[tuple[str, PackedTransform, object, float]] = [
    # 1.3 times a multiple of ten is a whole number or just below it, depending on the rounding
    ("brightness", ColorJitter(), _only(0, 1.3), 0.05),
    ("contrast", ColorJitter(), _only(1, 0.7), 0.01),
    ("saturation", ColorJitter(), _only(2, 1.15), 0.25),
    ("hue", ColorJitter(), _only(3, 0.08), 1.6),
    ("gray", RandomGrayscale(), True, 0.01),
    ("blur_0.1", GaussianBlur(), 0.1, 0.6),
    ("blur_0.7", GaussianBlur(), 0.7, 1.0),
    ("blur_2.0", GaussianBlur(), 2.0, 1.0),
    ("solarize", Solarize(), True, 0.0),
]


@pytest.mark.parametrize(("name", "transform", "params", "_tolerance"), CASES)
def test_values_pil_backend_is_bit_equal(
    name: str, transform: PackedTransform, params: object, _tolerance: float
) -> None:
    assert np.array_equal(transform.apply(Image.fromarray(IMAGE), params), GOLDEN[name])


@pytest.mark.parametrize(("name", "transform", "params", "tolerance"), CASES)
@pytest.mark.parametrize("path", ["cv2", "device"])
def test_values_fast_paths(
    path: str, name: str, transform: PackedTransform, params: object, tolerance: float
) -> None:
    if path == "cv2":
        ours = transform.apply(IMAGE, params).astype(float)
    else:
        batch = torch.from_numpy(IMAGE.transpose(2, 0, 1).copy())[None]
        result = apply_photometric(batch, torch.tensor([transform.pack(params)]))
        ours = result[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - GOLDEN[name]).mean() <= tolerance


def test_values_normalisation() -> None:
    image = torch.from_numpy(IMAGE.transpose(2, 0, 1).copy())[None]
    index = torch.zeros(1, dtype=torch.long)
    batch = ViewBatch([image], index, [], index, [])
    ours = ViewPreprocessor()(dict(inputs=batch))["inputs"].images[0][0].numpy()
    np.testing.assert_allclose(ours, GOLDEN["normalized"], rtol=1e-5, atol=1e-6)
