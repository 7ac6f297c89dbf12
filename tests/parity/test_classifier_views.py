"""Views of the evaluations that train: the lists of transforms, by the numbers of the official codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmssl.engine.config import load_config

pytestmark = pytest.mark.parity
BENCHMARKS = Path(__file__).resolve().parents[2] / "configs/benchmarks"

LINEAR_TRAIN = [
    dict(type="RandomResizedCrop", size=224, scale=(0.08, 1.0)),
    dict(type="HorizontalFlip", prob=0.5),
]
LINEAR_VAL = [dict(type="Resize", size=256), dict(type="CenterCrop", size=224)]
# images of 256 x 256 px are cropped at their scale; the colours are those of MoCo v2
PLACES_TRAIN = [
    dict(type="RandomCrop", size=224),
    dict(type="ColorJitter", brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, prob=0.8),
    dict(type="RandomGrayscale", prob=0.2),
    dict(type="GaussianBlur", sigma=(0.1, 2.0), prob=0.5),
    dict(type="HorizontalFlip", prob=0.5),
]
PLACES_VAL = [dict(type="Resize", size=[256, 256]), dict(type="CenterCrop", size=224)]
VOC_TRAIN = [
    dict(type="Resize", size=[300, 300]),
    dict(
        type="OneOf",
        transforms=[
            dict(type="ColorJitter", brightness=(0.8, 1.2)),
            dict(type="RandomGrayscale", prob=0.25),
        ],
    ),
    dict(type="HorizontalFlip", prob=0.25),
    dict(type="torchvision.transforms.RandomRotation", degrees=25),
]
VOC_VAL = [dict(type="Resize", size=330), dict(type="CenterCrop", size=300)]


def transforms_of(loader: Any) -> list[dict[str, Any]]:
    """Those of the one view of a data set."""
    (view,) = loader.dataset.views.views
    assert view.num == 1
    return [transform.to_dict() for transform in view.transforms]


@pytest.mark.parametrize(
    ("leaves", "train", "val"),
    [
        ("imagenet_linear/*_8xb*.py", LINEAR_TRAIN, LINEAR_VAL),
        ("imagenet_semi_supervised/*.py", LINEAR_TRAIN, LINEAR_VAL),
        ("places205_linear/resnet50_vissl_*.py", LINEAR_TRAIN, LINEAR_VAL),
        ("places205_linear/resnet50_mmpretrain_*.py", LINEAR_TRAIN, LINEAR_VAL),
        ("places205_linear/resnet50_hcsc_*.py", PLACES_TRAIN, PLACES_VAL),
        ("voc07_classification/resnet50_hcsc_*.py", VOC_TRAIN, VOC_VAL),
    ],
)
def test_values_views(leaves: str, train: list[dict], val: list[dict]) -> None:
    paths = sorted(BENCHMARKS.glob(leaves))
    assert paths
    for path in paths:
        config = load_config(path)
        assert transforms_of(config.train_dataloader) == train, path.name
        assert transforms_of(config.val_dataloader) == val, path.name


def test_values_five_crops_of_the_voc07_test() -> None:
    """Four corners and the centre of the image whose short side is 330."""
    (path,) = BENCHMARKS.glob("voc07_classification/resnet50_hcsc_*.py")
    groups = load_config(path).test_dataloader.dataset.views.views
    crops = [group.transforms[1].to_dict() for group in groups]
    assert all(group.transforms[0].to_dict() == VOC_VAL[0] for group in groups)
    corners = ("top_left", "top_right", "bottom_left", "bottom_right")
    assert crops == [
        *(dict(type="CornerCrop", size=300, corner=corner) for corner in corners),
        dict(type="CenterCrop", size=300),
    ]
