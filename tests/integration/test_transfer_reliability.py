"""Detectors and segmenters of the families train as safely as the pretraining does."""

from __future__ import annotations

import signal

import pytest
import torch
from mmengine.config import Config

from mmssl.engine.family_runtime import complete_family_runtime
from mmssl.engine.hooks import NonFiniteLossError, latest_checkpoint
from mmssl.visualization.run_card import read_card
from tests.helpers import transfer
from tests.helpers.processes import train, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.downstream]

DETECTOR = "shapes_detection/faster_rcnn_r18_fpn_shapes.py"
SEGMENTER = "shapes_segmentation/fcn_r18_shapes.py"


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return transfer.draw_few(tmp_path_factory.mktemp("data") / "shapes")


def words(options: dict) -> list[str]:
    return [f"{key}={value}" for key, value in options.items() if not isinstance(value, dict)]


def test_sigterm_saves_a_detector_that_resumes(shapes, tmp_path):
    options = transfer.coco_on_shapes(shapes) | {"load_from": None, "custom_hooks.1.num_iters": 1}
    options |= {"train_cfg.max_iters": 40, "train_cfg.val_interval": 40}
    options |= {"default_hooks.logger.interval": 1, "default_hooks.checkpoint.interval": 100}
    command = (transfer.BENCHMARKS / DETECTOR, "--work-dir", tmp_path / "run")
    process = train(*command, "--cfg-options", *words(options), log=tmp_path / "log")
    wait_for("Iter(train) [ 2/40]", tmp_path / "log", process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, (tmp_path / "log").read_text()[-3000:]
    saved = torch.load(latest_checkpoint(tmp_path / "run"), weights_only=True)
    there = saved["meta"]["iter"]
    assert 2 <= there < 40
    card = read_card(tmp_path / "run")
    assert (card["state"], card["ended_by"]) == ("interrupted", "SIGTERM")

    options["train_cfg.max_iters"] = options["train_cfg.val_interval"] = there + 2
    resumed = train(*command, "--resume", "--cfg-options", *words(options), log=tmp_path / "log2")
    assert resumed.wait(120) == 0, (tmp_path / "log2").read_text()[-3000:]
    text = (tmp_path / "log2").read_text()
    assert f"Iter(train) [{there + 1}/{there + 2}]" in text.replace("[ ", "[")
    assert read_card(tmp_path / "run")["state"] == "finished"


@pytest.mark.parametrize("leaf", [DETECTOR, SEGMENTER])
def test_raises_with_the_images_of_a_non_finite_loss(leaf, shapes, tmp_path):
    options = {"load_from": None, "param_scheduler": None, "optim_wrapper.optimizer.lr": 1e30}
    if leaf == DETECTOR:
        options |= transfer.coco_on_shapes(shapes)
    else:
        options |= transfer.shapes_segmentation(shapes)
    with pytest.raises(NonFiniteLossError) as error:
        transfer.run(leaf, tmp_path, options)
    assert "loss_cls = " in str(error.value) or "decode.loss_ce = " in str(error.value)
    assert str(error.value).count(".jpg") == 2
    assert read_card(tmp_path)["state"] == "interrupted"


def test_the_family_keeps_its_own_choices():
    config = Config(
        dict(
            default_scope="mmdet",
            default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=5), report=None),
            optim_wrapper=dict(type="AmpOptimWrapper"),
            train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=2),
        )
    )
    complete_family_runtime(config)
    assert config.default_hooks.checkpoint == dict(type="mmssl.CheckpointHook", interval=5)
    assert config.default_hooks.report is None
    assert config.default_hooks.preemption == dict(type="mmssl.PreemptionHook")
    assert config.optim_wrapper.type == "AmpOptimWrapper"
    assert config.train_cfg == dict(type="mmssl.EpochLoop", max_epochs=2)


def test_our_own_configs_stay_as_they_are():
    config = Config(dict(default_scope="mmssl", optim_wrapper=dict(type="OptimWrapper")))
    before = config.to_dict()
    complete_family_runtime(config)
    assert config.to_dict() == before
