"""Which colours weights know, and what a run or an evaluation with others says."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.config import Config

from mmssl.convert.known_colours import Colours, colour_fault, known_colours
from mmssl.convert.pretrained_backbone import PretrainedBackbone
from mmssl.engine.hooks import ProgressHook
from mmssl.evaluation import evaluate
from mmssl.models.backbones import ResNet
from mmssl.models.data_preprocessor import ViewPreprocessor
from tests.helpers.tiny import tiny_simsiam

USUAL = Colours([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
UNIT = Colours([0.0, 0.0, 0.0], [255.0, 255.0, 255.0])
RED = Colours(USUAL.mean, [58.14, 57.12, 57.375])
RESNET = dict(type="ResNet", depth=18, base_channels=4, out_indices=(3,))


def of_run(preprocessor: dict | None, scope: str = "mmssl") -> dict[str, Any]:
    model = dict(type="SimCLR", backbone=RESNET, data_preprocessor=preprocessor)
    text = Config(dict(default_scope=scope, model=model)).pretty_text
    return dict(meta=dict(cfg=text), state_dict={})


def of_export(mean: Any, std: Any) -> dict[str, Any]:
    return dict(meta=dict(method="SimCLR", mean=mean, std=std))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (of_run(dict(type="ViewPreprocessor", mean=[0, 0, 0], std=[255, 255, 255])), UNIT),
        (of_run(dict(type="mmssl.ViewPreprocessor", std=RED.std)), RED),
        (of_run(None), USUAL),
        (of_run(dict(type="Others")), None),
        (of_run(None, scope="mmdet"), None),
        (of_export(UNIT.mean, UNIT.std), UNIT),
        (of_export(json.dumps(UNIT.mean), json.dumps(UNIT.std)), UNIT),
        (of_export(None, None), USUAL),
        (dict(meta=dict(epoch=3)), None),
        (dict(meta=dict(cfg="import os")), None),
        (dict(state_dict={}), None),
        ({"module.projection_head.0.weight": 0, "module.prototypes.weight": 0}, RED),
        (dict(state_dict={"projection_head.0.weight": 0, "prototypes.prototypes0.weight": 0}), RED),
        (dict(state_dict={"neck.projection_neck.0.weight": 0, "head.prototypes.weight": 0}), None),
    ],
)
def test_values_what_a_file_says(content: dict, expected: Colours | None) -> None:
    found = known_colours(content)
    if expected is None:
        assert found is None
        return
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6)


def test_values_a_fault_names_the_options() -> None:
    assert colour_fault(None, ViewPreprocessor()) is None
    assert colour_fault(USUAL, ViewPreprocessor()) is None
    assert colour_fault(USUAL, torch.nn.Identity()) is None
    fault = colour_fault(UNIT, ViewPreprocessor())
    assert "a mean of [0.0, 0.0, 0.0]" in fault
    assert "model.data_preprocessor.std=[255.0,255.0,255.0]" in fault
    # a thousandth of the red of SwAV's is one
    assert "a std of [58.14, 57.12, 57.375]" in colour_fault(RED, ViewPreprocessor())
    assert colour_fault(RED, ViewPreprocessor(std=RED.std)) is None


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    """Of a run whose images were not normalised."""
    backbone = ResNet(18, base_channels=4, out_indices=(3,))
    content = of_run(dict(type="ViewPreprocessor", mean=UNIT.mean, std=UNIT.std))
    content["state_dict"] = {f"backbone.{k}": v for k, v in backbone.state_dict().items()}
    torch.save(content, tmp_path / "run.pth")
    return str(tmp_path / "run.pth")


def test_values_evaluation_takes_the_colours_of_the_weights(checkpoint: str, monkeypatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(evaluate, "print_log", lambda text, **_: said.append(text))
    _, preprocessor, _ = evaluate.build_backbone(
        Config(dict(model=dict(backbone=RESNET))), checkpoint
    )
    assert preprocessor.std.flatten().tolist() == UNIT.std
    assert preprocessor.mean.flatten().tolist() == UNIT.mean
    assert "as in the pretraining" in said.pop()
    # what a config names counts, and is objected to
    model = dict(backbone=RESNET, data_preprocessor=dict(type="ViewPreprocessor"))
    _, preprocessor, _ = evaluate.build_backbone(Config(dict(model=model)), checkpoint)
    assert preprocessor.std.flatten().tolist() == pytest.approx(USUAL.std)
    assert "pretrained with a mean of [0.0, 0.0, 0.0]" in said.pop()
    evaluate.build_backbone(Config(dict(model=model)), None)
    assert not said


@pytest.mark.parametrize("colours", [USUAL, UNIT])
def test_state_a_run_from_pretrained_weights_is_warned(checkpoint: str, colours: Colours) -> None:
    preprocessor = ViewPreprocessor(colours.mean, colours.std)
    model = tiny_simsiam(
        backbone=ResNet(18, base_channels=4, out_indices=(3,)), data_preprocessor=preprocessor
    )
    PretrainedBackbone(checkpoint)(model)
    said: list[str] = []
    runner = SimpleNamespace(
        model=model,
        hooks=[],
        train_dataloader=SimpleNamespace(dataset=range(4)),
        logger=SimpleNamespace(warning=said.append),
    )
    ProgressHook().before_train(runner)
    assert [("pretrained with a mean of [0.0, 0.0, 0.0]" in text) for text in said] == (
        [True] if colours is USUAL else []
    )
