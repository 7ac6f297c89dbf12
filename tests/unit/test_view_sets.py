"""The view sets of `configs/_base_/views`: what they draw, counted against the papers' parameters."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from mmssl.datasets import ImageFolder, MultiView, image_dataset
from mmssl.datasets.transforms import (
    ColorJitter,
    GaussianBlur,
    HorizontalFlip,
    RandomGrayscale,
    RandomResizedCrop,
    Solarize,
    ViewRandom,
)
from mmssl.models.data_preprocessor import ViewPreprocessor
from mmssl.structures import ViewBatch
from tests.helpers.pictures import picture

FOLDER = Path(__file__).parents[2] / "configs" / "_base_" / "views"
NUM = 1500
SOURCE = (500, 375)
COLOUR = (0.4, 0.4, 0.2, 0.1)


class Published(NamedTuple):
    """One view as a paper and its code give it (specs: baselines.md 2, care.md 8.1, pixpro.md 3)."""

    size: int
    scale: tuple[float, float]
    interpolation: str
    jitter: tuple[float, float, float, float]
    blur: float
    solarize: float
    order: str


FLIP_FIRST = "crop flip jitter gray blur solarize"
PUBLISHED = {
    "byol": [
        Published(224, (0.08, 1), "bicubic", COLOUR, 1.0, 0.0, FLIP_FIRST),
        Published(224, (0.08, 1), "bicubic", COLOUR, 0.1, 0.2, FLIP_FIRST),
    ],
    "care": [
        Published(
            224, (0.08, 1), "bilinear", COLOUR, 1.0, 0.0, "crop jitter blur gray flip solarize"
        ),
        Published(
            224, (0.08, 1), "bilinear", COLOUR, 0.1, 0.2, "crop jitter blur gray flip solarize"
        ),
    ],
    "mocov2": [
        Published(
            224, (0.2, 1), "bilinear", (0.4, 0.4, 0.4, 0.1), 0.5, 0, "crop jitter gray blur flip"
        )
    ]
    * 2,
    "dino": [
        Published(224, (0.4, 1), "bicubic", COLOUR, 1.0, 0.0, "crop flip jitter gray blur"),
        Published(224, (0.4, 1), "bicubic", COLOUR, 0.1, 0.2, FLIP_FIRST),
    ]
    + [Published(96, (0.05, 0.4), "bicubic", COLOUR, 0.5, 0.0, "crop flip jitter gray blur")] * 8,
    "pic": [
        Published(
            160, (0.14, 1), "bilinear", (0.8, 0.8, 0.8, 0.2), 0.5, 0.0, "crop flip jitter gray blur"
        )
    ]
    + [
        Published(
            96,
            (0.08, 0.14),
            "bilinear",
            (0.8, 0.8, 0.8, 0.2),
            0.5,
            0.0,
            "crop flip jitter gray blur",
        )
    ]
    * 3,
    "pixpro": [
        Published(224, (0.08, 1), "bilinear", COLOUR, 1.0, 0.0, "crop flip jitter gray blur"),
        Published(224, (0.08, 1), "bilinear", COLOUR, 0.1, 0.2, FLIP_FIRST),
    ],
    "simclr": [
        Published(
            224, (0.08, 1), "bicubic", (0.8, 0.8, 0.8, 0.2), 0.5, 0.0, "crop flip jitter gray blur"
        )
    ]
    * 2,
}
NAMES = {
    RandomResizedCrop: "crop",
    HorizontalFlip: "flip",
    ColorJitter: "jitter",
    RandomGrayscale: "gray",
    GaussianBlur: "blur",
    Solarize: "solarize",
}


def load(name: str) -> MultiView:
    init_default_scope("mmssl")
    config = Config.fromfile(FOLDER / f"{name}.py")[f"{name}_views"]
    config.pop("type")
    return MultiView(**config)


CASES = [
    (name, view)
    for name, published in PUBLISHED.items()
    for view in range(len(published))
    if view < 3  # DINO's eight small views share one pipeline
]


@pytest.mark.parametrize("name", PUBLISHED)
def test_values_number_and_order_of_views(name: str) -> None:
    views = load(name)
    assert len(views) == len(PUBLISHED[name])
    for pipeline, published in zip(views.pipelines, PUBLISHED[name], strict=True):
        assert " ".join(NAMES[type(transform)] for transform in pipeline) == published.order


@pytest.mark.parametrize(("name", "view"), CASES)
def test_values_of_what_is_drawn(name: str, view: int) -> None:
    views, published = load(name), PUBLISHED[name][view]
    pipeline = views.pipelines[view]
    drawn: dict[str, list] = {NAMES[type(transform)]: [] for transform in pipeline}
    for index in range(NUM):
        params = views.draw(view, SOURCE, ViewRandom(0, 0, index, view))
        for transform, value in zip(pipeline, params, strict=True):
            drawn[NAMES[type(transform)]].append(value)
    crop = pipeline[0]
    assert crop.size == (published.size, published.size)
    assert crop.interpolation == published.interpolation

    # three standard deviations of a counted share
    tolerance = 3 * 0.5 / math.sqrt(NUM)
    shares = {
        "flip": np.mean(drawn["flip"]),
        **{
            key: np.mean([value is not None for value in drawn[key]])
            for key in ("jitter", "gray", "blur", "solarize")
            if key in drawn
        },
    }
    expected = dict(
        flip=0.5, jitter=0.8, gray=0.2, blur=published.blur, solarize=published.solarize
    )
    for key, share in shares.items():
        assert abs(share - expected[key]) < tolerance, key
        if expected[key] in (0.0, 1.0):
            assert share == expected[key], key

    area = np.array([item.width * item.height for item in drawn["crop"]]) / math.prod(SOURCE)
    low, high = published.scale
    assert area.min() > 0.97 * low
    assert area.max() <= 1
    # Large areas fit less often: exact below the size where every ratio fits (56 % of 4:3).
    sure = area[area < 0.5]
    middle = (low + min(high, 0.5)) / 2
    assert abs(np.mean(sure < middle) - 0.5) < 0.08
    ratio = np.array([item.width / item.height for item in drawn["crop"]])
    assert ratio.min() > 0.97 * 3 / 4
    assert ratio.max() < 1.03 * 4 / 3

    factors = np.array([item.factors for item in drawn["jitter"] if item is not None])
    for column, strength, centre in zip(factors.T, published.jitter, (1, 1, 1, 0), strict=True):
        quartiles = np.quantile(column, [0, 0.25, 0.5, 0.75, 1])
        uniform = centre + strength * np.array([-1, -0.5, 0, 0.5, 1])
        assert np.abs(quartiles - uniform).max() < 0.1 * strength
    first = np.bincount([item.order[0] for item in drawn["jitter"] if item], minlength=4)
    assert np.abs(first / first.sum() - 0.25).max() < tolerance

    sigmas = np.array([value for value in drawn["blur"] if value is not None])
    assert sigmas.min() >= 0.1
    assert sigmas.max() <= 2.0
    assert abs(sigmas.mean() - 1.05) < 3 * 0.55 / math.sqrt(len(sigmas))
    for transform in pipeline:
        if isinstance(transform, Solarize):
            assert transform.threshold == 128


def test_values_of_rendered_views() -> None:
    image = np.full((375, 500, 3), 200, np.uint8)
    rendered = load("dino")(image, index=3)
    assert [view.shape[-1] for view in rendered.images] == [224] * 2 + [96] * 8
    rendered = load("eval")(image)
    assert [tuple(view.shape) for view in rendered.images] == [(3, 224, 224)]
    assert rendered.boxes == []
    assert int(rendered.images[0].min()) == int(rendered.images[0].max()) == 200


@pytest.mark.parametrize("name", PUBLISHED)
def test_equivalence_of_workers_and_device(name: str) -> None:
    """Same addresses, both paths, every view of the set: the same pictures to a grey level or so."""
    init_default_scope("mmssl")
    config = Config.fromfile(FOLDER / f"{name}.py")[f"{name}_views"]
    config.pop("type")
    batches = []
    for path in ("workers", "device"):
        views = MultiView(**config, photometric=path)
        assert views.on_device == (path == "device")
        samples = [views(picture(i, 120, 90), seed=1, epoch=0, index=i) for i in range(4)]
        fields = zip(*samples, strict=True)
        stacked = [[torch.stack(parts) for parts in zip(*field, strict=True)] for field in fields]
        index = torch.arange(4)
        batch = ViewBatch(stacked[0], index, stacked[1], index, stacked[2])
        batches.append(ViewPreprocessor()(dict(inputs=batch), training=True)["inputs"].images)
    assert len(batches[0]) == len(PUBLISHED[name])
    for on_workers, on_device in zip(*batches, strict=True):
        assert float((on_workers - on_device).abs().mean()) < 1.5 / 58  # a level is about 1 / 58


def test_values_ten_crops_need_one_decoding(tmp_path, monkeypatch):
    """Multi-crop cuts all of its views from one reading of the file."""
    Image.fromarray(np.asarray(picture(0, 640, 480))).save(tmp_path / "image.jpg")
    views = Config.fromfile(FOLDER / "dino.py").dino_views.to_dict()
    init_default_scope("mmssl")
    dataset = ImageFolder(str(tmp_path), views=views)
    calls = []
    read = image_dataset.read_image
    monkeypatch.setattr(
        image_dataset, "read_image", lambda *args: calls.append(args) or read(*args)
    )
    sample = dataset[0]["inputs"]
    assert len(calls) == 1
    assert [view.shape[-1] for view in sample.images] == [224] * 2 + [96] * 8
