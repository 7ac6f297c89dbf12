"""Whole runs of linear, semi-supervised and VOC evaluation: what changes, what is counted, what is kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

from mmssl.datasets.splits import split_order, split_size
from mmssl.engine.runner import Runner
from tests.helpers.classifiers import (
    LINEAR,
    SEMI_SUPERVISED,
    VOC,
    classifier_config,
    draw,
    scores_of,
    write_pretrained,
)
from tests.helpers.killed import Killed

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> tuple[Path, Path]:
    """Drawn images and a pretrained backbone."""
    init_default_scope("mmssl")
    root = tmp_path_factory.mktemp("classifiers")
    draw(root / "shapes")
    write_pretrained(root / "pretrained.pth")
    return root / "shapes", root / "pretrained.pth"


def run(leaf: Path, world: tuple[Path, Path], work_dir: Path, **changes) -> Runner:
    runner = Runner.from_cfg(classifier_config(leaf, *world, work_dir, **changes))
    runner.train()
    return runner


def result(work_dir: Path) -> dict:
    return json.loads((work_dir / "result.json").read_text())


def changed(runner: Runner, pretrained: Path) -> set[str]:
    """Names of the backbone's tensors that are not those of the file."""
    before = torch.load(pretrained, weights_only=True)["state_dict"]
    after = runner.model.backbone.state_dict()
    assert {f"backbone.{name}" for name in after} == set(before)
    return {
        name for name, value in after.items() if not torch.equal(value, before[f"backbone.{name}"])
    }


def test_state_linear_run_keeps_the_backbone_and_counts_exactly(world, tmp_path) -> None:
    runner = run(LINEAR, world, tmp_path, **{"optim_wrapper.optimizer.lr": 3.0})
    assert changed(runner, world[1]) == set()
    assert runner.model.head.fc.weight.std() > 0.02  # it started from 0.01
    val = runner.val_dataloader.dataset
    labels = np.array(val.labels)
    order = scores_of(runner.model, val).numpy().argsort(axis=1)[:, ::-1]
    found = result(tmp_path)
    assert len(labels) == 49
    for k in (1, 5):
        right = sum(labels[i] in order[i, :k] for i in range(49))
        assert found["last"][f"accuracy/top{k}"] == pytest.approx(100 * right / 49)
    assert [entry["epoch"] for entry in found["history"]] == [1, 2]
    assert found["best"] == max(found["history"], key=lambda entry: entry["accuracy/top1"])
    assert found["protocol"] == "shapes-linear"
    assert found["weights"]["checkpoint"] == str(world[1])
    assert found["images_per_step"] == 16 and found["seed"] == 0 and found["epochs"] == 2


def test_state_both_epochs_are_kept(world, tmp_path) -> None:
    """The rate falls to nothing behind the first epoch, then rises until nothing is right."""
    steps = dict(type="MultiStepLR", by_epoch=True, milestones=[1], gamma=3e4)
    runner = run(LINEAR, world, tmp_path, **{"param_scheduler": [steps], "train_cfg.max_epochs": 2})
    found = result(tmp_path)
    best = int(found["best"]["epoch"])
    (file,) = tmp_path.glob("best_*.pth")
    assert file.name == f"best_accuracy_top1_epoch_{best}.pth"
    assert (tmp_path / "epoch_2.pth").is_file()
    kept = torch.load(file, weights_only=True)["state_dict"]
    assert torch.equal(kept["head.fc.weight"], runner.model.head.fc.weight) == (best == 2)


def test_state_semi_supervised_run_trains_everything_on_its_split(world, tmp_path) -> None:
    shapes, pretrained = world
    folder = shapes / "classify/train"
    paths = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.jpg"))
    classes = sorted({path.split("/")[0] for path in paths})
    order = split_order(paths, [classes.index(path.split("/")[0]) for path in paths])
    chosen = order[: split_size(len(paths), 0.4, len(classes))]
    split = tmp_path / "split.txt"
    split.write_text("\n".join(paths[i] for i in chosen))
    options = {"train_dataloader.dataset.subset": str(split), "optim_wrapper.optimizer.lr": 0.5}
    runner = run(SEMI_SUPERVISED, world, tmp_path, **options)
    train = runner.train_dataloader.dataset
    assert len(train) == 48 and sorted(train.labels) == sorted([*range(24)] * 2)
    assert {Path(train.path(i)).relative_to(folder).as_posix() for i in range(48)} == {
        paths[i] for i in chosen
    }
    assert changed(runner, pretrained) == set(runner.model.backbone.state_dict())
    by_size = {group["lr"]: len(group["params"]) for group in runner.optim_wrapper.param_groups[:2]}
    assert by_size == {0.5: len(list(runner.model.backbone.parameters())), 0.05: 2}


def test_state_voc_run_moves_statistics_only(world, tmp_path) -> None:
    """HCSC's protocol; the best epoch is tested on other images, and the last weights come back."""
    config = classifier_config(VOC, *world, tmp_path)
    test = {
        "test_dataloader": config.val_dataloader,
        "test_cfg": dict(type="TestLoop"),
        "test_evaluator": dict(type="MultiLabelPrecision"),
        "default_hooks.test_best": dict(type="TestBestHook"),
        "test_dataloader.dataset.split": "train",
        "train_cfg.max_epochs": 3,
    }
    runner = run(VOC, world, tmp_path, **test)
    names = changed(runner, world[1])
    assert names and all(
        name.rsplit(".", 1)[-1].startswith(("running_", "num_batches")) for name in names
    )
    val = runner.val_dataloader.dataset
    scores = scores_of(runner.model, val)
    labels = val.labels
    precisions = []
    for number in range(12):
        hits = labels[scores[:, number].argsort(descending=True).numpy(), number] == 1
        if hits.any():
            precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
            envelope = np.maximum.accumulate(precision[::-1])[::-1]
            precisions.append(envelope[hits].mean())
    found = result(tmp_path)
    assert found["last"]["multi_label/mAP"] == pytest.approx(100 * np.mean(precisions), rel=1e-5)
    (best,) = tmp_path.glob("best_*.pth")
    runner.model.load_state_dict(torch.load(best, weights_only=True)["state_dict"])
    again = runner.test_loop.run()
    assert found["test"] == pytest.approx(again)
    assert found["test"]["multi_label/mAP"] != found["best"]["multi_label/mAP"]


@pytest.mark.parametrize("killed", [dict(at=11), dict(at_val=2), dict(at_val=3)])
def test_state_resumed_run_is_bit_equal(killed, world, tmp_path) -> None:
    """Killed inside an epoch, and between the checkpoint of an epoch (the last, too) and its validation."""
    options = {"train_cfg.max_epochs": 3, "model.frozen": False, "custom_hooks": []}
    straight = run(LINEAR, world, tmp_path / "straight", **options)
    options["default_hooks.checkpoint"] = dict(
        type="CheckpointHook",
        interval=1,
        save_best="accuracy/top1",
        rule="greater",
        max_keep_ckpts=1,
    )
    hooks = [dict(type="KillHook", **killed)]
    with pytest.raises(Killed):
        run(LINEAR, world, tmp_path / "killed", **options | {"custom_hooks": hooks})
    resumed = run(LINEAR, world, tmp_path / "killed", resume=True, **options)
    for name, value in straight.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name
    first, second = result(tmp_path / "straight"), result(tmp_path / "killed")
    assert first["history"] == second["history"] and first["best"] == second["best"]
    assert [entry["epoch"] for entry in second["history"]] == [1, 2, 3]
    names = [
        sorted(path.name for path in (tmp_path / run).glob("best_*"))
        for run in ("straight", "killed")
    ]
    assert names[0] == names[1]


def test_raises_when_a_frozen_tensor_changes(world, tmp_path) -> None:
    with pytest.raises(
        RuntimeError, match=r"frozen tensors changed while training, for example backbone\."
    ):
        run(LINEAR, world, tmp_path, **{"model.train_norms": True})


def test_raises_before_the_first_iteration(world, tmp_path) -> None:
    shapes, _ = world
    small = dict(_delete_=True, type="ImageFolder", views=None)
    for changes, message in (
        ({"model.head.num_classes": 10}, r"has 10 outputs, the training images have 24 classes"),
        (
            {"train_dataloader.dataset": dict(small, root=str(shapes / "coco/train"))},
            "training images of .* have no labels",
        ),
        (
            {
                "val_dataloader.dataset.root": str(shapes / "classify"),
                "val_dataloader.dataset.labels": True,
            },
            r"24 classes of the training images are not the 2 classes .* only validation has: train, val",
        ),
        ({"model.backbone.init_cfg.checkpoint": "REQUIRED"}, "none was given. Name a checkpoint"),
        ({"val_dataloader": None, "val_cfg": None, "val_evaluator": None}, "needs val_dataloader"),
        ({"default_hooks.test_best": dict(type="TestBestHook")}, "needs test_dataloader"),
        ({"custom_hooks": [dict(type="FrozenCheckHook", modules=["trunk"])]}, "no module 'trunk'"),
    ):
        with pytest.raises(ValueError, match=message):
            run(LINEAR, world, tmp_path, **changes)
