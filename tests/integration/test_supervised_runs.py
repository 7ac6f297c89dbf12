"""Supervised runs from scratch: the average is what is validated, kept, resumed and exported."""

from __future__ import annotations

import json
import math
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmssl.convert.checkpoint_file import load_weights_file
from mmssl.engine.config import load_config
from mmssl.engine.runner import Runner
from mmssl.evaluation import TopKAccuracy
from mmssl.evaluation.classifier import evaluate_classifier
from mmssl.models.algorithms import ImageClassifier
from mmssl.models.backbones import CoTNet
from mmssl.structures import Predictions, ViewBatch
from tests.helpers.classifiers import ROOT, draw, scores_of
from tests.helpers.killed import Killed

pytestmark = pytest.mark.integration

LEAF = ROOT / "configs/cotnet/cotnet50_1xb32-coslr-10e_shapes.py"
ARCH = dict(depths=(1, 1, 1, 1), planes=(16, 16, 32, 32), stem_channels=16)
VIEWS = dict(
    type="MultiView",
    backend="pil",
    boxes=None,
    views=[
        dict(
            num=1,
            transforms=[
                dict(type="RandomResizedCrop", size=32, scale=(0.4, 1.0), interpolation="bicubic"),
                dict(type="HorizontalFlip", prob=0.5),
                dict(type="RandAugment", magnitude=2.0),
            ],
        )
    ],
)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> Path:
    """Drawn images."""
    init_default_scope("mmssl")
    root = tmp_path_factory.mktemp("supervised")
    draw(root / "shapes")
    return root / "shapes"


def small_config(shapes: Path, work_dir: Path, **changes) -> Config:
    """The leaf on small images with a tiny network, two batches of which are a step."""
    return load_config(
        LEAF,
        {
            "model.backbone.arch": dict(_delete_=True, **ARCH),
            "model.head.dropout": 0.25,
            "train_dataloader.dataset.root": str(shapes / "classify/train"),
            "train_dataloader.dataset.views": dict(_delete_=True, **VIEWS),
            "train_dataloader.batch_size": 16,
            "train_dataloader.num_workers": 0,
            "train_dataloader.persistent_workers": False,
            "val_dataloader.dataset.root": str(shapes / "classify/val"),
            "val_dataloader.dataset.views.views.0.transforms.0.size": [32, 32],
            "val_dataloader.num_workers": 0,
            "val_dataloader.persistent_workers": False,
            "optim_wrapper.accumulative_counts": 2,
            "param_scheduler.0.warmup": 1,
            "train_cfg.max_epochs": 3,
            "default_hooks.report.num_images": 1,
            "visualizer.vis_backends": [dict(type="LocalVisBackend")],
            "work_dir": str(work_dir),
            "experiment_name": str(work_dir),
            "log_level": "WARNING",
        }
        | changes,
    )


def run(shapes: Path, work_dir: Path, **changes) -> Runner:
    """A run of that config."""
    runner = Runner.from_cfg(small_config(shapes, work_dir, **changes))
    runner.train()
    return runner


def result(work_dir: Path) -> dict:
    return json.loads((work_dir / "result.json").read_text())


def tool(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: object) -> None:
    """Run a tool in this process."""
    path = str(ROOT / "tools" / name)
    monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
    runpy.run_path(path, run_name="__main__")


def test_state_the_average_is_what_counts(shapes, tmp_path, monkeypatch) -> None:
    """Updates are optimizer steps; the figure is that of the average; it exports as the backbone."""
    runner = run(shapes, tmp_path)
    model = runner.model
    # 120 images: 7 batches of 16 an epoch, 21 in all, of which every second steps, and the last
    assert int(model.twin.num_updates) == 11
    val = runner.val_dataloader.dataset
    labels = torch.as_tensor(val.labels)
    figures = []
    for averaged in (True, False):
        scores = scores_of(model, val)
        metric = TopKAccuracy()
        metric.process(None, [Predictions(torch.arange(len(labels)), labels, scores)])
        figures.append((scores, metric.evaluate(len(labels))))
        model.twin = None if averaged else model.twin
    assert not torch.allclose(figures[0][0], figures[1][0])
    assert result(tmp_path)["last"]["accuracy/top1"] == pytest.approx(
        figures[0][1]["accuracy/top1"]
    )
    saved = torch.load(tmp_path / "epoch_3.pth", weights_only=True)["state_dict"]
    average = {
        name.removeprefix("twin.backbone."): value
        for name, value in saved.items()
        if name.startswith("twin.backbone.")
    }
    CoTNet(ARCH).load_state_dict(average)
    config, path = small_config(shapes, tmp_path), tmp_path / "epoch_3.pth"
    auto, twin, online = (
        evaluate_classifier(config, str(path), branch=b) for b in ("auto", "twin", "online")
    )
    for record, (_, figure) in ((auto, figures[0]), (twin, figures[0]), (online, figures[1])):
        assert record["results"]["test"] == pytest.approx(figure)
    assert auto["weights"]["branch"] == "twin" and auto["num_val"] == len(val)
    # through their layout and back, by the tools
    official, ours = tmp_path / "official.pth", tmp_path / "ours.pth"
    tool(monkeypatch, "convert_checkpoint.py", path, official, "--to", "official")
    tool(monkeypatch, "convert_checkpoint.py", official, ours)
    config.dump(str(tmp_path / "config.py"))
    tool(
        monkeypatch, "test.py", tmp_path / "config.py", ours, "--classify", "--device", "cpu",
        "--out", tmp_path / "again.json",
    )  # fmt: skip
    again = json.loads((tmp_path / "again.json").read_text())
    assert again["results"]["test"] == pytest.approx(figures[0][1])
    tool(
        monkeypatch, "export_backbone.py", path, tmp_path / "backbone.pth", "--to", "mmdet",
        "--branch", "twin",
    )  # fmt: skip
    exported = load_weights_file(tmp_path / "backbone.pth")["state_dict"]
    for name, value in average.items():
        assert torch.equal(exported[f"backbone.{name}"], value), name


def test_raises_for_what_is_no_classifier_of_the_file(shapes, tmp_path, monkeypatch) -> None:
    config = small_config(shapes, tmp_path)
    plain = tmp_path / "plain.pth"
    model = ImageClassifier(CoTNet(ARCH), dict(type="LinearHead", num_classes=3), frozen=False)
    torch.save(dict(state_dict=model.state_dict()), plain)
    with pytest.raises(ValueError, match="holds no averaged weights"):
        evaluate_classifier(config, str(plain), branch="twin")
    with pytest.raises(
        ValueError, match=r"2 of another shape \['head.fc.weight', 'head.fc.bias'\]"
    ):
        evaluate_classifier(config, str(plain))
    other = load_config(ROOT / "configs/care/care_resnet50_8xb128-coslr-100e_in1k.py")
    with pytest.raises(ValueError, match="no config of a classifier"):
        evaluate_classifier(other, str(plain))
    with pytest.raises(SystemExit, match="--classify tests a classifier that was trained"):
        tool(monkeypatch, "test.py", LEAF, "none", "--classify")


def test_state_resumed_run_is_bit_equal(shapes, tmp_path) -> None:
    """Killed inside an epoch and inside a step of two batches; the average goes on exactly."""
    straight = run(shapes, tmp_path / "straight")
    hook = [dict(type="NormAverageHook"), dict(type="KillHook", at=9)]
    checkpoint = dict(type="CheckpointHook", interval=1, by_epoch=False, max_keep_ckpts=1)
    with pytest.raises(Killed):
        run(
            shapes,
            tmp_path / "killed",
            custom_hooks=hook,
            **{"default_hooks.checkpoint": checkpoint},
        )
    resumed = run(shapes, tmp_path / "killed", resume=True)
    for name, value in straight.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name
    assert result(tmp_path / "straight")["history"] == result(tmp_path / "killed")["history"]


def toy_batch(generator: torch.Generator) -> ViewBatch:
    """Sixteen noisy images of four classes: stripes of two colours, upright or lying."""
    labels = torch.arange(16) % 4
    wave = torch.arange(32).div(4, rounding_mode="floor").remainder(2).mul(2.0).sub(1)
    upright, lying = wave.expand(32, 32), wave[:, None].expand(32, 32)
    images = 0.5 * torch.randn(16, 3, 32, 32, generator=generator)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[label // 2] += lying if label % 2 else upright
    return ViewBatch([images], torch.arange(16), [], labels, [])


@pytest.mark.parametrize("fusion", ["se", "sum", "dynamic", "static"])
def test_values_every_fusion_learns(fusion: str) -> None:
    """An epoch of 24 batches brings the loss down from that of guessing among four."""
    init_default_scope("mmssl")
    torch.manual_seed(0)
    model = ImageClassifier(
        CoTNet(ARCH, fusion=fusion), dict(type="LinearHead", num_classes=4), frozen=False
    ).train()
    sgd = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    generator = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(24):
        loss = model.loss(toy_batch(generator))["loss"]
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(4), abs=0.1)
    assert sum(losses[-4:]) / 4 < 0.5 * losses[0]
