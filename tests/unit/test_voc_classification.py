"""VOCClassification: labels from annotations, samples, and messages for what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope

from mmssl.datasets import VOC_CLASSES, VOCClassification
from mmssl.datasets.shapes import draw_shapes
from tests.helpers.pictures import SMALL_VIEWS, write_folder

CLASSES = ("dog", "cat", "bird")


@pytest.fixture(autouse=True)
def _scope() -> None:
    init_default_scope("mmssl")


def annotate(root: Path, name: str, objects: list[tuple[str, int]]) -> None:
    """An annotation with (class, difficult) objects; the first has a part of its own."""
    things = "".join(
        f"<object><part><name>head</name></part><name>{kind}</name>"
        f"<difficult>{difficult}</difficult></object>"
        for kind, difficult in objects
    )
    (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{things}</annotation>")


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    for folder in ("Annotations", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    write_folder(tmp_path / "JPEGImages", 4)
    annotate(tmp_path, "000", [("cat", 0), ("dog", 1)])
    annotate(tmp_path, "001", [("cat", 1), ("cat", 0), ("cat", 1)])
    annotate(tmp_path, "002", [])
    annotate(tmp_path, "003", [("bird", 1), ("dog", 0)])
    (tmp_path / "ImageSets/Main/train.txt").write_text("003\n000\n\n001  -1\n")
    (tmp_path / "ImageSets/Main/none.txt").write_text("\n")
    return tmp_path


def test_values_labels(voc: Path) -> None:
    found = VOCClassification(str(voc), SMALL_VIEWS, split="train", classes=CLASSES)
    assert found.labels.dtype == np.int8
    assert found.labels.tolist() == [[1, -1, 0], [0, 1, -1], [-1, 1, -1]]
    assert found.classes == list(CLASSES)
    assert found.path(0).endswith("JPEGImages/003.jpg")
    batch = default_collate([found[(0, 1)], found[(0, 2)]])["inputs"]
    assert batch.label.dtype == torch.int8
    assert batch.label.tolist() == [[0, 1, -1], [-1, 1, -1]]
    assert batch.index.tolist() == [1, 2]


def test_values_shapes_agree_with_coco(tmp_path: Path) -> None:
    """The labels of drawn scenes are the categories of their COCO annotations."""
    draw_shapes(
        tmp_path,
        size=48,
        num_unlabelled=0,
        num_classify_train=0,
        num_classify_val=0,
        num_scenes_train=6,
        num_scenes_val=1,
        scene_size=64,
        num_workers=1,
    )
    coco = json.loads((tmp_path / "coco/annotations/instances_train.json").read_text())
    classes = [category["name"] for category in coco["categories"]]
    found = VOCClassification(str(tmp_path / "voc"), split="train", classes=classes)
    expected = np.full((6, len(classes)), -1)
    for thing in coco["annotations"]:
        expected[thing["image_id"], thing["category_id"] - 1] = 1
    np.testing.assert_array_equal(found.labels, expected)
    assert (expected == 1).any(axis=1).all()


def test_values_twenty_classes() -> None:
    assert len(VOC_CLASSES) == 20
    assert list(VOC_CLASSES) == sorted(VOC_CLASSES)


def test_raises_on_what_is_missing(voc: Path) -> None:
    with pytest.raises(FileNotFoundError, match="val.txt does not exist"):
        VOCClassification(str(voc), split="val", classes=CLASSES)
    with pytest.raises(ValueError, match="names no image"):
        VOCClassification(str(voc), split="none", classes=CLASSES)
    with pytest.raises(ValueError, match="class 'bird', which is none of the 2"):
        VOCClassification(str(voc), split="train", classes=CLASSES[:2])
    (voc / "Annotations/001.xml").write_text("<annotation>")
    with pytest.raises(ValueError, match=r"001\.xml is no XML"):
        VOCClassification(str(voc), split="train", classes=CLASSES)
    (voc / "Annotations/001.xml").unlink()
    with pytest.raises(FileNotFoundError, match=r"001\.xml of the image 001"):
        VOCClassification(str(voc), split="train", classes=CLASSES)
