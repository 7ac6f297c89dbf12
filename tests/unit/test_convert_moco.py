"""Files of MoCo, PCL and HCSC: which is whose, prototypes that no file holds, and the way back."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mmssl.convert.checkpoint_file import load_weights_file
from mmssl.convert.config_text import read_config_text
from mmssl.convert.convert_file import convert_file
from mmssl.convert.export import export_backbone
from mmssl.convert.key_map import check_complete
from mmssl.convert.load_algorithm import load_algorithm
from mmssl.convert.load_backbone import load_backbone
from mmssl.convert.official.method_files import METHOD_FILES
from mmssl.convert.official.method_recognition import method_of_file, method_of_state
from mmssl.convert.official.moco import from_official, method_of, model_config, to_official
from mmssl.convert.transfer_load import load_backbone_into
from mmssl.models.algorithms import BaseAlgorithm
from mmssl.models.backbones import ResNet
from mmssl.registry import MODELS
from mmssl.structures import Clustering
from tests.helpers.fill import fill_keys
from tests.helpers.goldens import official_keys

R18 = dict(type="ResNet", depth=18, out_indices=(3,))
TWO = dict(type="MLPNeck", hid_channels=12, out_channels=8)
CONFIGS: dict[str, dict[str, Any]] = {
    "moco": dict(type="MoCo", backbone=R18, neck=TWO, queue_length=24, temperature=0.3),
    "moco_v1": dict(
        type="MoCo",
        backbone=R18,
        neck=dict(type="MLPNeck", out_channels=8, num_layers=1),
        queue_length=24,
    ),
    "pcl": dict(
        type="PCL",
        backbone=R18,
        neck=TWO,
        prototypes=dict(type="Prototypes", num_clusters=[5, 7]),
        num_negatives=3,
        queue_length=24,
    ),
    "hcsc": dict(
        type="HCSC",
        backbone=R18,
        neck=TWO,
        prototypes=dict(type="Prototypes", num_clusters=[6, 3]),
        queue_length=24,
        selection_on_local=False,
    ),
}
LISTED = [
    ("hcsc", "HCSC(resnet50", 16384, 2, "hcsc"),
    ("hcsc", "moco.builder.MoCo(resnet50, dim=128, K=65536, mlp=False)", 65536, 1, "moco"),
    ("hcsc", "moco.builder.MoCo(resnet50, dim=128, K=65536, mlp=True)", 65536, 2, "moco"),
    ("hcsc", "pcl.builder.MoCo(resnet50, dim=128, r=16384, mlp=False)", 16384, 1, "pcl"),
    ("hcsc", "pcl.builder.MoCo(resnet50, dim=128, r=16384, mlp=True)", 16384, 2, "pcl"),
    ("baselines", "moco_v1_resnet50", 65536, 1, "moco"),
    ("baselines", "moco_v2_resnet50", 65536, 2, "moco"),
]


def listed_keys(family: str, start: str) -> dict[str, list[int]]:
    (found,) = [keys for name, keys in official_keys(family).items() if name.startswith(start)]
    return dict(found["keys"] if isinstance(found, dict) else found)


@cache
def trained(name: str) -> BaseAlgorithm:
    """A model whose every number is random, with a twin of its own and prototypes of ten images."""
    torch.manual_seed(0)
    config = CONFIGS[name]
    model = MODELS.build(config)
    for value in (*model.parameters(), *model.buffers()):
        if value.is_floating_point():
            torch.nn.init.normal_(value.detach())
    model.twin.num_updates.fill_(5)
    model.queue.pointer.fill_(3)
    if "prototypes" in config:
        counts, tree = config["prototypes"]["num_clusters"], name == "hcsc"
        model.load_prototypes(
            Clustering(
                [torch.randn(count, 8) for count in counts],
                [torch.rand(count) + 0.1 for count in counts],
                [torch.arange(counts[0]) % counts[1]] if tree else [],
                torch.arange(10).remainder(5).int()[None].expand(1 if tree else 2, -1),
                [],
            ),
            epoch=4,
        )
    if name == "hcsc":
        model.queue.index.copy_(torch.arange(24) * 2 + 1)
    return model


def run_checkpoint(name: str, folder: Path, *, carried: bool = True) -> Path:
    """A checkpoint as a run writes it."""
    meta: dict[str, Any] = dict(epoch=7)
    if carried:
        meta["cfg"] = f"default_scope = 'mmssl'\nmodel = {CONFIGS[name]!r}\n"
    torch.save(dict(state_dict=trained(name).state_dict(), meta=meta), folder / "run.pth")
    return folder / "run.pth"


def official_file(name: str, folder: Path) -> Path:
    """Their file, without a word on the config."""
    state = trained(name).state_dict()
    lacking = METHOD_FILES[name.split("_")[0]].lacking
    known = {key: value for key, value in state.items() if not key.startswith(lacking)}
    theirs = {f"module.{key}": value for key, value in to_official(known).items()}
    torch.save(dict(epoch=7, arch="resnet18", state_dict=theirs), folder / "official.pth")
    return folder / "official.pth"


def is_empty(model: BaseAlgorithm) -> bool:
    """Whether prototypes are those of a model that never saw a clustering."""
    fresh = MODELS.build(dict(type="Prototypes", num_clusters=model.prototypes.num_clusters, dim=8,
                              tree=model.prototypes.tree))  # fmt: skip
    states = fresh.state_dict(), model.prototypes.state_dict()
    equal = all(torch.equal(states[1][key], value) for key, value in states[0].items())
    partition = getattr(model, "key_partition", torch.zeros(1))
    return equal and not model.prototypes.is_ready and not partition.any()


@pytest.mark.parametrize("name", CONFIGS)
def test_equivalence_there_and_back(name: str, tmp_path: Path) -> None:
    """All but prototypes survives; the report says what does not."""
    theirs, ours = tmp_path / "theirs.pth", tmp_path / "ours.pth"
    lines = convert_file(run_checkpoint(name, tmp_path), theirs, to="official")
    assert f"layout of {name.split('_')[0]}, epoch 7" in lines[0]
    file = load_weights_file(theirs)
    assert file["arch"] == "resnet18"
    assert all(key.startswith("module.") for key in file["state_dict"])
    assert not any("prototypes" in key for key in file["state_dict"])
    back = convert_file(theirs, ours)
    assert not any("guessed" in line for line in back)
    has_prototypes = "prototypes" in CONFIGS[name]
    assert any("left out" in line and "prototypes" in line for line in lines) is has_prototypes
    assert any("as before training" in line for line in back) is has_prototypes
    model, before = load_algorithm(ours), trained(name).state_dict()
    assert type(model).__name__ == CONFIGS[name]["type"]
    lacking = (*METHOD_FILES[name.split("_")[0]].lacking, "twin.num_updates")
    state = model.state_dict()
    for key, value in before.items():
        assert key.startswith(lacking) or torch.equal(state[key], value), key
    assert int(model.twin.num_updates) == 7 * 1251
    assert read_config_text(ours.with_suffix(".py").read_text())["model"] == CONFIGS[name]
    if has_prototypes:
        assert is_empty(model)


@pytest.mark.parametrize("name", CONFIGS)
def test_values_config_is_read_off_the_weights(name: str, tmp_path: Path) -> None:
    method = name.split("_")[0]
    config = dict(CONFIGS[name])
    source, ours = official_file(name, tmp_path), tmp_path / "ours.pth"
    lines = convert_file(source, ours, method=method)
    (guessed,) = [line for line in lines if "guessed" in line]
    written = read_config_text(ours.with_suffix(".py").read_text())["model"]
    expected = {"moco": (0.2, None), "moco_v1": (0.07, None), "pcl": (0.2, (25000, 50000, 100000)),
                "hcsc": (0.2, (3000, 2000, 1000))}[name]  # fmt: skip
    assert (written["temperature"], written.get("prototypes", {}).get("num_clusters")) == expected
    assert f"temperature={expected[0]}, momentum=0.999" in guessed
    assert ("prototypes.num_clusters" in guessed) is (expected[1] is not None)
    assert written["type"] == config["type"] and written["queue_length"] == 24
    assert written["neck"].get("hid_channels") == config["neck"].get("hid_channels")
    assert written["backbone"]["norm_cfg"] == dict(type="BN")
    if name == "pcl":
        assert written["num_negatives"] == 24
    if expected[1] is None:
        return
    # the user's config has the last word, on sizes that weights do not tell as well
    (tmp_path / "net.py").write_text(f"model = {config!r}\n")
    lines = convert_file(source, ours, config=tmp_path / "net.py")
    assert not any("guessed" in line for line in lines)
    model = load_algorithm(ours)
    assert type(model).__name__ == config["type"]
    assert model.prototypes.num_clusters == config["prototypes"]["num_clusters"]
    assert is_empty(model)


def test_values_what_auto_takes_a_file_for(tmp_path: Path) -> None:
    """The length of the queue is a guess and is said to be one; `--method` decides."""
    lines = convert_file(official_file("pcl", tmp_path), tmp_path / "ours.pth")
    assert any(line.startswith("guessed: method moco") and "--method" in line for line in lines)
    lines = convert_file(official_file("pcl", tmp_path), tmp_path / "ours.pth", method="pcl")
    assert "PCL from" in lines[0] and not any("method" in line for line in lines)
    lines = convert_file(official_file("hcsc", tmp_path), tmp_path / "ours.pth")
    assert "HCSC from" in lines[0] and not any("guessed: method" in line for line in lines)
    assert method_of({"queue": torch.empty(128, 16384, device="meta")}) == "pcl"
    assert method_of({"queue": torch.empty(128, 65536, device="meta")}) == "moco"
    for name in CONFIGS:
        assert method_of_state(trained(name).state_dict(), None) == name.split("_")[0]


@pytest.mark.parametrize(("family", "start", "length", "layers", "method"), LISTED)
def test_state_official_keys_are_complete(family, start, length, layers, method) -> None:
    """Every listed key has a place of its shape, and the way back gives all of them."""
    listed = listed_keys(family, start)
    with torch.device("meta"):
        theirs = {key: torch.empty(shape) for key, shape in listed.items()}
        assert method_of_file(dict(state_dict=theirs)) == method
        ours = from_official(theirs)
        config = model_config(ours, method=method)
        expected = MODELS.build(config).state_dict()
    assert (config["queue_length"], config["neck"]["num_layers"]) == (length, layers)
    assert (config["backbone"]["depth"], config["neck"]["out_channels"]) == (50, 128)
    lacking = METHOD_FILES[method].lacking
    check_complete(ours, {k: v for k, v in expected.items() if not k.startswith(lacking)})
    back = {key: list(value.shape) for key, value in to_official(ours).items()}
    assert back == {key.removeprefix("module."): shape for key, shape in listed.items()}


def test_state_keys_without_an_image_are_numbered() -> None:
    """Theirs number the random keys of the start by row; ours mark them with -1."""
    index = torch.tensor([40, -1, 41, -1])
    theirs = to_official({"queue.features": torch.eye(4), "queue.index": index})
    assert theirs["queue_index"].tolist() == [40, 1, 41, 3]


def test_values_backbone_of_their_file() -> None:
    """All 318 tensors of `encoder_q` arrive, or those of `encoder_k`; fewer or more are refused."""
    listed = listed_keys("hcsc", "HCSC(resnet50")
    state = {"module.queue": torch.eye(4)}
    for number, encoder in enumerate("qk"):
        start = f"module.encoder_{encoder}."
        names = {key: shape for key, shape in listed.items() if key.startswith(start)}
        state |= {key: torch.full(shape, float(number + 1)) for key, shape in names.items()}
    backbone = ResNet(50)
    for branch, number in (("auto", 1), ("twin", 2)):
        report = load_backbone(backbone, dict(epoch=200, state_dict=state), branch=branch)
        assert len(report.matched) == 318 and report.complete
        assert all(name.startswith("fc.") for name in report.unexpected)
        assert all(bool((value == number).all()) for value in backbone.state_dict().values())
    deeper = {k.replace("layer3.5", "layer3.6"): v for k, v in state.items() if "layer3.5" in k}
    with pytest.raises(ValueError, match="of a deeper network"):
        load_backbone(backbone, dict(state_dict=state | deeper), branch="twin")
    del state["module.encoder_q.layer4.2.bn3.running_var"]
    with pytest.raises(ValueError, match=r"317 matched, 1 missing(.|\n)*layer4.2.bn3.running_var"):
        load_backbone(backbone, dict(state_dict=state), branch="online")


def test_values_their_file_feeds_both_parts_of_a_c4_detector(tmp_path: Path) -> None:
    """Stages 1 to 3 into the backbone, stage 4 into the shared head, all of `encoder_q`."""
    source = official_file("moco", tmp_path)
    detector = nn.Module()
    detector.backbone = ResNet(18, out_indices=(2,))
    detector.roi_head = nn.Module()
    detector.roi_head.shared_head = nn.ModuleDict(dict(layer4=ResNet(18).layer4))
    loaded = load_backbone_into(detector, source)
    counts = [len(report.matched) for report in loaded.parts.values()]
    assert counts == [90, 30] and sum(counts) == len(ResNet(18).state_dict())
    theirs = load_weights_file(source)["state_dict"]
    for part in (detector.backbone, detector.roi_head.shared_head):
        for key, value in part.state_dict().items():
            assert torch.equal(value, theirs[f"module.encoder_q.{key}"]), key


@pytest.mark.parametrize("branch", ["online", "twin"])
def test_values_export_of_their_file(branch: str, tmp_path: Path) -> None:
    """A ResNet needs no config to be exported: its file tells the network."""
    source, out = official_file("hcsc", tmp_path), tmp_path / "backbone.pth"
    file = load_weights_file(source)
    shapes = {key: value.shape for key, value in file["state_dict"].items()}
    theirs = fill_keys(shapes)
    torch.save(dict(file, state_dict=theirs), source)
    export = export_backbone(source, out, to="torchvision", branch=branch)
    assert (export.metadata["method"], export.metadata["epoch"]) == ("HCSC", 7)
    encoder = dict(online="encoder_q", twin="encoder_k")[branch]
    written = load_weights_file(out)["state_dict"]
    assert len(written) == 120
    for key, value in written.items():
        assert torch.equal(value, theirs[f"module.{encoder}.{key}"]), key
    del theirs[f"module.{encoder}.layer2.1.bn1.bias"]
    torch.save(dict(state_dict=theirs), source)
    out.unlink()
    with pytest.raises(ValueError, match=r"119 matched, 1 missing(.|\n)*layer2\.1\.bn1\.bias"):
        export_backbone(source, out, to="torchvision", branch=branch)
    assert not out.exists()


def test_raises_for_files_of_another_method(tmp_path: Path) -> None:
    source, target = official_file("hcsc", tmp_path), tmp_path / "x.pth"
    for method in ("moco", "pcl"):
        with pytest.raises(ValueError, match="queue_index.*--method hcsc"):
            convert_file(source, target, method=method)
    source = official_file("moco", tmp_path)
    with pytest.raises(ValueError, match=r"no whole checkpoint of hcsc.*queue\.index"):
        convert_file(source, target, method="hcsc")
    source = run_checkpoint("hcsc", tmp_path)
    with pytest.raises(ValueError, match="checkpoint of mmssl already"):
        convert_file(source, target)
    with pytest.raises(KeyError, match=r"no known part.*key_partition.*another method"):
        convert_file(source, target, to="official", method="moco")


def test_raises_for_what_has_no_place() -> None:
    with pytest.raises(KeyError, match="no known part"):
        from_official({"encoder_q.layer1.0.conv1.weight": 1, "center": 2})
    with pytest.raises(KeyError, match="no known part"):
        to_official({"queue.features": torch.eye(2), "queue.length": torch.zeros(1)})
    with pytest.raises(ValueError, match="at least 1"):
        from_official({}, num_updates=0)
    with torch.device("meta"):
        vit = MODELS.build(dict(type="VisionTransformer", embed_dims=8, depth=1, num_heads=1))
        state = {f"backbone.{key}": value for key, value in vit.state_dict().items()}
    with pytest.raises(ValueError, match="the backbone is a VisionTransformer"):
        METHOD_FILES["moco"].to_file(state)
