"""RandomCrop, CornerCrop and OneOf: places, pixels and shares."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from PIL import Image
from torchvision.transforms import FiveCrop, RandomRotation

from mmssl.datasets.transforms import (
    CenterCrop,
    ColorJitter,
    CornerCrop,
    HorizontalFlip,
    MultiView,
    OneOf,
    PatchGrid,
    RandomCrop,
    RandomGrayscale,
    ViewRandom,
)
from tests.helpers.pictures import picture

IMAGE = picture(0, 48, 40)
BOX = (0.0, 0.0, 48.0, 40.0)
CORNERS = ("top_left", "top_right", "bottom_left", "bottom_right")


@pytest.fixture(autouse=True)
def _scope() -> None:
    init_default_scope("mmssl")


def test_equivalence_five_crops_with_torchvision() -> None:
    expected = FiveCrop((20, 24))(Image.fromarray(IMAGE))
    crops = [CornerCrop((20, 24), corner=corner) for corner in CORNERS] + [CenterCrop((20, 24))]
    for crop, theirs in zip(crops, expected, strict=True):
        ours, box = crop(IMAGE, BOX, ViewRandom(0))
        np.testing.assert_array_equal(ours, np.asarray(theirs))
        left, top, right, bottom = map(int, box)
        np.testing.assert_array_equal(ours, IMAGE[top:bottom, left:right])


def test_values_random_crop_is_uniform() -> None:
    crop = RandomCrop((39, 46))
    places = Counter(crop.draw(ViewRandom(0, 0, i), (48, 40))[:2] for i in range(6000))
    assert set(places) == {(left, top) for left in range(3) for top in range(2)}
    # a binomial count of 6000 with p = 1/6 has a deviation of 29
    assert all(abs(count - 1000) < 150 for count in places.values())
    ours, box = crop(IMAGE, BOX, ViewRandom(3))
    left, top = int(box[0]), int(box[1])
    np.testing.assert_array_equal(ours, IMAGE[top : top + 39, left : left + 46])


def test_values_crops_of_small_images_have_bars() -> None:
    rng = ViewRandom(1)
    ours, box = RandomCrop((60, 20))(IMAGE, BOX, rng)
    assert ours.shape == (60, 20, 3)
    assert not ours[:10].any() and not ours[50:].any()
    left = int(box[0])
    np.testing.assert_array_equal(ours[10:50], IMAGE[:, left : left + 20])
    untouched = ViewRandom(1)
    RandomCrop(20).draw(untouched, (48, 40))
    assert rng.random() == untouched.random()


def test_values_one_of_shares() -> None:
    """The choice of HCSC's VOC protocol: half of the images are jittered, one in eight is grey."""
    choice = OneOf([ColorJitter(brightness=(0.8, 1.2)), RandomGrayscale(0.25)])
    drawn = [choice.draw(ViewRandom(0, 0, i), (8, 8)) for i in range(4000)]
    counts = Counter(None if params is None else params[0] for params in drawn)
    for kind, share in ((0, 1 / 2), (1, 1 / 8), (None, 3 / 8)):
        assert abs(counts[kind] / 4000 - share) < 0.03
    grey = next(params for params in drawn if params is not None and params[0] == 1)
    np.testing.assert_array_equal(
        choice.apply(IMAGE, grey), RandomGrayscale().apply(IMAGE, grey[1])
    )


def test_values_one_of_in_a_view_with_torchvision() -> None:
    views = MultiView(
        [
            dict(
                num=1,
                transforms=[
                    dict(type="RandomCrop", size=32),
                    dict(
                        type="OneOf",
                        transforms=[
                            dict(type="torchvision.transforms.RandomRotation", degrees=25),
                            dict(type="RandomGrayscale", prob=1.0),
                        ],
                    ),
                ],
            )
        ]
    )
    assert isinstance(views.pipelines[0][1].transforms[0].transform, RandomRotation)
    first = [views(IMAGE, seed=1, index=i).images[0] for i in range(8)]
    again = [views(IMAGE, seed=1, index=i).images[0] for i in range(8)]
    grey = [bool((image[0] == image[1]).all()) for image in first]
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert 0 < sum(grey) < 8


def test_raises_on_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="corner must be one of"):
        CornerCrop(8, corner="left")
    with pytest.raises(ValueError, match="at least two"):
        OneOf([RandomGrayscale()])
    with pytest.raises(TypeError, match="stand in the list of the view"):
        OneOf([RandomGrayscale(), HorizontalFlip()])


@pytest.mark.parametrize("backend", ["cv2", "pil"])
def test_values_patches_of_a_grid(backend: str) -> None:
    """Each patch is a piece of its own cell, row by row; places inside of a cell are uniform."""
    image = IMAGE if backend == "cv2" else Image.fromarray(IMAGE)
    grid = PatchGrid(10, grid=3)  # cells of 16 x 13
    crops = grid.draw(ViewRandom(5), (48, 40))
    result = grid.apply(image, crops)
    assert isinstance(result, type(image))
    whole = np.asarray(result)
    assert whole.shape == (30, 30, 3) and grid.output_size((48, 40), crops) == (30, 30)
    for number, crop in enumerate(crops):
        row, column = divmod(number, 3)
        assert column * 16 <= crop.left <= column * 16 + 6 and row * 13 <= crop.top <= row * 13 + 3
        piece = whole[10 * row : 10 * row + 10, 10 * column : 10 * column + 10]
        expected = IMAGE[crop.top : crop.top + 10, crop.left : crop.left + 10]
        np.testing.assert_array_equal(piece, expected)
    lefts = Counter(grid.draw(ViewRandom(0, 0, i), (48, 40))[4].left for i in range(2100))
    assert set(lefts) == set(range(16, 23)) and min(lefts.values()) > 200


def test_raises_for_cells_smaller_than_a_patch() -> None:
    with pytest.raises(ValueError, match=r"cells of 16 x 13; crop it larger"):
        PatchGrid(14)(IMAGE, BOX, ViewRandom(0))
    with pytest.raises(ValueError, match="size >= 1 and grid >= 1"):
        PatchGrid(0)
    with pytest.raises(ValueError, match="PatchGrid"):
        MultiView([dict(transforms=[PatchGrid(4)])])
