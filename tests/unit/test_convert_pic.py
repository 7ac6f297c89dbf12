"""PIC files to our layout and back; rows that owe steps are brought up to date on the way."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mmssl.convert.checkpoint_file import load_weights_file
from mmssl.convert.config_text import read_config_text
from mmssl.convert.convert_file import convert_file
from mmssl.convert.key_map import check_complete
from mmssl.convert.load_algorithm import load_algorithm
from mmssl.convert.load_backbone import load_backbone
from mmssl.convert.official.pic import from_official, model_config, simplified, to_official
from mmssl.models.algorithms import PIC
from mmssl.models.backbones import ResNet
from mmssl.registry import MODELS
from tests.helpers.fill import fill_keys
from tests.helpers.goldens import official_keys

IMAGES, DIM = 20, 8


def listed() -> list[tuple[str, list[int]]]:
    found = official_keys("pixpro")["pic_resnet50"]
    return found["keys"] if isinstance(found, dict) else found


def config_of(num_layers: int = 2, **head: Any) -> dict[str, Any]:
    return dict(
        type="PIC",
        backbone=dict(type="ResNet", depth=18, out_indices=(3,)),
        neck=dict(type="MLPNeck", hid_channels=12, out_channels=DIM, num_layers=num_layers),
        head=dict(type="InstanceClassifier", num_instances=IMAGES) | head,
    )


def their_file(folder: Path, num_layers: int = 2, **options: Any) -> tuple[Path, dict[str, Tensor]]:
    """A file with random weights under their names; `options` of their program."""
    torch.manual_seed(0)
    state = to_official(MODELS.build(config_of(num_layers)).state_dict())
    state = {key: torch.randn_like(v) if v.is_floating_point() else v for key, v in state.items()}
    content = dict(
        opt=argparse.Namespace(**options),
        model={f"module.{key}": value for key, value in state.items()},
        epoch=195,
        sampler=dict(start_index=16384),
    )
    torch.save(content, folder / "pic.pth")
    return folder / "pic.pth", state


def test_state_official_keys_are_complete() -> None:
    """Every listed key has a place of its shape, and the way back gives all of them."""
    with torch.device("meta"):
        theirs = {f"module.{key}": torch.empty(shape) for key, shape in listed()}
        ours = from_official(theirs)
        config = model_config(ours)
        expected = MODELS.build(config).state_dict()
    assert (config["head"]["num_instances"], config["neck"]["hid_channels"]) == (1281167, 2048)
    check_complete(ours, expected)
    back = to_official(ours)
    assert {key: list(value.shape) for key, value in back.items()} == dict(listed())


@pytest.mark.parametrize("num_layers", [1, 2])
def test_equivalence_there_and_back(tmp_path: Path, num_layers: int) -> None:
    source, state = their_file(tmp_path, num_layers, contrast_temperature=0.07)
    ours, official = tmp_path / "ours.pth", tmp_path / "official.pth"
    lines = convert_file(source, ours)
    assert "PIC from the layout of pic, epoch 195" in lines[0]
    assert not any("guessed" in line for line in lines)
    model = load_algorithm(ours)
    assert isinstance(model, PIC) and model.head.temperature == 0.07
    assert torch.equal(model.head.weight, state["sim_matrix"])
    first = state["encoder.fc1.weight" if num_layers == 2 else "encoder.fc.weight"]
    assert torch.equal(model.neck.layers[0].weight, first)
    assert torch.equal(
        model.backbone.layer4[1].conv2.weight, state["encoder.layer4.1.conv2.weight"]
    )
    lines = convert_file(ours, official, to="official")
    assert "layout of pic, epoch 195" in lines[0]
    theirs = load_weights_file(official)["model"]
    assert theirs.keys() == {f"module.{key}" for key in state}
    assert all(torch.equal(theirs[f"module.{key}"], value) for key, value in state.items())
    again = tmp_path / "again.pth"
    convert_file(official, again)
    assert load_algorithm(again).head.temperature == 0.07


def test_values_temperature_is_guessed_where_no_option_tells(tmp_path: Path) -> None:
    source, _ = their_file(tmp_path)
    (guessed,) = [line for line in convert_file(source, tmp_path / "a.pth") if "guessed" in line]
    assert "head.temperature=0.2" in guessed


def test_values_backbone_of_their_file(tmp_path: Path) -> None:
    """All tensors but the projector and the rows."""
    source, state = their_file(tmp_path)
    backbone = ResNet(18)
    report = load_backbone(backbone, source)
    assert report.complete and len(report.matched) == 120
    assert torch.equal(backbone.bn1.weight, state["encoder.bn1.weight"])


@pytest.mark.parametrize(
    "head",
    [
        dict(num_negatives=4),
        dict(num_negatives=4, correction="closed_form"),
        dict(num_negatives=4, correction="none", storage="host"),
        dict(shard=True),
    ],
)
def test_equivalence_rows_of_a_sampled_head(tmp_path: Path, head: dict[str, Any]) -> None:
    """Theirs are the rows as `class_weights` has them, every step that is owed taken."""
    torch.manual_seed(0)
    config = config_of(**head)
    model = MODELS.build(config)
    features = torch.randn(3, DIM)
    for step in range(6):
        classes = model.head(torch.tensor([step, step + 7, 2 * step]))
        (features @ classes.weight.T).logsumexp(1).sum().backward()
        model.head.rows.step(0.1 / (step + 1), momentum=0.9, weight_decay=0.01)
    text = f"model = {config!r}\n"
    ours, official, again = (tmp_path / name for name in ("ours.pth", "official.pth", "again.pth"))
    torch.save(dict(state_dict=model.state_dict(), meta=dict(cfg=text, epoch=3)), ours)
    convert_file(ours, official, to="official")
    found = load_weights_file(official)["model"]["module.sim_matrix"]
    raw = model.state_dict()["head.rows.weight"].clone()
    expected = model.head.class_weights()
    assert torch.equal(found, expected)
    if head.get("correction") != "none" and "num_negatives" in head:
        assert not torch.equal(found, raw)
    # the way back is a softmax over all images
    convert_file(official, again)
    assert read_config_text(again.with_suffix(".py").read_text())["model"]["head"] == dict(
        type="InstanceClassifier", num_instances=IMAGES
    )
    assert torch.equal(load_algorithm(again).head.weight, expected)


def test_raises_where_steps_are_owed_and_nothing_tells_which(tmp_path: Path) -> None:
    state = MODELS.build(config_of(num_negatives=4)).state_dict()
    torch.save(dict(state_dict=state), tmp_path / "bare.pth")
    with pytest.raises(ValueError, match=r"owe steps of the optimizer.*--config"):
        convert_file(tmp_path / "bare.pth", tmp_path / "official.pth", to="official")
    state = {"neck": torch.ones(1)}
    assert simplified(state, None) == (state, None)


def test_raises_for_names_of_no_part(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="no known part"):
        from_official({"module.sim_matrix": torch.zeros(2, 3), "queue": torch.zeros(1)})
    with pytest.raises(KeyError, match="no known part"):
        to_official({"head.weight": torch.zeros(2, 3), "queue.features": torch.zeros(1)})
    torch.save(dict(state_dict=MODELS.build(config_of()).state_dict()), tmp_path / "ours.pth")
    with pytest.raises(ValueError, match="checkpoint of mmssl already"):
        convert_file(tmp_path / "ours.pth", tmp_path / "again.pth")


def test_state_fill_goes_through_the_converter() -> None:
    """The golden's names, on a ResNet-18: what the parity test of the method loads."""
    state = to_official(MODELS.build(config_of()).state_dict())
    filled = fill_keys((key, list(value.shape)) for key, value in state.items())
    model = MODELS.build(config_of())
    model.load_state_dict(from_official(filled))
    assert torch.equal(model.head.weight, filled["sim_matrix"])


def test_state_files_of_the_training_machine_are_not_made_again(tmp_path: Path) -> None:
    """Rows that lay in files come into memory, and nothing is written where the config says."""
    folder = tmp_path / "rows"
    config = config_of(num_negatives=4, storage="host", folder=str(folder))
    model = MODELS.build(config)
    folder.rmdir()
    text = f"model = {config!r}\n"
    torch.save(dict(state_dict=model.state_dict(), meta=dict(cfg=text)), tmp_path / "ours.pth")
    again = load_algorithm(tmp_path / "ours.pth")
    assert torch.equal(again.head.class_weights(), model.head.class_weights())
    assert again.head.rows.store.storage == "host" and not folder.exists()
