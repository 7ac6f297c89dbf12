"""Crops, resizing, mirroring: pixels as torchvision on Pillow, boxes that follow the pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from mmssl.datasets.transforms import (
    CenterCrop,
    HorizontalFlip,
    MultiView,
    RandomResizedCrop,
    Resize,
    VerticalFlip,
    ViewRandom,
)
from mmssl.datasets.transforms.geometric import Crop
from mmssl.ops.boxes import cell_centres
from tests.helpers.pictures import picture

MODES = dict(bilinear=InterpolationMode.BILINEAR, bicubic=InterpolationMode.BICUBIC)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("crop", [Crop(3, 5, 30, 20), Crop(0, 0, 48, 40), Crop(10, 9, 7, 9)])
def test_values_pil_crop_equals_torchvision(interpolation: str, crop: Crop) -> None:
    image = Image.fromarray(picture())
    transform = RandomResizedCrop((14, 18), interpolation=interpolation)
    expected = F.resized_crop(
        image, crop.top, crop.left, crop.height, crop.width, [14, 18], MODES[interpolation]
    )
    assert np.array_equal(transform.apply(image, crop), expected)


@pytest.mark.parametrize(("width", "height"), [(48, 40), (40, 48), (30, 91)])
def test_values_pil_evaluation_view_equals_torchvision(width: int, height: int) -> None:
    image = Image.fromarray(picture(1, width, height))
    resize, crop = Resize(32), CenterCrop(28)
    resized = resize.apply(image, resize.draw(ViewRandom(0), image.size))
    ours = crop.apply(resized, crop.draw(ViewRandom(0), resized.size))
    assert np.array_equal(ours, F.center_crop(F.resize(image, 32), 28))


@pytest.mark.parametrize("size", [(5, 9), (8, 8), (9, 5), (10, 7)])
@pytest.mark.parametrize("backend", ["pil", "cv2"])
def test_values_center_crop_of_a_smaller_image_is_padded(size: tuple, backend: str) -> None:
    array = picture(2, *size)
    crop = CenterCrop(8)
    image = Image.fromarray(array) if backend == "pil" else array
    ours = crop.apply(image, crop.draw(ViewRandom(0), size))
    assert np.array_equal(ours, F.center_crop(Image.fromarray(array), 8))


# Root mean square difference to Pillow in levels: measured 0.5-1.7 (bilinear) and 1.5-2.6 (bicubic,
# where OpenCV's kernel is sharper than Pillow's even when nothing shrinks). OpenCV's INTER_AREA
# measures 0.9-2.2 and 1.4-3.1 on the same when shrinking.
@pytest.mark.parametrize(("interpolation", "tolerance"), [("bilinear", 2.0), ("bicubic", 3.0)])
@pytest.mark.parametrize("factor", [0.5, 0.9, 1.3, 1.6, 2.2, 2.9, 3.4, 5.0, 7.7])
def test_equivalence_cv2_resize_to_pillow(
    interpolation: str, tolerance: float, factor: float
) -> None:
    size = (32, 28)
    array = picture(3, round(size[0] * factor), round(size[1] * factor * 1.05))
    transform = Resize((28, 32), interpolation=interpolation)
    ours = transform.apply(array, size).astype(float)
    expected = np.asarray(transform.apply(Image.fromarray(array), size)).astype(float)
    assert math.sqrt(np.square(ours - expected).mean()) < tolerance
    # no shift of brightness either
    assert abs(ours.mean() - expected.mean()) < 0.4


@pytest.mark.parametrize("backend", ["cv2", "pil"])
def test_values_flip(backend: str) -> None:
    array = picture()
    image = Image.fromarray(array) if backend == "pil" else array
    flip = HorizontalFlip()
    assert np.array_equal(flip.apply(image, True), array[:, ::-1])
    assert np.array_equal(flip.apply(image, False), array)
    assert np.array_equal(VerticalFlip().apply(image, True), array[::-1])
    assert np.array_equal(VerticalFlip().apply(image, False), array)


def test_values_crop_law() -> None:
    """Area uniform in `scale`, log ratio uniform, position uniform: counted with fixed streams."""
    transform = RandomResizedCrop(8, (0.2, 0.6))
    size = (300, 300)
    crops = np.array([transform.draw(ViewRandom(0, 0, index), size) for index in range(4000)])
    left, top, width, height = crops.T
    area = width * height / 90000
    ratio = np.log(width / height)
    for values, low, high in (
        (area, 0.2, 0.6),
        (ratio, math.log(3 / 4), math.log(4 / 3)),
        (left / (300 - width), 0, 1),
        (top / (300 - height), 0, 1),
    ):
        expected = np.linspace(low, high, 5)
        # quartiles; whole pixels and rejected draws move them by less than 1.5 % of the range
        measured = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
        assert np.abs(measured - expected).max() < 0.03 * (high - low)


@pytest.mark.parametrize(("size", "expected"), [((10, 200), (10, 13)), ((200, 10), (13, 10))])
def test_values_crop_fallback_is_central(size: tuple, expected: tuple) -> None:
    """No rectangle of 90 % fits: the central one of the nearest ratio, as in torchvision."""
    crop = RandomResizedCrop(8, (0.9, 1.0)).draw(ViewRandom(0), size)
    assert (crop.width, crop.height) == expected
    assert crop.left == (size[0] - expected[0]) // 2
    assert crop.top == (size[1] - expected[1]) // 2


def _coordinates(width: int, height: int) -> np.ndarray:
    """Every pixel holds its own position: (x, y, 0)."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([x, y, np.zeros_like(x)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("backend", ["cv2", "pil"])
@pytest.mark.parametrize("index", range(6))
def test_boxes_follow_pixels(backend: str, index: int) -> None:
    """Enlarged four times, a pixel's neighbours vanish: the corners show the box's own corners."""
    width, height = 60, 44
    views = MultiView(
        [
            dict(
                transforms=[
                    dict(type="Resize", size=(height * 4, width * 4)),
                    dict(type="RandomResizedCrop", size=(160, 200), scale=(0.2, 0.9)),
                    dict(type="HorizontalFlip", prob=0.5),
                    dict(type="CenterCrop", size=(100, 140)),
                ]
            )
        ],
        backend=backend,
        boxes="pixel",
    )
    image = _coordinates(width, height)
    result = views(Image.fromarray(image) if backend == "pil" else image, index=index)
    pixels = result.images[0].numpy().astype(float)
    x0, y0, x1, y1 = result.boxes[0].tolist()
    # The view is a linear map of the box: compare its centre and its slopes, away from the border.
    columns, rows = pixels[0].mean(axis=0), pixels[1].mean(axis=1)
    assert abs(columns.mean() - (x0 + x1) / 2) < 0.6
    assert abs(rows.mean() - (y0 + y1) / 2) < 0.6
    edge = 1 if x1 > x0 else -1
    assert abs((columns[-30:].mean() - columns[:30].mean()) / 110 * 140 - (x1 - x0 + edge)) < 1.0
    assert abs((rows[-30:].mean() - rows[:30].mean()) / 70 * 100 - (y1 - y0 + 1)) < 1.0


CHAINS = {
    "crop": [dict(type="RandomResizedCrop", size=(168, 196), scale=(0.1, 0.9))],
    "crop of a crop": [
        dict(type="RandomResizedCrop", size=(240, 200), scale=(0.3, 0.9)),
        dict(type="VerticalFlip", prob=0.5),
        dict(type="RandomResizedCrop", size=(168, 196), scale=(0.3, 0.9)),
    ],
    "mirrors around a centre crop": [
        dict(type="HorizontalFlip", prob=0.5),
        dict(type="Resize", size=200),
        dict(type="VerticalFlip", prob=0.5),
        dict(type="CenterCrop", size=(168, 196)),
        dict(type="HorizontalFlip", prob=0.5),
    ],
    "corner": [
        dict(type="Resize", size=(240, 300)),
        dict(type="RandomCrop", size=(168, 196)),
        dict(type="VerticalFlip", prob=1.0),
    ],
}


@pytest.mark.parametrize("space", ["unit", "pixel"])
@pytest.mark.parametrize("backend", ["cv2", "pil"])
@pytest.mark.parametrize("chain", CHAINS)
def test_values_cells_of_a_view_show_their_centres(chain: str, backend: str, space: str) -> None:
    """Of a view of coordinates, the mean of a cell is its centre by the box: what PixPro pairs cells by."""
    width, height, grid = 56, 40, (6, 7)
    views = MultiView([dict(transforms=CHAINS[chain])], backend=backend, boxes=space)
    image = _coordinates(width, height)
    for index in range(6):
        result = views(Image.fromarray(image) if backend == "pil" else image, index=index)
        pixels = result.images[0][:2].double()
        rows, columns = (pixels.shape[1] // grid[0], pixels.shape[2] // grid[1])
        shown = pixels.unfold(1, rows, rows).unfold(2, columns, columns).mean(dim=(3, 4))
        centres = cell_centres(result.boxes[0][None], grid)[0].double()
        if space == "unit":
            centres = centres * torch.tensor([width - 1, height - 1])
        # whole levels, and the half pixel between a box's outermost centres and its edges
        inner = (shown.flatten(1).T - centres).view(*grid, 2)[1:-1, 1:-1]
        assert inner.abs().max() < 0.9, (index, inner.abs().max())


def test_boxes_of_a_plain_crop_are_exact() -> None:
    views = MultiView([dict(transforms=[RandomResizedCrop(8), HorizontalFlip(1.0)])], boxes="unit")
    size = (50, 30)
    crop = views.draw(0, size, ViewRandom(4, 1, 9))[0]
    image = np.zeros((30, 50, 3), np.uint8)
    box = views(image, seed=4, epoch=1, index=9).boxes[0].numpy()
    expected = np.array(
        [
            (crop.left + crop.width - 1) / 49,
            crop.top / 29,
            crop.left / 49,
            (crop.top + crop.height - 1) / 29,
        ],
        np.float32,
    )
    assert np.array_equal(box, expected)


@pytest.mark.parametrize("mirrors", [(), (0,), (1,), (0, 1)])
@pytest.mark.parametrize("size", [(50, 30), (1, 7), (7, 1), (1, 1)])
def test_boxes_of_the_whole_image(size: tuple, mirrors: tuple) -> None:
    flips = [(HorizontalFlip, VerticalFlip)[axis](1.0) for axis in mirrors]
    for space in ("unit", "pixel"):
        views = MultiView([dict(transforms=[*flips, Resize((4, 4))])], boxes=space)
        box = views(np.zeros((size[1], size[0], 3), np.uint8)).boxes[0]
        ends = [min(side - 1, 1) if space == "unit" else side - 1 for side in size]
        expected = np.array([[0, 0], ends], np.float32)
        for axis in mirrors:
            expected[:, axis] = expected[::-1, axis].copy()
        assert np.array_equal(box.numpy(), expected.ravel())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RandomResizedCrop(8, interpolation="area"), "interpolation must be one of"),
        (lambda: RandomResizedCrop(8, (0.5, 0.2)), "scale must be"),
        (lambda: RandomResizedCrop(8, ratio=(2.0, 1.0)), "ratio must be"),
        (lambda: HorizontalFlip(1.5), "HorizontalFlip.prob must lie in"),
        (lambda: VerticalFlip(-0.5), "VerticalFlip.prob must lie in"),
    ],
)
def test_raises_on_nonsense(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_source_is_never_written_to() -> None:
    image = picture()
    before = image.copy()
    image.flags.writeable = False
    flips = (HorizontalFlip(1.0), VerticalFlip(1.0))
    for transform in (RandomResizedCrop(16), *flips, Resize(16), CenterCrop(16)):
        params = transform.draw(ViewRandom(0), (48, 40))
        transform.apply(image, params)
    assert np.array_equal(image, before)
