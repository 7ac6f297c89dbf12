"""Shapes: the same pixels everywhere, true labels, boxes and masks, and files that others read."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmssl.datasets import ImageList
from mmssl.datasets.shapes import (
    LEAVES,
    LEVELS,
    Draws,
    SceneObject,
    categories,
    category_id,
    coco_objects,
    difficulty_value,
    draw_scene,
    draw_shapes,
    draw_single,
    hierarchy,
    segmentation_map,
    voc_palette,
)
from mmssl.datasets.shapes.drawing import BODY_TEXTURES, CONTOURS, wave
from mmssl.datasets.shapes.draws import unit_vector
from mmssl.datasets.shapes.writers import run_lengths

SMALL = dict(
    num_unlabelled=3,
    num_classify_train=24,
    num_classify_val=24,
    num_scenes_train=3,
    num_scenes_val=2,
    size=48,
    scene_size=64,
)
# Recorded once from the raw arrays; a change of any pixel must raise generate.VERSION.
GOLDEN_SCENE = "ed400ec70cead492f556ad2d34ffa63b"
GOLDEN_SINGLE = "2788cd921c9c2c96e81971b2b929cd0a"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("shapes") / "data"
    return root, draw_shapes(root, num_workers=1, **SMALL)


def digest(images) -> str:
    total = hashlib.blake2b(digest_size=16)
    for image in images:
        total.update(np.ascontiguousarray(image).tobytes())
    return total.hexdigest()


def decode_runs(runs: dict) -> np.ndarray:
    values = np.repeat(np.arange(len(runs["counts"])) % 2 == 1, runs["counts"])
    return values.reshape(runs["size"], order="F")


def test_values_scene_golden():
    scenes = (draw_scene(Draws(0, 0, i))[0] for i in range(3))
    assert digest(scenes) == GOLDEN_SCENE


def test_values_single_golden():
    singles = (draw_single(Draws(7, 1, i), i, difficulty="hard")[0] for i in range(0, 24, 5))
    assert digest(singles) == GOLDEN_SINGLE


def test_values_unit_vector_is_exact_enough():
    for turn in np.linspace(-1.5, 1.5, 61).tolist():
        cos, sin = unit_vector(turn)
        assert math.isclose(cos, math.cos(2 * math.pi * turn), abs_tol=1e-11)
        assert math.isclose(sin, math.sin(2 * math.pi * turn), abs_tol=1e-11)


def test_values_draws_are_uniform_and_independent_of_history():
    draws = Draws(3, 1, 5)
    values = draws.array(20000)
    assert values.min() >= 0
    assert values.max() < 1
    # Standard error of the mean of 20,000 uniform numbers: 0.29 / 141 = 0.002.
    assert abs(float(values.mean()) - 0.5) < 0.008
    assert Draws(3, 1, 5).uniform() == Draws(3, 1, 5).uniform()
    firsts = {Draws(s, t, i).uniform() for s in range(3) for t in range(3) for i in range(3)}
    assert len(firsts) == 27
    integers = [draws.integer(1, 5) for _ in range(200)]
    assert set(integers) == {1, 2, 3, 4, 5}


def test_values_hierarchy():
    assert [len(categories(level)) for level in LEVELS] == [4, 12, 24]
    assert len(LEAVES) == len({leaf.name for leaf in LEAVES}) == 24
    content = hierarchy()
    for i, entry in enumerate(content["leaves"]):
        assert entry["id"] == category_id(i, "variety") == i
        assert content["levels"]["variety"][i] == entry["name"]
        assert content["levels"]["species"][entry["species_id"]] == entry["species"]
        assert content["levels"]["family"][entry["family_id"]] == entry["family"]
        assert entry["name"].startswith(entry["species"] + "_")
        assert entry["species"].startswith(entry["family"] + "_")
    assert [e["family_id"] for e in content["leaves"]] == sorted(list(range(4)) * 6)


def test_raises_unknown_level():
    with pytest.raises(ValueError, match="expected a level among"):
        LEAVES[0].at("genus")


def test_values_contours_and_textures():
    line = np.linspace(-1.6, 1.6, 321, dtype=np.float32)
    x, y = np.meshgrid(line, line)
    for name, contour in CONTOURS.items():
        inside = contour(x, y) < 0
        area = inside.mean() * 3.2**2
        # Every body fills a fair part of the unit disc (pi) and stays within reach of 1.25.
        assert 1.1 < area < 3.2, name
        assert not inside[np.hypot(x, y) > 1.25].any(), name
        # A signed distance (or a bound of it) changes at most by the distance walked.
        step = np.abs(np.diff(contour(x, y), axis=1)).max()
        assert step <= 0.01 * 1.01 + 1e-5, name
    shares = {name: float(texture(x, y).mean()) for name, texture in BODY_TEXTURES.items()}
    # Stripes are half and half, up to part periods at the window's ends; a dot of radius 0.33
    # covers 0.34 of its cell.
    assert shares == pytest.approx({"plain": 0, "striped": 0.5, "dotted": 0.34}, abs=0.05)
    assert wave(np.float32([0, 0.25, 0.5, 1.0, -0.5])).tolist() == [0, 0.5, 1, 0, 1]


@pytest.mark.parametrize("difficulty", ["easy", "default", "hard"])
def test_values_boxes_are_the_extents_of_visible_masks(difficulty):
    counts = set()
    for i in range(8):
        image, objects = draw_scene(Draws(1, 3, i), flock=0.0, difficulty=difficulty)
        assert image.shape == (96, 96, 3)
        assert image.dtype == np.uint8
        counts.add(len(objects))
        taken = np.zeros((96, 96), int)
        for thing in objects:
            left, top, right, bottom = thing.box
            assert thing.mask[top:bottom, left:right].sum() == thing.mask.sum() > 0
            assert thing.mask[top].any()
            assert thing.mask[bottom - 1].any()
            assert thing.mask[:, left].any()
            assert thing.mask[:, right - 1].any()
            assert 0 <= thing.hidden < 1
            taken += thing.mask
        assert taken.max() == 1, "visible masks overlap"
    assert len(counts) > 1
    assert counts <= {1, 2, 3, 4, 5}


def test_values_hidden_counts_what_later_bodies_cover():
    hidden = [
        thing.hidden for i in range(30) for thing in draw_scene(Draws(2, 0, i), difficulty=0.0)[1]
    ]
    # Without difficulty nothing but bodies covers bodies, and the last one is never covered.
    last = [draw_scene(Draws(2, 0, i), difficulty=0.0)[1][-1].hidden for i in range(30)]
    assert set(last) == {0.0}
    assert 0 < max(hidden) < 0.6


def test_values_flock_is_one_class():
    together = [draw_scene(Draws(0, 0, i), flock=1.0)[1] for i in range(10)]
    assert all(len({thing.leaf for thing in objects}) == 1 for objects in together)
    apart = [draw_scene(Draws(0, 0, i), flock=0.0)[1] for i in range(10)]
    assert any(len({thing.leaf for thing in objects}) > 1 for objects in apart)
    assert len({objects[0].leaf for objects in together}) > 4


def test_values_single_shows_its_leaf():
    for leaf in range(0, 24, 7):
        image, thing = draw_single(Draws(0, 1, leaf), leaf, size=40)
        assert image.shape == (40, 40, 3)
        assert thing.leaf == leaf
        assert thing.mask.mean() > 0.05


def test_values_difficulty():
    assert [difficulty_value(d) for d in ("easy", "hard", 0.1)] == [0.0, 0.5, 0.1]
    assert 0.0 < difficulty_value("default") < 0.5


@pytest.mark.parametrize("bad", ["brutal", -0.1, 1.5])
def test_raises_difficulty(bad):
    with pytest.raises(ValueError, match="difficulty"):
        difficulty_value(bad)


def test_equivalence_any_number_of_workers(folder, tmp_path):
    root, summary = folder
    again = draw_shapes(tmp_path / "two", num_workers=2, **SMALL)
    assert again["pixels_blake2b"] == summary["pixels_blake2b"]
    for name in ("unlabelled/000002.jpg", "coco/annotations/instances_val.json"):
        assert (tmp_path / "two" / name).read_bytes() == (root / name).read_bytes()


def test_state_second_call_draws_nothing(folder):
    root, summary = folder
    assert summary["drawn"]
    calls = []
    again = draw_shapes(root, num_workers=1, progress=lambda *a: calls.append(a), **SMALL)
    assert not again["drawn"]
    assert calls == []
    assert {**again, "drawn": True} == summary


def test_state_interrupted_or_damaged_folder_is_drawn_again(tmp_path):
    tiny = dict(SMALL, num_classify_train=0, num_classify_val=0)
    first = draw_shapes(tmp_path, num_workers=1, **tiny)
    (tmp_path / "unlabelled" / "000001.jpg").unlink()
    assert draw_shapes(tmp_path, num_workers=1, **tiny) == first
    assert (tmp_path / "unlabelled" / "000001.jpg").exists()


def test_state_progress_counts_every_picture(tmp_path):
    calls = []
    tiny = dict(SMALL, num_classify_train=1, num_classify_val=1)
    draw_shapes(tmp_path, num_workers=1, progress=lambda *a: calls.append(a), **tiny)
    assert calls == [(i + 1, 10) for i in range(10)]


def test_raises_foreign_folder(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"holds no shapes\.json"):
        draw_shapes(tmp_path, **SMALL)
    (tmp_path / "shapes.json").write_text("[]")
    with pytest.raises(ValueError, match="not written by this generator"):
        draw_shapes(tmp_path, **SMALL)


def test_raises_other_parameters(folder):
    root, _ = folder
    with pytest.raises(ValueError, match="seed: 0 there, 1 asked"):
        draw_shapes(root, **{**SMALL, "seed": 1})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"detection_level": "genus"}, "detection_level"),
        ({"flock": 1.5}, "flock"),
        ({"size": 8}, "at least 32"),
        ({"num_unlabelled": -1}, "negative"),
    ],
)
def test_raises_bad_arguments(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        draw_shapes(tmp_path / "x", **{**SMALL, **change})
    assert not (tmp_path / "x").exists()


def test_values_class_folders(folder):
    root, _ = folder
    for part in ("train", "val"):
        found = sorted(p.name for p in (root / "classify" / part).iterdir())
        assert found == sorted(leaf.name for leaf in LEAVES)
        assert len(list((root / "classify" / part).rglob("*.jpg"))) == 24
    with Image.open(root / "classify" / "val" / LEAVES[3].name / "00000.jpg") as picture:
        assert picture.size == (32, 32)
        stored = np.asarray(picture).astype(float)
    drawn, _ = draw_single(Draws(0, 2, 3), 3, size=32)
    # JPEG leaves a few grey levels of the sensor noise; another image would differ by some 40.
    assert np.abs(stored - drawn).mean() < 8
    assert json.loads((root / "classes.json").read_text()) == hierarchy()


def test_values_run_lengths_round_trip():
    mask = np.array([[1, 0, 1], [1, 1, 0]], bool)
    assert run_lengths(mask) == [0, 2, 1, 2, 1]
    for fill in (mask, ~mask, np.zeros((3, 2), bool), np.ones((3, 2), bool)):
        runs = {"counts": run_lengths(fill), "size": list(fill.shape)}
        assert (decode_runs(runs) == fill).all()


def test_values_coco_content(folder):
    root, _ = folder
    content = json.loads((root / "coco" / "annotations" / "instances_train.json").read_text())
    assert [c["name"] for c in content["categories"]] == list(categories("species"))
    assert [c["id"] for c in content["categories"]] == list(range(1, 13))
    assert [i["file_name"] for i in content["images"]] == [f"{i:06d}.jpg" for i in range(3)]
    assert len({a["id"] for a in content["annotations"]}) == len(content["annotations"])
    objects = draw_scene(Draws(0, 3, 1), size=64, flock=0.0)[1]
    stored = [a for a in content["annotations"] if a["image_id"] == 1]
    assert len(stored) == len(objects)
    for annotation, thing in zip(stored, objects, strict=True):
        left, top, width, height = annotation["bbox"]
        assert (left, top, left + width, top + height) == thing.box
        assert (decode_runs(annotation["segmentation"]) == thing.mask).all()
        assert annotation["area"] == thing.mask.sum()
        assert annotation["category_id"] == category_id(thing.leaf, "species") + 1


def test_equivalence_pycocotools_reads_it(folder):
    coco_module = pytest.importorskip("pycocotools.coco")
    root, _ = folder
    coco = coco_module.COCO(str(root / "coco" / "annotations" / "instances_val.json"))
    for annotation in coco.loadAnns(coco.getAnnIds()):
        mask = coco.annToMask(annotation)
        assert mask.sum() == annotation["area"]
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        width, height = columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]
        assert annotation["bbox"] == [columns[0], rows[0], width, height]


def test_values_voc_content(folder):
    root, _ = folder
    voc = root / "voc"
    for task in ("Main", "Segmentation"):
        names = (voc / "ImageSets" / task / "train.txt").read_text().split()
        assert names == [f"train_{i:06d}" for i in range(3)]
    objects = draw_scene(Draws(0, 3, 0), size=64, flock=0.0)[1]
    tree = ElementTree.parse(voc / "Annotations" / "train_000000.xml").getroot()
    assert (tree.findtext("size/width"), tree.findtext("filename")) == ("64", "train_000000.jpg")
    entries = tree.findall("object")
    assert [e.findtext("name") for e in entries] == [LEAVES[o.leaf].at("species") for o in objects]
    for entry, thing in zip(entries, objects, strict=True):
        ends = [int(entry.findtext(f"bndbox/{k}")) for k in ("xmin", "ymin", "xmax", "ymax")]
        assert (ends[0] - 1, ends[1] - 1, ends[2], ends[3]) == thing.box
    with Image.open(voc / "SegmentationClass" / "train_000000.png") as picture:
        assert picture.mode == "P"
        assert picture.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
        stored = np.asarray(picture)
    assert (stored == segmentation_map(64, objects, "species")).all()
    scene = (root / "coco" / "train" / "000000.jpg").read_bytes()
    assert (voc / "JPEGImages" / "train_000000.jpg").read_bytes() == scene


def test_values_segmentation_map():
    mask = np.zeros((6, 6), bool)
    mask[1:4, 1:4] = True
    thing = SceneObject(leaf=5, box=(1, 1, 4, 4), mask=mask, hidden=0.0)
    classes = segmentation_map(6, [thing], "family")
    assert classes[2, 2] == 1
    assert classes[0, 0] == classes[5, 5] == 0
    # The border lies on the pixels left of and above a change of object.
    assert classes[0, 2] == classes[2, 0] == classes[3, 2] == classes[2, 3] == 255
    assert len(coco_objects([thing], "family")) == 1


def test_values_voc_palette():
    palette = np.array(voc_palette()).reshape(256, 3)
    known = {0: (0, 0, 0), 1: (128, 0, 0), 15: (192, 128, 128), 255: (224, 224, 192)}
    for number, colour in known.items():
        assert tuple(palette[number]) == colour


def test_equivalence_package_needs_no_torch():
    package = Path(__file__).parents[2] / "mmssl" / "datasets" / "shapes"
    for file in package.glob("*.py"):
        assert "import torch" not in file.read_text(), file


def test_equivalence_transfer_configs_name_the_drawn_classes():
    """The classes of the transfer configs are those of the default detection level, in their order."""
    path = Path(__file__).parents[2] / "configs/benchmarks/_base_/shapes_classes.py"
    assert Config.fromfile(str(path)).shapes_classes == tuple(categories("species"))


def test_values_unlabelled_scenes_are_named_for_later(tmp_path):
    counts = dict(num_classify_train=0, num_classify_val=0, num_scenes_train=0, num_scenes_val=0)
    draw_shapes(tmp_path / "flocks", num_unlabelled=6, num_workers=1, **counts)
    draw_shapes(tmp_path / "mixed", num_unlabelled=6, num_workers=1, flock=0.0, **counts)
    images = ImageList(str(tmp_path / "flocks" / "unlabelled.csv"))
    assert len(images) == 6 and min(images.labels) >= 0
    names = {leaf.name for leaf in LEAVES}
    assert set(images.classes) <= names
    drawn = [
        {thing.leaf for thing in draw_scene(Draws(0, 0, i), size=96, min_objects=3)[1]}
        for i in range(6)
    ]
    found = [images.classes[label] for label in images.labels]
    assert found == [LEAVES[leaf].name for (leaf,) in drawn]
    lines = (tmp_path / "mixed" / "unlabelled.csv").read_text().splitlines()
    assert sum(line.endswith(",") for line in lines) >= 4
