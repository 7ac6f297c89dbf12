"""NPID files to our layout and back, and what is read of the bank that they pickle."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmssl.convert.checkpoint_file import load_weights_file
from mmssl.convert.config_text import read_config_text
from mmssl.convert.convert_file import convert_file
from mmssl.convert.load_algorithm import load_algorithm
from mmssl.convert.load_backbone import load_backbone
from mmssl.convert.official.npid import from_official, model_config, to_official
from mmssl.models.algorithms import NPID
from mmssl.models.backbones import ResNet
from tests.helpers.fill import fill_keys
from tests.helpers.goldens import official_keys

SAMPLES, DIM = 30, 16
MODULE = "lib_of_npid"
CODE = """
from torch import nn


class Alias:
    pass


class Average(nn.Module):
    pass
"""


def their_network(depth: int = 18, *, counters: bool = True) -> dict[str, Tensor]:
    """The listed names behind `module.`; torch before 0.4.1 had no counters."""
    listed = official_keys("baselines")[f"npid_resnet{depth}"]["keys"]
    state = fill_keys((key, [DIM, *shape[1:]] if "fc" in key else shape) for key, shape in listed)
    return {f"module.{k}": v for k, v in state.items() if counters or "tracked" not in k}


def pickled_bank(params: list[float], folder: Path, monkeypatch) -> nn.Module:
    """A module as theirs: the bank and its options, and a helper object of another class."""
    (folder / f"{MODULE}.py").write_text(CODE)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(folder))
        code = importlib.import_module(MODULE)
    bank = code.Average()
    bank.helper = code.Alias()
    bank.helper.probabilities = torch.ones(SAMPLES)
    bank.register_buffer("params", torch.tensor(params))
    bank.register_buffer("memory", torch.randn(SAMPLES, DIM))
    return bank


@pytest.fixture
def their_file(tmp_path: Path, monkeypatch) -> Callable[..., dict[str, Any]]:
    """Writes their file (`npid.pth.tar`) and returns its content; the code of the bank is gone afterwards."""

    def write(params: list[float], *, zipped: bool = True) -> dict[str, Any]:
        content = dict(
            epoch=200,
            arch="resnet18",
            state_dict=their_network(counters=zipped),
            lemniscate=pickled_bank(params, tmp_path, monkeypatch),
            best_prec1=41.0,
        )
        path = tmp_path / "npid.pth.tar"
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        del sys.modules[MODULE]
        (tmp_path / f"{MODULE}.py").unlink()
        return content

    return write


CASES = [
    ([4096, 0.07, 2876934.2, 0.5], True, (4096, "nce", 0.07, 0.5)),
    ([4096, 0.1, 31.0, 0.25], False, (4096, "nce", 0.1, 0.25)),
    ([65536, 0.07, -1, 0.5], True, (65536, "cross_entropy", 0.07, 0.5)),
    ([0.07, 0.5], False, (None, "cross_entropy", 0.07, 0.5)),
]


@pytest.mark.parametrize(("params", "zipped", "options"), CASES)
def test_values_file_with_a_pickled_bank(params, zipped, options, their_file, tmp_path) -> None:
    """The bank is read without the authors' code, in both formats of torch, once the file is trusted."""
    content = their_file(params, zipped=zipped)
    file, ours = tmp_path / "npid.pth.tar", tmp_path / "ours.pth"
    with pytest.raises(PermissionError, match="trust"):
        convert_file(file, ours)
    lines = convert_file(file, ours, trust_pickle=True)
    assert "NPID from the layout of npid, epoch 200" in lines[0]
    assert not any("guessed" in line or "twin" in line for line in lines)
    model = load_algorithm(ours)
    assert isinstance(model, NPID)
    found = (model.num_negatives, model.criterion, model.temperature, model.bank.momentum)
    assert found == options
    assert torch.equal(model.bank.features, content["lemniscate"].memory)
    constant = params[2] if options[1] == "nce" else 0.0
    assert float(model.normalizer) == pytest.approx(constant)
    weight = content["state_dict"]["module.layer4.1.conv2.weight"]
    assert torch.equal(model.backbone.layer4[1].conv2.weight, weight)
    assert torch.equal(model.neck.layers[0].weight, content["state_dict"]["module.fc.weight"])
    assert int(model.backbone.bn1.num_batches_tracked) == 0


def test_equivalence_there_and_back(their_file, tmp_path) -> None:
    """What is written towards theirs needs no trust and has every number, Z among them."""
    content = their_file([4096, 0.07, 123.5, 0.5])
    names = ("npid.pth.tar", "ours.pth", "official.pth", "again.pth")
    file, ours, official, again = (tmp_path / name for name in names)
    convert_file(file, ours, trust_pickle=True)
    lines = convert_file(ours, official, to="official")
    assert "layout of npid" in lines[0] and "lemniscate is a state dict" in lines[-1]
    theirs = load_weights_file(official)
    assert theirs["arch"] == "resnet18"
    assert theirs["state_dict"].keys() == content["state_dict"].keys()
    for key, value in content["state_dict"].items():
        assert torch.equal(theirs["state_dict"][key], value), key
    for name, value in content["lemniscate"].state_dict().items():
        assert torch.equal(theirs["lemniscate"][name], value), name
    convert_file(official, again)
    states = [load_weights_file(path)["state_dict"] for path in (ours, again)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[1][key], value) for key, value in states[0].items())
    # from the layout alone, by the buffers
    del theirs["meta"]
    torch.save(theirs, official)
    lines = convert_file(official, again)
    assert not any("guessed" in line for line in lines)
    config = read_config_text(again.with_suffix(".py").read_text())["model"]
    assert (config["criterion"], config["num_negatives"]) == ("nce", 4096)
    assert (config["backbone"]["depth"], config["backbone"]["norm_cfg"]) == (18, dict(type="BN"))


def test_values_options_that_no_file_tells_are_guessed(tmp_path) -> None:
    file = dict(state_dict=their_network(), lemniscate=dict(memory=torch.zeros(SAMPLES, DIM)))
    torch.save(file, tmp_path / "official.pth")
    lines = convert_file(tmp_path / "official.pth", tmp_path / "ours.pth")
    (guessed,) = [line for line in lines if "guessed" in line]
    assert "num_negatives=65536" in guessed and "criterion='cross_entropy'" in guessed


@pytest.mark.parametrize("depth", [18, 50])
def test_state_official_keys_are_complete(depth) -> None:
    """Every listed key has a place of its shape, and the way back gives all of them."""
    listed = official_keys("baselines")[f"npid_resnet{depth}"]["keys"]
    with torch.device("meta"):
        network = {key: torch.empty(shape) for key, shape in listed}
        bank = dict(memory=torch.empty(50, 128))
        ours = from_official(dict(state_dict=network, lemniscate=bank))
        config = {k: v for k, v in model_config(ours).items() if k != "type"}
        expected = NPID(**config).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in expected.items()}
    del ours["normalizer"]
    back = to_official(ours)["state_dict"]
    assert {k: list(v.shape) for k, v in back.items()} == {f"module.{k}": s for k, s in listed}


def test_values_backbone_of_a_trusted_file(their_file, tmp_path) -> None:
    """All tensors but those of `fc`; a file without counters lacks nothing else."""
    for depth, tensors, counters in ((18, 120, True), (18, 100, False)):
        state = their_network(depth, counters=counters)
        backbone = ResNet(depth)
        report = load_backbone(backbone, dict(state_dict=state))
        assert len(report.matched) == tensors and report.complete
        assert set(report.unexpected) == {"fc.weight", "fc.bias"}
        assert torch.equal(backbone.bn1.weight, state["module.bn1.weight"])
    their_file([0.07, 0.5], zipped=False)
    with pytest.raises(PermissionError, match="--trust-pickle"):
        load_backbone(ResNet(18), tmp_path / "npid.pth.tar")
    assert load_backbone(ResNet(18), tmp_path / "npid.pth.tar", trust_pickle=True).complete


def test_raises_without_a_bank(tmp_path) -> None:
    torch.save(dict(state_dict=their_network()), tmp_path / "network.pth")
    for method in ("auto", "npid"):
        with pytest.raises(ValueError, match="PretrainedBackbone"):
            convert_file(tmp_path / "network.pth", tmp_path / "ours.pth", method=method)


def test_raises_where_z_would_be_lost(their_file, tmp_path) -> None:
    their_file([4096, 0.07, 123.5, 0.5])
    convert_file(tmp_path / "npid.pth.tar", tmp_path / "ours.pth", trust_pickle=True)
    state = load_weights_file(tmp_path / "ours.pth")["state_dict"]
    torch.save(dict(state_dict=state), tmp_path / "bare.pth")
    with pytest.raises(ValueError, match=r"keep Z \(123\.5 here\).*--config"):
        convert_file(tmp_path / "bare.pth", tmp_path / "official.pth", to="official")
    config = tmp_path / "ours.py"
    convert_file(tmp_path / "bare.pth", tmp_path / "official.pth", to="official", config=config)
    params = load_weights_file(tmp_path / "official.pth")["lemniscate"]["params"]
    assert params.tolist() == pytest.approx([4096, 0.07, 123.5, 0.5])


def test_raises_for_names_of_no_part() -> None:
    bank = dict(memory=torch.zeros(2, 3))
    network = {"layer1.0.conv1.weight": torch.zeros(1), "head.weight": torch.zeros(1)}
    with pytest.raises(KeyError, match="no known part"):
        from_official(dict(state_dict=network, lemniscate=bank))
    with pytest.raises(KeyError, match="no known part"):
        to_official({"bank.features": torch.zeros(2, 3), "twin.num_updates": torch.tensor(1)})
