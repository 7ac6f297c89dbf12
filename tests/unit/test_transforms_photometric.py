"""Photometric ops: Pillow bit-equal to torchvision, OpenCV within stated tolerances of Pillow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torchvision import transforms as T
from torchvision.transforms import functional as F

from mmssl.datasets.transforms import (
    ColorJitter,
    ForeignPhotometric,
    GaussianBlur,
    PhotometricTransform,
    RandomGrayscale,
    Solarize,
    ViewRandom,
)
from mmssl.datasets.transforms.photometric import Jitter, blur_kernel, box_radius
from tests.helpers.pictures import picture

ADJUST = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)


def jitter_of_one(op: int, factor: float) -> Jitter:
    """Jitter parameters that only apply op number `op`."""
    factors = [1.0, 1.0, 1.0, 0.0]
    factors[op] = factor
    return Jitter((0, 1, 2, 3), tuple(factors))


SINGLE_OPS = [(0, 0.6), (0, 1.4), (1, 0.6), (1, 1.4), (2, 0.2), (2, 1.8), (3, -0.1), (3, 0.08)]


@pytest.mark.parametrize(("op", "factor"), SINGLE_OPS)
def test_values_pil_jitter_equals_torchvision(op: int, factor: float) -> None:
    image = Image.fromarray(picture())
    ours = ColorJitter().apply(image, jitter_of_one(op, factor))
    assert np.array_equal(ours, ADJUST[op](image, factor))


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_values_pil_jitter_order(order: tuple) -> None:
    image = expected = Image.fromarray(picture())
    factors = (1.3, 0.7, 1.15, 0.08)
    for op in order:
        expected = ADJUST[op](expected, factors[op])
    assert np.array_equal(ColorJitter().apply(image, Jitter(order, factors)), expected)


def test_values_pil_other_ops_equal_torchvision() -> None:
    image = Image.fromarray(picture())
    gray = RandomGrayscale().apply(image, True)
    assert np.array_equal(gray, F.rgb_to_grayscale(image, num_output_channels=3))
    assert np.array_equal(Solarize(100).apply(image, True), F.solarize(image, 100))
    blurred = GaussianBlur().apply(image, 1.3)
    assert np.array_equal(blurred, image.filter(ImageFilter.GaussianBlur(1.3)))


# (transform, parameters, mean difference, largest difference) to Pillow in levels of 255: bounds of
# what was measured on this picture. Hue: Pillow and OpenCV round an 8-bit hue differently, which
# shows in strong colours. Blur: Pillow rounds after each of six passes and repeats the edge in each of them.
CV2_TOLERANCES = [
    (ColorJitter(), jitter_of_one(0, 0.6), 0.01, 1),
    (ColorJitter(), jitter_of_one(0, 1.4), 0.01, 1),
    (ColorJitter(), jitter_of_one(1, 0.6), 0.01, 1),
    (ColorJitter(), jitter_of_one(1, 1.4), 0.01, 1),
    (ColorJitter(), jitter_of_one(2, 0.2), 0.25, 1),
    (ColorJitter(), jitter_of_one(2, 1.8), 0.25, 1),
    (ColorJitter(), jitter_of_one(3, -0.1), 1.6, 12),
    (ColorJitter(), jitter_of_one(3, 0.08), 1.6, 12),
    (RandomGrayscale(), True, 0.01, 1),
    (GaussianBlur(), 0.1, 0.4, 4),
    (GaussianBlur(), 0.3, 0.9, 4),
    (GaussianBlur(), 1.0, 0.7, 12),
    (GaussianBlur(), 2.0, 0.7, 20),
    (Solarize(128), True, 0.0, 0),
    (Solarize(90), True, 0.0, 0),
]


@pytest.mark.parametrize(("transform", "params", "mean", "largest"), CV2_TOLERANCES)
def test_equivalence_cv2_to_pillow(
    transform: PhotometricTransform, params: object, mean: float, largest: int
) -> None:
    array = picture(1, 64, 56)
    before = array.copy()
    ours = transform.apply(array, params).astype(int)
    expected = np.asarray(transform.apply(Image.fromarray(array), params)).astype(int)
    difference = np.abs(ours - expected)
    assert difference.mean() <= mean
    assert difference.max() <= largest
    assert np.array_equal(array, before)


def test_equivalence_cv2_blur_to_pillow_off_the_border() -> None:
    """Inside, only Pillow's rounding in between is left."""
    array = picture(1, 64, 56)
    for sigma in (0.1, 0.25, 0.5, 1.0, 1.5, 2.0):
        expected = np.asarray(Image.fromarray(array).filter(ImageFilter.GaussianBlur(sigma)))
        ours = GaussianBlur().apply(array, sigma)
        inner = np.abs(ours.astype(int) - expected)[8:-8, 8:-8]
        assert inner.max() <= 3, sigma
        assert inner.mean() <= 0.9, sigma


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.5, 1.0, 2.0, 3.5])
def test_values_blur_kernel_has_the_variance_of_the_gaussian(sigma: float) -> None:
    kernel = blur_kernel(sigma).astype(float)
    offsets = np.arange(len(kernel)) - len(kernel) // 2
    assert abs(kernel.sum() - 1) < 1e-6
    assert np.array_equal(kernel, kernel[::-1])
    # tiny outer taps are dropped: up to 1/1024 of the weight on either side
    assert abs((kernel * offsets**2).sum() - sigma**2) < 0.02 * max(sigma**2, 0.3)


def test_values_box_radius() -> None:
    """Three boxes of width 3 have the variance 3 * (3 ** 2 - 1) / 12 = 2, of width 5: 6."""
    assert abs(box_radius(2**0.5) - 1) < 1e-12
    assert abs(box_radius(6**0.5) - 2) < 1e-12


def test_values_blur_sigma_is_per_view() -> None:
    drawn = [GaussianBlur(prob=1.0).draw(ViewRandom(0, 0, 0, view), (9, 9)) for view in range(50)]
    assert len(set(drawn)) == 50
    assert min(drawn) >= 0.1
    assert max(drawn) < 2.0


def test_values_jitter_without_hue_is_lossless() -> None:
    """HSV and back loses levels on Pillow: an op that is switched off must not run."""
    array = picture()
    transform = ColorJitter(0, 0, 0, 0)
    params = transform.draw(ViewRandom(0), (48, 40))
    assert np.array_equal(transform.apply(Image.fromarray(array), params), array)
    assert np.array_equal(transform.apply(array, params), array)


def test_values_jitter_ranges() -> None:
    transform = ColorJitter(0.4, (0.5, 0.6), 1.5, 0.1)
    assert transform.ranges == ((0.6, 1.4), (0.5, 0.6), (0.0, 2.5), (-0.1, 0.1))
    reference = T.ColorJitter(0.4, (0.5, 0.6), 1.5, 0.1)
    assert transform.ranges == tuple(
        tuple(getattr(reference, name)) for name in ("brightness", "contrast", "saturation", "hue")
    )


@pytest.mark.parametrize(
    "build",
    [
        lambda: ColorJitter(-0.1),
        lambda: ColorJitter(hue=0.6),
        lambda: GaussianBlur((0.0, 1.0)),
        lambda: GaussianBlur((2.0, 1.0)),
        lambda: Solarize(0.5),
        lambda: RandomGrayscale(1.2),
    ],
)
def test_raises_on_nonsense(build: object) -> None:
    with pytest.raises(ValueError, match="must|is in|no valid"):
        build()


@pytest.mark.parametrize("backend", ["cv2", "pil"])
def test_foreign_transform_is_deterministic_and_leaves_global_generators_alone(
    backend: str,
) -> None:
    foreign = ForeignPhotometric(T.RandAugment(num_ops=2, magnitude=9))
    array = picture()
    image = Image.fromarray(array) if backend == "pil" else array
    torch.manual_seed(0)
    np.random.seed(0)
    expected_torch, expected_numpy = torch.rand(3), np.random.rand(3)
    results = []
    for seed in (1, 2, 1):
        torch.manual_seed(0)
        np.random.seed(0)
        results.append(np.asarray(foreign(image, ViewRandom(seed))))
        assert torch.equal(torch.rand(3), expected_torch)
        assert np.array_equal(np.random.rand(3), expected_numpy)
    assert np.array_equal(results[0], results[2])
    assert not np.array_equal(results[0], results[1])


def test_foreign_transform_on_tensors() -> None:
    array = picture()
    foreign = ForeignPhotometric(T.Compose([T.PILToTensor(), T.RandomInvert(1.0)]))
    assert np.array_equal(foreign.apply(array, 0), 255 - array)


def test_raises_on_foreign_transforms_that_move_pixels() -> None:
    with pytest.raises(ValueError, match="must keep the size"):
        ForeignPhotometric(T.Resize(8)).apply(picture(), 0)
    with pytest.raises(TypeError, match="Leave ToTensor and Normalize out"):
        ForeignPhotometric(T.ToTensor()).apply(picture(), 0)
