"""DenseCL's files to our layout and back, and what they are told by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmssl.convert.checkpoint_file import load_weights_file
from mmssl.convert.config_text import read_config_text
from mmssl.convert.convert_file import convert_file
from mmssl.convert.export import export_backbone
from mmssl.convert.key_map import check_complete
from mmssl.convert.load_algorithm import load_algorithm
from mmssl.convert.load_backbone import load_backbone
from mmssl.convert.official.densecl import from_official, model_config, to_official
from mmssl.convert.official.method_recognition import method_of_file, method_of_state
from mmssl.models.algorithms import DenseCL
from mmssl.models.backbones import ResNet
from mmssl.registry import MODELS
from tests.helpers.goldens import official_keys

CONFIG = dict(
    type="DenseCL",
    backbone=dict(type="ResNet", depth=18, out_indices=(3,)),
    neck=dict(type="DenseCLNeck", hid_channels=12, out_channels=8, num_grid=3),
    queue_length=24,
    temperature=0.3,
    dense_weight=0.9,
)


def trained() -> DenseCL:
    """A model whose every number is random."""
    torch.manual_seed(0)
    model = MODELS.build(CONFIG)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.normal_().abs_() if name.endswith("var") else value.normal_()
    model.twin.num_updates.fill_(5)
    model.queue.pointer.fill_(3)
    model.dense_queue.pointer.fill_(7)
    return model


def official_file(folder: Path, **meta: Any) -> Path:
    """A training checkpoint of theirs, without a word on the model."""
    state = to_official(trained().state_dict())
    torch.save(dict(meta=meta, state_dict=state, optimizer={}), folder / "theirs.pth")
    return folder / "theirs.pth"


@pytest.mark.parametrize("depth", [50, 101])
def test_state_official_keys_are_complete(depth: int) -> None:
    """Every listed key has a place of its shape, and the way back gives all of them."""
    listed = dict(official_keys("pixpro")[f"densecl_resnet{depth}"]["keys"])
    with torch.device("meta"):
        theirs = {key: torch.empty(shape) for key, shape in listed.items()}
        assert method_of_file(dict(state_dict=theirs)) == "densecl"
        ours = from_official(theirs)
        config = model_config(ours)
        check_complete(ours, MODELS.build(config).state_dict())
    assert (config["backbone"]["depth"], config["queue_length"]) == (depth, 65536)
    assert (config["neck"]["hid_channels"], config["neck"]["out_channels"]) == (2048, 128)
    back = {key: list(value.shape) for key, value in to_official(ours).items()}
    assert back == listed


def test_equivalence_there_and_back(tmp_path: Path) -> None:
    model = trained()
    meta = dict(epoch=7, cfg=f"default_scope = 'mmssl'\nmodel = {CONFIG!r}\n")
    torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / "run.pth")
    lines = convert_file(tmp_path / "run.pth", tmp_path / "theirs.pth", to="official")
    assert "layout of densecl, epoch 7" in lines[0]
    file = load_weights_file(tmp_path / "theirs.pth")
    # where a runner of their family looks for it
    assert file["meta"]["epoch"] == 7 and "epoch" not in file
    assert torch.equal(file["state_dict"]["queue2"], model.dense_queue.features.T)
    lines = convert_file(tmp_path / "theirs.pth", tmp_path / "ours.pth", iters_per_epoch=10)
    assert "DenseCL from the layout of densecl, epoch 7" in lines[0]
    assert not any("guessed" in line for line in lines)
    back = load_algorithm(tmp_path / "ours.pth")
    for key, value in back.state_dict().items():
        if key != "twin.num_updates":
            assert torch.equal(value, model.state_dict()[key]), key
    assert int(back.twin.num_updates) == 70
    assert read_config_text((tmp_path / "ours.py").read_text())["model"] == CONFIG


def test_values_config_and_updates_are_read_off_their_file(tmp_path: Path) -> None:
    source = official_file(tmp_path, epoch=3, iter=999)
    lines = convert_file(source, tmp_path / "ours.pth")
    (guessed,) = [line for line in lines if line.startswith("guessed")]
    assert "neck.num_grid=None, temperature=0.2, dense_weight=0.5, momentum=0.999" in guessed
    assert not any("method" in line for line in lines if line.startswith("guessed"))
    model = load_algorithm(tmp_path / "ours.pth")
    assert int(model.twin.num_updates) == 999
    assert (int(model.queue.pointer), int(model.dense_queue.pointer)) == (3, 7)
    written = read_config_text((tmp_path / "ours.py").read_text())["model"]
    assert written["backbone"] == dict(CONFIG["backbone"], norm_cfg=dict(type="BN"))


def test_values_whose_weights_are_whose() -> None:
    """A model of MoCo has DenseCL's parts but two; the more there is, the closer the method."""
    state = trained().state_dict()
    assert method_of_state(state, None) == "densecl"
    fewer = {key: value for key, value in state.items() if "cell_mlp" not in key}
    assert method_of_state(fewer, None) == "moco"


def test_values_trunk_of_their_files(tmp_path: Path) -> None:
    """The whole checkpoint holds the trunk twice; the released file holds it alone."""
    source = official_file(tmp_path, epoch=3)
    model = trained()
    for branch, expected in (("online", model.backbone), ("twin", model.twin.backbone)):
        network = ResNet(18, out_indices=(3,))
        report = load_backbone(network, load_weights_file(source), branch=branch)
        assert len(report.matched) == 120 and report.complete
        for key, value in network.state_dict().items():
            assert torch.equal(value, expected.state_dict()[key]), key
    export_backbone(source, tmp_path / "backbone.pth", to="torchvision")
    written = load_weights_file(tmp_path / "backbone.pth")["state_dict"]
    assert torch.equal(written["layer3.0.bn1.bias"], model.backbone.layer3[0].bn1.bias)
    released = dict(state_dict=model.backbone.state_dict(), author="DenseCL")
    network = ResNet(18, out_indices=(3,))
    assert load_backbone(network, released).complete
    torch.save(released, tmp_path / "released.pth")
    with pytest.raises(ValueError, match="a backbone without the heads of a method"):
        convert_file(tmp_path / "released.pth", tmp_path / "x.pth")


def test_values_the_trunk_that_their_program_would_load_counts() -> None:
    """Loading in the order of the file, `backbone.*` comes last."""
    theirs = to_official(trained().state_dict())
    theirs["backbone.bn1.bias"] = torch.full((64,), 3.0)
    assert (from_official(theirs)["backbone.bn1.bias"] == 3).all()
    del theirs["backbone.bn1.bias"]
    assert torch.equal(from_official(theirs)["backbone.bn1.bias"], theirs["encoder_q.0.bn1.bias"])


def test_raises_for_what_has_no_place(tmp_path: Path) -> None:
    theirs = to_official(trained().state_dict())
    with pytest.raises(KeyError, match=r"no known part.*queue3"):
        from_official(theirs | {"queue3": torch.zeros(1)})
    with pytest.raises(KeyError, match=r"no known part.*mlp3\.weight"):
        from_official(theirs | {"encoder_q.1.mlp3.weight": torch.zeros(1)})
    with pytest.raises(KeyError, match="no known part"):
        to_official(trained().state_dict() | {"queue.index": torch.zeros(24)})
    with pytest.raises(ValueError, match="at least 1, got 0"):
        from_official(theirs, num_updates=0)
    lacking = {key: value for key, value in theirs.items() if key != "queue2"}
    torch.save(dict(state_dict=lacking), tmp_path / "lacking.pth")
    with pytest.raises(ValueError, match=r"1 missing \['dense_queue\.features'\]"):
        convert_file(tmp_path / "lacking.pth", tmp_path / "x.pth")
