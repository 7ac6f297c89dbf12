"""PixPro files to our layout and back: every listed key has its place, arguments are read, guesses named."""

from __future__ import annotations

import argparse
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from mmssl.convert.checkpoint_file import load_weights_file
from mmssl.convert.config_text import read_config_text
from mmssl.convert.convert_file import convert_file
from mmssl.convert.key_map import check_complete
from mmssl.convert.load_algorithm import load_algorithm
from mmssl.convert.load_backbone import load_backbone
from mmssl.convert.official.method_files import METHOD_FILES
from mmssl.convert.official.method_recognition import method_of_file, method_of_state
from mmssl.convert.official.pixpro import (
    from_official,
    guessed_options,
    model_config,
    said_by_file,
    to_official,
)
from mmssl.engine.config import load_config
from mmssl.models.algorithms import BaseAlgorithm
from mmssl.models.backbones import ResNet
from mmssl.registry import MODELS
from tests.helpers.goldens import Golden, official_keys

R18 = dict(type="ResNet", depth=18, out_indices=(3,))
MLP = dict(type="ConvMLPNeck", hid_channels=12, out_channels=8, norm_cfg=dict(type="BN"))
PPM = dict(type="PixelPropagation", num_layers=1)
PIXPRO = dict(type="PixPro", backbone=R18, neck=MLP, head=PPM, pos_ratio=0.6)
CONFIGS: dict[str, dict[str, Any]] = {
    "plain": PIXPRO,
    "identity": dict(PIXPRO, head=dict(PPM, num_layers=0, gamma=1.0)),
    "two_layers": dict(PIXPRO, head=dict(PPM, num_layers=2)),
    "instance": dict(PIXPRO, instance_neck=MLP, instance_head=MLP, instance_weight=0.5),
    "simclr_star": dict(PIXPRO, instance_neck=MLP, instance_loss="simclr_star"),
    "pixcontrast": dict(type="PixContrast", backbone=R18, neck=MLP),
}
CONFIG_FOLDER = Path(__file__).resolve().parents[2] / "configs/pixpro"
# Of their recipe on 8 processes: what the length of the momentum follows from.
NUMBERS = dict(num_instances=1281167, batch_size=128, epochs=100, base_learning_rate=1.0)
OPTIMIZER = dict(param_groups=[dict(params=[0], initial_lr=4.0), dict(params=[1], initial_lr=4.0)])
LISTED = {
    "pixpro_resnet50": (50, 1, False),
    "pixpro_resnet101": (101, 1, False),
    "pixpro_resnet50_instance": (50, 1, True),
    "pixpro_resnet50_layer2": (50, 2, False),
}


@cache
def trained(name: str) -> BaseAlgorithm:
    """A model whose every number is random, with a twin of its own."""
    torch.manual_seed(0)
    model = MODELS.build(CONFIGS[name])
    for value in (*model.parameters(), *model.buffers()):
        if value.is_floating_point():
            torch.nn.init.normal_(value.detach())
    model.twin.num_updates.fill_(5)
    return model


def official_file(name: str, folder: Path, **more: Any) -> Path:
    """Their file, without a word on the config."""
    theirs = {f"module.{k}": v for k, v in to_official(trained(name).state_dict()).items()}
    torch.save(dict(model=theirs, **more), folder / "official.pth")
    return folder / "official.pth"


@pytest.mark.parametrize("name", LISTED)
def test_state_official_keys_are_complete(name: str) -> None:
    """Every listed key has a place of its shape in the model read off it, and the way back gives them all."""
    depth, layers, instance = LISTED[name]
    listed = official_keys("pixpro")[name]["keys"]
    with torch.device("meta"):
        theirs = {f"module.{key}": torch.empty(shape) for key, shape in listed}
        ours = from_official(theirs)
        config = model_config(ours)
        check_complete(ours, MODELS.build(config).state_dict())
    assert (config["backbone"]["depth"], config["head"]["num_layers"]) == (depth, layers)
    assert ("instance_head" in config) is instance
    assert config["neck"] == dict(
        type="ConvMLPNeck", hid_channels=4096, out_channels=256, norm_cfg=dict(type="SyncBN")
    )
    assert {k: list(v.shape) for k, v in to_official(ours).items()} == dict(listed)


def test_values_encoders_are_not_mixed_up() -> None:
    """`encoder.` and `encoder_k.`, `projector.`, `projector_k.` and those of instances go their own ways."""
    keys = [key for key, _ in official_keys("pixpro")["pixpro_resnet50_instance"]["keys"]]
    ours = from_official({key: torch.tensor(place) for place, key in enumerate(keys)})
    expected = {
        "encoder.bn1.bias": "backbone.bn1.bias",
        "encoder_k.layer4.2.conv3.weight": "twin.backbone.layer4.2.conv3.weight",
        "projector.linear1.weight": "neck.layers.0.weight",
        "projector.bn1.running_var": "neck.layers.1.running_var",
        "projector_k.linear2.bias": "twin.neck.layers.3.bias",
        "projector_instance.linear1.bias": "instance_neck.layers.0.bias",
        "projector_instance_k.bn1.weight": "twin.instance_neck.layers.1.weight",
        "predictor.linear2.weight": "instance_head.layers.3.weight",
        "value_transform.weight": "head.value_transform.layers.0.weight",
    }
    for theirs, mine in expected.items():
        assert int(ours[mine]) == keys.index(theirs), theirs
    listed = official_keys("pixpro")["pixpro_resnet50_layer2"]["keys"]
    values = [key for key, _ in listed if key.startswith("value_transform.")]
    renamed = from_official(dict.fromkeys(values, torch.zeros(())))
    assert sorted(renamed) == sorted(
        f"head.value_transform.layers.{rest}"
        for rest in ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean",
                     "1.running_var", "1.num_batches_tracked", "3.weight", "3.bias")
    )  # fmt: skip


@pytest.mark.parametrize("name", ["two_layers", "instance", "simclr_star", "pixcontrast"])
def test_equivalence_there_and_back(name: str, tmp_path: Path) -> None:
    """All numbers survive, and the config travels in the file; PixContrast stays PixContrast."""
    meta = dict(epoch=7, cfg=f"default_scope = 'mmssl'\nmodel = {CONFIGS[name]!r}\n")
    before = trained(name).state_dict()
    torch.save(dict(state_dict=before, meta=meta), tmp_path / "run.pth")
    theirs, ours = tmp_path / "theirs.pth", tmp_path / "ours.pth"
    lines = convert_file(tmp_path / "run.pth", theirs, to="official")
    assert "layout of pixpro, epoch 7" in lines[0]
    file = load_weights_file(theirs)
    assert file["epoch"] == 7 and all(key.startswith("module.") for key in file["model"])
    lines = convert_file(theirs, ours, iters_per_epoch=10)
    assert not any("guessed" in line for line in lines)
    model = load_algorithm(ours)
    assert type(model).__name__ == CONFIGS[name]["type"]
    state = model.state_dict()
    assert int(state.pop("twin.num_updates")) == 70
    assert state.keys() == before.keys() - {"twin.num_updates"}
    assert all(torch.equal(value, before[key]) for key, value in state.items())


@pytest.mark.parametrize("name", ["plain", "identity", "two_layers", "instance"])
def test_values_config_of_the_weights_builds_their_model(name: str, tmp_path: Path) -> None:
    """Without a config the structure is read, and what the weights do not tell is named."""
    lines = convert_file(official_file(name, tmp_path), tmp_path / "ours.pth")
    (guessed,) = [line for line in lines if "guessed" in line]
    assert "head.gamma=2.0" in guessed and "pos_ratio=0.7" in guessed
    assert ("instance_weight=1.0" in guessed) is (name == "instance")
    config = read_config_text((tmp_path / "ours.py").read_text())["model"]
    assert config["head"]["num_layers"] == dict(identity=0, two_layers=2).get(name, 1)
    model = load_algorithm(tmp_path / "ours.pth")
    assert torch.equal(model.twin.neck.layers[3].weight, trained(name).twin.neck.layers[3].weight)


@pytest.mark.parametrize("as_dict", [False, True])
def test_values_arguments_in_the_file(as_dict: bool, tmp_path: Path) -> None:
    """`opt` of a run of their program, read without trusting the pickle."""
    given = dict(
        arch="resnet18", pixpro_p=1.0, pixpro_clamp_value=-1.0, pixpro_pos_ratio=0.5,
        pixpro_momentum=0.98, pixpro_ins_loss_weight=0.3, pixpro_transform_layer=1, **NUMBERS,
    )  # fmt: skip
    opt = given if as_dict else argparse.Namespace(**given)
    file = official_file("instance", tmp_path, opt=opt, optimizer=OPTIMIZER, epoch=100)
    lines = convert_file(file, tmp_path / "ours.pth")
    assert "epoch 100" in lines[0] and not any("guessed" in line for line in lines)
    config = read_config_text((tmp_path / "ours.py").read_text())["model"]
    assert (config["head"]["gamma"], config["head"]["clamp"]) == (1.0, -1.0)
    assert (config["pos_ratio"], config["instance_weight"]) == (0.5, 0.3)
    assert config["momentum"] == dict(type="Cosine", start=0.98, end=1.0, length=125113)


def test_values_length_of_the_momentum_is_guessed_without_its_numbers(tmp_path: Path) -> None:
    """The start is an argument; the length needs the number of processes, which a learning rate tells."""
    opt = dict(pixpro_p=2.0, pixpro_clamp_value=0.0, pixpro_pos_ratio=0.7, pixpro_momentum=0.98)
    (guessed,) = [
        line
        for line in convert_file(official_file("plain", tmp_path, opt=opt), tmp_path / "ours.pth")
        if "guessed" in line
    ]
    assert "momentum.length=None" in guessed and "momentum.start" not in guessed
    assert (
        read_config_text((tmp_path / "ours.py").read_text())["model"]["momentum"]["start"] == 0.98
    )
    numbers = dict(opt=dict(opt, **NUMBERS))
    for optimizer in (None, {}, dict(param_groups=[]), dict(param_groups=[dict(lr=0.1)]),
                      dict(param_groups=[dict(initial_lr=4.3)])):  # fmt: skip
        assert "momentum.length" not in said_by_file(dict(numbers, optimizer=optimizer))
    for missing in NUMBERS:
        less = {name: value for name, value in numbers["opt"].items() if name != missing}
        assert "momentum.length" not in said_by_file(dict(opt=less, optimizer=OPTIMIZER))


@pytest.mark.parametrize("case", ["pixpro_momentum", "pixpro_momentum_2"])
def test_values_length_of_the_momentum_is_theirs(case: str) -> None:
    golden = Golden("pixpro", case)
    for name, about in golden.entry["options"].items():
        given = dict(
            num_instances=about["N"], batch_size=about["bs"], epochs=about["epochs"],
            base_learning_rate=0.3, pixpro_momentum=about["base"],
        )  # fmt: skip
        groups = [dict(initial_lr=about["bs"] * about["world"] / 256 * 0.3)] * 2
        said = said_by_file(dict(opt=given, optimizer=dict(param_groups=groups)))
        length = int(golden.arrays[f"{name}_K"])
        assert said == {"momentum.start": about["base"], "momentum.length": length}
    assert NUMBERS["num_instances"] == 1281167


@pytest.mark.parametrize("name", ["", "_instance"])
def test_values_length_in_the_recipes_is_theirs(name: str) -> None:
    config = load_config(
        CONFIG_FOLDER / f"pixpro_resnet50{name}_8xb128-coslr-100e_in1k_official.py"
    )
    golden = Golden("pixpro", "pixpro_momentum")
    assert config.model.momentum.length == golden.arrays["ep100_K"]


def test_values_of_single_arguments() -> None:
    assert said_by_file(dict(opt=dict(pixpro_p=3, pixpro_ins_loss_weight=0.0))) == {"head.gamma": 3}
    assert said_by_file(dict(opt=None)) == said_by_file({}) == {}
    assert guessed_options({}) == [
        "head.gamma", "head.clamp", "pos_ratio", "momentum.start",
        "momentum.length",
    ]  # fmt: skip


def test_values_methods_are_recognised() -> None:
    """By a file's names, among those of MoBY, whose copies have the same prefixes; by a state of ours."""
    for name, config in CONFIGS.items():
        state = trained(name).state_dict()
        assert method_of_state(state, config) == method_of_state(state, None) == "pixpro"
        assert method_of_file(METHOD_FILES["pixpro"].to_file(state)) == "pixpro"
    neck = dict(type="MLPNeck", hid_channels=6, out_channels=4)
    simclr = dict(type="SimCLR", backbone=R18, neck=neck)  # whose files are TensorFlow's
    with torch.device("meta"):
        state = MODELS.build(simclr).state_dict()
    with pytest.raises(ValueError, match="no whole checkpoint"):
        method_of_state(state, simclr)


def test_state_online_network_alone(tmp_path: Path) -> None:
    """A file without key encoder: the twin is a copy that has yet to be trained."""
    state = load_weights_file(official_file("plain", tmp_path))["model"]
    online = {key: value for key, value in state.items() if "_k." not in key}
    torch.save(dict(model=online), tmp_path / "online.pth")
    lines = convert_file(tmp_path / "online.pth", tmp_path / "ours.pth")
    assert lines[-1].startswith("one network in the file")
    model = load_algorithm(tmp_path / "ours.pth")
    assert int(model.twin.num_updates) == 0
    assert torch.equal(model.twin.neck.layers[0].weight, model.neck.layers[0].weight)


def test_values_backbone_of_their_file_is_the_online_one() -> None:
    listed = official_keys("pixpro")["pixpro_resnet50"]["keys"]
    state = {f"module.{key}": torch.zeros(shape) for key, shape in listed}
    state["module.encoder.conv1.weight"] += 1
    backbone = ResNet(50)
    report = load_backbone(backbone, dict(model=state))
    assert len(report.matched) == 318 and report.complete
    assert bool((backbone.conv1.weight == 1).all())


def test_raises() -> None:
    with pytest.raises(KeyError, match="no known part"):
        from_official({"projector.bn1.weight": torch.zeros(1), "queue": torch.zeros(1)})
    with pytest.raises(KeyError, match="no known part"):
        from_official({"projector.linear3.weight": torch.zeros(1)})
    with pytest.raises(KeyError, match=r"no known part.*pyramid\.neck"):
        to_official({"pyramid.neck.lateral_convs.0.conv.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="at least 1"):
        from_official({}, num_updates=0)
