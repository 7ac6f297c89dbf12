"""What a run of an evaluation records beside its figures, and what it refuses before it trains."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
from mmengine.registry import init_default_scope

from mmssl.datasets.splits import split_order
from mmssl.engine.runner import Runner
from tests.helpers.classifiers import (
    LINEAR,
    PLACES,
    ROOT,
    SEMI_SUPERVISED,
    VOC,
    classifier_config,
    draw,
    write_pretrained,
)

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> tuple[Path, Path]:
    """Drawn images and a pretrained backbone."""
    init_default_scope("mmssl")
    root = tmp_path_factory.mktemp("records")
    draw(root / "shapes")
    write_pretrained(root / "pretrained.pth")
    return root / "shapes", root / "pretrained.pth"


def run(leaf: Path, world: tuple[Path, Path], work_dir: Path, **changes) -> None:
    options = {"train_cfg.max_epochs": 1} | changes
    Runner.from_cfg(classifier_config(leaf, *world, work_dir, **options)).train()


def test_values_record_of_a_fine_tuning(world, tmp_path) -> None:
    """Weights, split, norms, optimizer, and images per step of the optimizer."""
    folder = world[0] / "classify/train"
    paths = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.jpg"))
    names = sorted({path.split("/")[0] for path in paths})
    order = split_order(paths, [names.index(path.split("/")[0]) for path in paths])
    split = tmp_path / "split.txt"
    split.write_text("\n".join(paths[i] for i in order[:48]))
    options = {
        "train_dataloader.dataset.subset": str(split),
        "optim_wrapper.accumulative_counts": 2,
    }
    run(SEMI_SUPERVISED, world, tmp_path, **options)
    found = json.loads((tmp_path / "result.json").read_text())
    assert found["weights"] | dict(sha256="", weights_checksum="", matched=0) == dict(
        checkpoint=str(world[1]), branch="online", epoch=None, sha256="", weights_checksum="",
        matched=0,
    )  # fmt: skip
    assert len(found["weights"]["sha256"]) == len(found["config_sha256"]) == 64
    assert found["images_per_step"] == 32 and found["accumulated_batches"] == 2
    assert (found["num_train"], found["num_val"], found["processes"]) == (48, 49, 1)
    assert found["subset"]["file"] == str(split) and found["subset"]["official"] is None
    assert found["interpolation"] == ["bilinear"] and found["versions"]["torch"]
    assert found["norms"] and all("batch statistics, param" in norm for norm in found["norms"])
    assert found["optimizer"]["type"] == "SGD" and found["optimizer"]["lr"] == [0.01, 0.05]
    card = json.loads((tmp_path / "run_card.json").read_text())["settings"]
    assert card["weights loaded from"] == str(world[1]) and card["weights, branch"] == "online"
    assert card["weights, SHA-256 of the file"] == found["weights"]["sha256"]


def test_values_record_of_a_random_start(world, tmp_path) -> None:
    options = {"model.backbone.init_cfg": None}
    run(LINEAR, world, tmp_path, **options)
    found = json.loads((tmp_path / "result.json").read_text())
    assert found["weights"] == dict(checkpoint=None, branch="none") and found["subset"] is None
    assert found["norms"] and all("running statistics, param" in norm for norm in found["norms"])
    assert all(norm.endswith("fixed") for norm in found["norms"])


@pytest.mark.parametrize("norm", [None, dict(type="SyncBN", affine=False), dict(type="BN")])
def test_values_places_protocol_on_a_list(norm, world, tmp_path) -> None:
    """The labels of a list against those of class folders; both kinds of a norm of the features."""
    options = {
        "model.head.input_norm_cfg": norm,
        "optim_wrapper.paramwise_cfg": dict(no_decay=["norm"]),
    }
    run(PLACES, world, tmp_path, **options)
    found = json.loads((tmp_path / "result.json").read_text())
    assert (found["num_train"], found["num_val"]) == (120, 49)
    assert found["protocol"] == "shapes-places" and 0 <= found["last"]["accuracy/top1"] <= 100


def test_values_classes_without_a_figure_are_null(world, tmp_path) -> None:
    """One validation image does not show all classes."""
    lists = world[0] / "voc/ImageSets/Main"
    (lists / "one.txt").write_text((lists / "val.txt").read_text().split()[0] + "\n")
    options = {"val_dataloader.dataset.split": "one"}
    run(VOC, world, tmp_path, **options)
    text = (tmp_path / "result.json").read_text()
    last = json.loads(text, parse_constant=lambda word: pytest.fail(word))["last"]
    assert len([name for name in last if "/AP_" in name]) == 12
    assert None in last.values() and last["multi_label/mAP"] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"default_hooks.best_epoch.metric": "accuracy/top2"},
            r"best_epoch.metric=accuracy/top2: validation gives accuracy/top1, accuracy/top5",
        ),
        (
            {"default_hooks.checkpoint.save_best": "accuracy/top3"},
            r"checkpoint.save_best=accuracy/top3: validation gives",
        ),
    ],
)
def test_raises_on_metrics_before_training(changes, message, world, tmp_path) -> None:
    with pytest.raises(ValueError, match=message):
        run(LINEAR, world, tmp_path, **changes)
    assert not list(tmp_path.glob("*.pth"))


@pytest.mark.parametrize("workers", [0, 1])
def test_raises_one_line_for_a_broken_validation_image(
    workers, world, tmp_path, monkeypatch
) -> None:
    """Even behind an epoch of training, and from a process of the loader."""
    val = tmp_path / "val"
    for number, folder in enumerate(sorted((world[0] / "classify/train").iterdir())):
        (val / folder.name).mkdir(parents=True)
        content = b"no image" if number == 3 else next(folder.iterdir()).read_bytes()
        (val / folder.name / "0.jpg").write_bytes(content)
    changes = {"val_dataloader.dataset.root": str(val), "train_cfg.max_epochs": 1}
    config = classifier_config(LINEAR, *world, tmp_path / "run", **changes)
    config.val_dataloader.num_workers = workers
    config.dump(str(tmp_path / "config.py"))
    path = str(ROOT / "tools/train.py")
    arguments = [path, str(tmp_path / "config.py"), "--work-dir", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as end:
        runpy.run_path(path, run_name="__main__")
    assert str(end.value.code).startswith("error: 1 of the ")
    assert "0.jpg" in str(end.value.code) and "Traceback" not in str(end.value.code)
