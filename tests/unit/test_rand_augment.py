"""RandAugment: each distortion against timm's function, the law of the draws, addresses, messages."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image
from timm.data import auto_augment

from mmssl.datasets.transforms import MultiView, RandAugment, ViewRandom
from mmssl.datasets.transforms.distortions import POOLS
from mmssl.datasets.transforms.rand_augment import Distortion
from tests.helpers.pictures import picture

FILL = (124, 116, 104)
TIMM = dict(fillcolor=FILL, resample=Image.Resampling.BICUBIC)
SIZE = (48, 40)
# name, value, timm's function and its arguments
SAME = [
    ("AutoContrast", None, auto_augment.auto_contrast, ()),
    ("Equalize", None, auto_augment.equalize, ()),
    ("Invert", None, auto_augment.invert, ()),
    ("Rotate", -45.0, auto_augment.rotate, (-45.0,)),
    ("Rotate", 7.5, auto_augment.rotate, (7.5,)),
    ("Posterize", 5, auto_augment.posterize, (5,)),
    ("Posterize", 8, auto_augment.posterize, (8,)),
    ("Solarize", 100, auto_augment.solarize, (100,)),
    ("SolarizeAdd", 110, auto_augment.solarize_add, (110,)),
    ("SolarizeAdd", 165, auto_augment.solarize_add, (165,)),
    ("Color", 2.8, auto_augment.color, (2.8,)),
    ("Contrast", 0.1, auto_augment.contrast, (0.1,)),
    ("Brightness", 2.8, auto_augment.brightness, (2.8,)),
    ("Sharpness", 2.8, auto_augment.sharpness, (2.8,)),
    ("ShearX", 0.45, auto_augment.shear_x, (0.45,)),
    ("ShearY", -0.45, auto_augment.shear_y, (-0.45,)),
    ("TranslateX", 15.0, auto_augment.translate_x_abs, (15.0,)),
    ("TranslateY", -15.0, auto_augment.translate_y_abs, (-15.0,)),
]


@pytest.mark.parametrize(
    ("name", "value", "theirs", "arguments"), SAME, ids=lambda v: v if isinstance(v, str) else ""
)
def test_equivalence_with_timm(name, value, theirs, arguments) -> None:
    image = Image.fromarray(picture())
    expected = np.asarray(theirs(image, *arguments, **TIMM))
    drawn = (Distortion(name, value),)
    assert np.array_equal(np.asarray(RandAugment().apply(image, drawn)), expected)
    on_array = RandAugment().apply(picture(), drawn)
    assert on_array.flags.writeable and np.array_equal(on_array, expected)


def test_values_beyond_what_timm_takes() -> None:
    for name, value, expected in (
        ("Solarize", 384, picture()),
        ("Posterize", 9, picture()),
        ("Posterize", 0, np.zeros_like(picture())),
    ):
        assert np.array_equal(RandAugment().apply(picture(), (Distortion(name, value),)), expected)


def test_values_cutout_is_filled_and_nothing_else() -> None:
    found = RandAugment().apply(picture(), (Distortion("Cutout", (3, 5, 10, 9)),))
    expected = picture().copy()
    expected[5:9, 3:10] = FILL
    assert np.array_equal(found, expected)


def draws(num: int = 6000, **options) -> list[tuple[Distortion, ...]]:
    transform = RandAugment(**options)
    return [transform.draw(ViewRandom(3, 0, index), (224, 224)) for index in range(num)]


def test_values_each_of_sixteen_as_likely_and_half_take_place() -> None:
    counts = Counter(name for drawn in draws() for name, _, _ in drawn)
    assert set(counts) == set(POOLS["efficientnet"].kinds) and len(counts) == 16
    total = sum(counts.values())
    assert total / 12000 == pytest.approx(0.5, abs=0.02)  # the mean of 0.2..0.8
    assert max(abs(count / total - 1 / 16) for count in counts.values()) < 0.012
    always = draws(500, prob=(1.0, 1.0), num_ops=3)
    assert {len(drawn) for drawn in always} == {3}
    assert {len(drawn) for drawn in draws(50, prob=(0.0, 0.0))} == {0}


def test_values_of_magnitude_fifteen() -> None:
    """Half of the levels are the largest, 15; the others lie below it."""
    found: dict[str, list] = {}
    for drawn in draws(prob=(1.0, 1.0)):
        for name, value, _ in drawn:
            found.setdefault(name, []).append(value)
    most = dict(Rotate=45.0, ShearX=0.45, ShearY=0.45, TranslateX=150.0, TranslateY=150.0)
    for name, largest in most.items():
        sizes = np.abs(found[name])
        assert sizes.max() == pytest.approx(largest)
        assert np.mean(np.isclose(sizes, largest)) == pytest.approx(0.5, abs=0.08)
        assert np.mean(np.array(found[name]) < 0) == pytest.approx(0.5, abs=0.08)
        assert np.std(sizes / largest) * 15 == pytest.approx(0.5 * 0.584, rel=0.1)
    for name in ("Color", "Contrast", "Brightness", "Sharpness"):
        assert max(found[name]) == pytest.approx(2.8)
    assert max(found["Posterize"]) == 6 and min(found["Posterize"]) >= 5
    assert max(found["Solarize"]) == 384 and max(found["SolarizeAdd"]) == 165
    widths = [box[2] - box[0] for box in found["Cutout"]]
    assert max(widths) == 120 and min(widths) < 70
    assert all(box[0] >= 0 and box[3] <= 224 for box in found["Cutout"])


def by_name(found: list[tuple[Distortion, ...]]) -> dict[str, list[Distortion]]:
    kinds: dict[str, list[Distortion]] = {}
    for drawn in found:
        for one in drawn:
            kinds.setdefault(one.name, []).append(one)
    return kinds


def test_values_of_timms_pool() -> None:
    """Fifteen distortions, translations in shares of a side, bilinear or bicubic at random (InfoMin)."""
    options = dict(pool="timm", magnitude=10.0, max_level=10.0, prob=(0.5, 0.5))
    found = by_name(draws(4000, **options))
    assert len(found) == 15 and "Cutout" not in found
    assert sum(map(len, found.values())) / 8000 == pytest.approx(0.5, abs=0.02)
    assert max(abs(one.value) for one in found["TranslateX"]) == pytest.approx(0.45)
    filters = Counter(one.resample for one in found["Rotate"])
    assert set(filters) == {Image.Resampling.BILINEAR, Image.Resampling.BICUBIC}
    assert min(filters.values()) > 0.4 * sum(filters.values())
    image = Image.fromarray(picture())
    for name, function in (("X", "translate_x_rel"), ("Y", "translate_y_rel")):
        expected = getattr(auto_augment, function)(image, 0.4, **TIMM)
        drawn = (Distortion(f"Translate{name}", 0.4),)
        result = RandAugment(**options).apply(image, drawn)
        assert np.array_equal(np.asarray(result), np.asarray(expected))


def test_values_of_fixmatchs_pool() -> None:
    """Fourteen distortions at whole levels 1..9 (CLSA)."""
    options = dict(pool="fixmatch", magnitude=10, prob=(0.5, 0.5), num_ops=5)
    found = by_name(draws(3000, **options))
    assert len(found) == 14 and "Identity" in found and "SolarizeAdd" not in found
    levels = range(1, 10)
    expected = dict(
        Rotate={3.0 * level for level in levels},
        ShearX={0.03 * level for level in levels},
        TranslateY={0.03 * level for level in levels},
        Posterize={4 + int(0.4 * level) for level in levels},
        Solarize={256 - int(25.6 * level) for level in levels},
        Contrast={0.09 * level + 0.05 for level in levels},
    )
    for name, values in expected.items():
        seen = {round(abs(one.value), 6) for one in found[name]}
        assert seen == {round(value, 6) for value in values}, name
    shares = Counter(abs(one.value) for one in found["Rotate"])
    assert max(shares.values()) < 1.6 * min(shares.values())
    image = Image.fromarray(picture())
    kept = RandAugment(**options).apply(image, (Distortion("Identity"),))
    assert np.array_equal(np.asarray(kept), picture())
    moved = RandAugment(**options).apply(
        image, (Distortion("TranslateX", 0.25, Image.Resampling.NEAREST),)
    )
    assert np.array_equal(np.asarray(moved)[:, :-12], picture()[:, 12:])
    # 12.9 pixels are 12 in either direction, nearest or not
    for share, kept, source in (
        (0.27, slice(0, -12), slice(12, None)),
        (-0.27, slice(12, None), slice(0, -12)),
    ):
        drawn = (Distortion("TranslateX", share, Image.Resampling.NEAREST),)
        moved = np.asarray(RandAugment(**options).apply(image, drawn))
        assert np.array_equal(moved[:, kept], picture()[:, source])


def test_values_levels_are_limited_and_scaled_by_ten() -> None:
    values = [
        abs(value)
        for drawn in draws(2000, magnitude=5.0, magnitude_std=0.0, max_level=10.0, prob=(1, 1))
        for name, value, _ in drawn
        if name == "Rotate"
    ]
    assert set(np.round(values, 9)) == {15.0}
    wide = draws(2000, magnitude=1.0, magnitude_std=5.0, max_level=2.0, prob=(1, 1))
    angles = [abs(value) for drawn in wide for name, value, _ in drawn if name == "Rotate"]
    assert min(angles) == 0.0 and max(angles) == pytest.approx(6.0)


@pytest.mark.parametrize("backend", ["pil", "cv2"])
def test_equivalence_a_view_is_a_function_of_its_address(backend: str) -> None:
    image = picture() if backend == "cv2" else Image.fromarray(picture())
    views = MultiView(
        [dict(num=1, transforms=[dict(type="mmssl.RandAugment", prob=(1.0, 1.0))])],
        backend=backend,
        boxes=None,
    )
    first, again, other = (
        views(image, seed=1, epoch=2, index=index).images[0].numpy() for index in (3, 3, 4)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert first.shape == (3, SIZE[1], SIZE[0])


def test_raises_with_what_to_do() -> None:
    with pytest.raises(ValueError, match="RandAugment, which rotates .* MultiView\\(boxes=None\\)"):
        MultiView([dict(num=1, transforms=[RandAugment()])], backend="pil")
    for options, message in (
        (dict(num_ops=0), "num_ops must be at least 1"),
        (dict(magnitude=16.0), "magnitude <= max_level"),
        (dict(magnitude_std=-0.1), "magnitude_std >= 0"),
        (dict(prob=(0.8, 0.2)), "prob must be a range"),
        (dict(fill=(1, 2)), "three levels"),
        (dict(pool="imagenet"), "pool must be one of .*'timm'"),
        (dict(pool="fixmatch", magnitude=1.0), "levels below magnitude"),
    ):
        with pytest.raises(ValueError, match=message):
            RandAugment(**options)
