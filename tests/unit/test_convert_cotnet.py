"""CoTNet files to our layout and back: every published name has its place, in both repositories' layouts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from mmssl.convert.config_text import read_config_text
from mmssl.convert.convert_file import convert_file
from mmssl.convert.export import export_backbone
from mmssl.convert.key_map import check_complete
from mmssl.convert.load_algorithm import load_algorithm
from mmssl.convert.load_backbone import load_backbone
from mmssl.convert.name_layouts import name_layouts
from mmssl.convert.official.backbone_configs import backbone_config, backbone_guesses
from mmssl.convert.official.backbones import backbone_from_official, backbone_to_official
from mmssl.convert.official.cotnet import cotnet_from_official, cotnet_to_official
from mmssl.convert.official.cotnet_classifier import from_official, said_by_file, to_official
from mmssl.convert.official.told_config import told_config
from mmssl.convert.source_config import source_config
from mmssl.models.backbones import CoTNet
from mmssl.models.backbones.cotnet_archs import ARCHS, cotnet_arch
from mmssl.registry import MODELS
from tests.helpers.goldens import official_keys

LISTED = official_keys("cotnet")
ARCH = {
    "cotnet50": "50",
    "cotnet101": "101",
    "cotnext50_2x48d": "x50",
    "cotnext101_2x48d": "x101",
    "se_cotnetd_50": "d50",
    "se_cotnetd_101": "d101",
    "se_cotnetd_152": "d152",
    "se_cotnetd_152_L": "d152",
    "se_cotnetd_200": "d200",
    "se_cotnetd_270": "d270",
}
COT = dict(depths=(1, 2, 2, 1), planes=(8, 8, 16, 16), stem_channels=8)
HYBRID = COT | dict(mixers=("se", "se", ("cot", "se"), "cot"), stem="deep", avg_down=True)
COXT = dict(
    depths=(1, 1), planes=(32, 32), mixers="coxt", base_width=48, cardinality=2, stem_channels=8
)
TINY = {"cot": COT, "hybrid": HYBRID, "coxt": COXT}


def listed(constructor: str) -> dict[str, torch.Tensor]:
    """The state dict of a published network, without memory."""
    with torch.device("meta"):
        return {key: torch.empty(shape) for key, shape in LISTED[constructor]["keys"]}


def random(network: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The module with other random numbers everywhere."""
    generator = torch.Generator().manual_seed(seed)
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.randn(value.shape, generator=generator))
    return network


def classifier(arch: Any = "tiny", *, averaged: bool = True) -> dict[str, Any]:
    """Config of a supervised run."""
    config: dict[str, Any] = dict(
        type="ImageClassifier",
        frozen=False,
        backbone=dict(type="CoTNet", arch=COT if arch == "tiny" else arch, out_indices=(3,)),
        head=dict(type="LinearHead", num_classes=5),
    )
    return config | (dict(momentum=0.99) if averaged else {})


@pytest.mark.parametrize("constructor", LISTED)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_state_published_names_are_complete(constructor, prefix):
    """No key is unused or missing, and the way back gives the same."""
    theirs = listed(constructor)
    ours = cotnet_from_official({prefix + key: value for key, value in theirs.items()})
    config = {
        "lrnet50": dict(mixer="sasa"),
        "lrnet50_ks3": dict(arch=dict(mixers="sasa", key_kernel_size=3)),
    }
    with torch.device("meta"):
        network = CoTNet(**config.get(constructor, dict(arch=ARCH.get(constructor, "50"))))
    check_complete(ours, network.state_dict())
    back = cotnet_to_official(ours)
    assert back == {key: value for key, value in theirs.items() if not key.startswith("fc.")}


@pytest.mark.parametrize("constructor", ARCH)
def test_state_names_of_the_detection_repository(constructor):
    """A name for each tensor, and the way back gives the same."""
    ours = cotnet_from_official(listed(constructor))
    theirs = cotnet_to_official(ours, detectron=True)
    assert len(theirs) == len(ours)
    assert not any(key.startswith(("layer", "bn1", "conv1")) for key in theirs)
    assert cotnet_from_official(theirs) == ours


@pytest.mark.parametrize(
    ("arch", "pairs"),
    [
        (
            "50",
            {
                "stem.conv1.weight": "conv1.weight",
                "stem.conv1.norm.running_var": "bn1.running_var",
                "res2.0.shortcut.weight": "layer1.0.downsample.0.weight",
                "res2.0.shortcut.norm.weight": "layer1.0.downsample.1.weight",
                "res5.2.conv3.norm.bias": "layer4.2.bn3.bias",
                "res3.1.conv2.key_embed.0.norm.weight": "layer2.1.conv2.key_embed.1.weight",
                "res3.1.conv2.embed.0.weight": "layer2.1.conv2.embed.0.weight",
                "res3.1.conv2.embed.0.norm.weight": "layer2.1.conv2.embed.1.weight",
                "res3.1.conv2.embed.2.bias": "layer2.1.conv2.embed.3.bias",
                "res3.1.conv2.embed.3.bias": "layer2.1.conv2.embed.4.bias",
                "res3.1.conv2.conv1x1.1.bias": "layer2.1.conv2.conv1x1.1.bias",
                "res3.1.conv2.bn.weight": "layer2.1.conv2.bn.weight",
                "res3.1.conv2.se.0.bias": "layer2.1.conv2.se.0.bias",
                "res3.1.conv2.se.0.norm.bias": "layer2.1.conv2.se.1.bias",
                "res3.1.conv2.se.2.bias": "layer2.1.conv2.se.3.bias",
            },
        ),
        (
            "d50",
            {
                "stem.conv1.4.weight": "conv1.4.weight",
                "stem.conv1.7.running_mean": "bn1.running_mean",
                "res2.0.shortcut.1.weight": "layer1.0.downsample.1.weight",
                "res2.0.shortcut.1.norm.weight": "layer1.0.downsample.2.weight",
                "res2.0.conv2.bn0.weight": "layer1.0.conv2.bn0.weight",
                "res2.0.conv2.fc2.bias": "layer1.0.conv2.fc2.bias",
            },
        ),
    ],
)
def test_values_names_of_the_detection_repository(arch, pairs):
    with torch.device("meta"):
        network = CoTNet(arch)
    (_, theirs) = name_layouts(network)
    assert {name: theirs.names[name] for name in pairs} == pairs


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("prefix", ["", "backbone.bottom_up."])
def test_equivalence_weights_of_the_detection_repository_load(name, prefix):
    """Into the backbone as it is, without counters, as frozen norms have it, beside a detector's heads."""
    source, network = (
        random(CoTNet(TINY[name], out_indices=(1,))),
        CoTNet(TINY[name], out_indices=(1,)),
    )
    theirs = cotnet_to_official(source.state_dict(), detectron=True)
    file = {prefix + k: v for k, v in theirs.items() if not k.endswith("num_batches_tracked")}
    file["roi_heads.box_head.fc1.weight"] = torch.zeros(1)
    report = load_backbone(network, dict(model=file))
    assert "CoTNet's detectron2" in str(report) and report.complete
    for key, value in network.state_dict().items():
        assert key.endswith("num_batches_tracked") or torch.equal(
            value, source.state_dict()[key]
        ), key


def test_equivalence_training_checkpoints_load():
    """Trained and averaged weights behind `module.`: the averaged ones are the twin, which is published."""
    online, averaged = random(CoTNet(COT), 0), random(CoTNet(COT), 1)
    file = {
        name: {f"module.{key}": value for key, value in network.state_dict().items()}
        for name, network in (("state_dict", online), ("state_dict_ema", averaged))
    }
    network = CoTNet(COT)
    for branch, source in (("online", online), ("twin", averaged), ("auto", averaged)):
        load_backbone(network, file, branch=branch)
        for key, value in network.state_dict().items():
            assert torch.equal(value, source.state_dict()[key]), key


@pytest.mark.parametrize("averaged", [True, False])
def test_equivalence_classifiers_there_and_back(averaged):
    ours = random(MODELS.build(classifier(averaged=averaged))).state_dict()
    theirs = to_official(ours)
    assert list(theirs) == ["state_dict_ema", "state_dict"][not averaged :]
    assert {"fc.weight", "conv1.weight", "layer2.1.conv2.se.3.bias"} <= set(theirs["state_dict"])
    back = from_official(theirs, num_updates=7)
    check_complete(back, ours)
    assert all(torch.equal(back[k], v) for k, v in ours.items() if k != "twin.num_updates")
    assert back.get("twin.num_updates", 7) == 7


def run_file(config: dict[str, Any], folder: Path) -> Path:
    """A checkpoint as a run writes it."""
    text = Config(dict(default_scope="mmssl", model=config)).pretty_text
    state = random(MODELS.build(config)).state_dict()
    torch.save(dict(state_dict=state, meta=dict(epoch=3, cfg=text)), folder / "run.pth")
    return folder / "run.pth"


@pytest.mark.parametrize("averaged", [True, False])
def test_equivalence_whole_files(averaged, tmp_path):
    """The tool's way to the authors' layout and back; then without the config that it noted."""
    config = classifier(averaged=averaged)
    source = run_file(config, tmp_path)
    lines = convert_file(source, tmp_path / "official.pth", to="official")
    assert "layout of cotnet" in lines[0]
    lines = convert_file(tmp_path / "official.pth", tmp_path / "ours.pth")
    assert not any("guessed" in line for line in lines)
    assert read_config_text((tmp_path / "ours.py").read_text())["model"] == config

    file = torch.load(tmp_path / "official.pth", weights_only=True)
    del file["meta"]
    torch.save(file, tmp_path / "plain.pth")
    lines = convert_file(tmp_path / "plain.pth", tmp_path / "again.pth")
    assert any("backbone.drop_path_rate=0.1" in line for line in lines)
    expected = load_algorithm(source).state_dict()
    for key, value in load_algorithm(tmp_path / "again.pth").state_dict().items():
        if key != "twin.num_updates":
            assert torch.equal(value, expected[key]), key


def test_raises_a_backbone_alone(tmp_path):
    state = CoTNet(COT).state_dict()
    torch.save(state, tmp_path / "flat.pth")
    with pytest.raises(ValueError, match="PretrainedBackbone"):
        convert_file(tmp_path / "flat.pth", tmp_path / "ours.pth")


def test_raises_foreign_keys():
    with pytest.raises(KeyError, match="layers.0.blocks"):
        cotnet_from_official({"layers.0.blocks.0.norm1.weight": torch.zeros(1)})
    with pytest.raises(KeyError, match="neck.weight"):
        to_official({"neck.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="num_updates"):
        from_official({}, num_updates=0)
    sasa = CoTNet(COT, mixer="sasa").state_dict()
    with pytest.raises(KeyError, match="pos_h"):
        cotnet_to_official(sasa, detectron=True)


@pytest.mark.parametrize("constructor", ARCH)
def test_values_config_of_published_weights(constructor):
    ours = {f"backbone.{k}": v for k, v in cotnet_from_official(listed(constructor)).items()}
    config = backbone_config(ours, norm="BN")
    assert config.pop("drop_path_rate") == (0.15 if "152" in constructor else 0.1)
    assert config == dict(
        type="CoTNet", arch=ARCH[constructor], out_indices=(3,), norm_cfg=dict(type="BN")
    )


@pytest.mark.parametrize(
    "options",
    [
        dict(arch=COT),
        dict(arch=HYBRID, in_channels=4),
        dict(arch=COXT, out_indices=(1,)),
        dict(arch=COT, fusion="static"),
        dict(arch=COT, fusion="sum"),
        dict(arch=COT | dict(stem_channels=32, avg_down=True)),
        dict(arch=COT | dict(mixers=("conv", ("conv", "conv"), "cot", "sasa"), key_kernel_size=3)),
        dict(
            arch=COT | dict(depths=(1, 3, 2, 1), mixers=("cot", ("se", "cot", "cot"), "cot", "cot"))
        ),
    ],
)
def test_equivalence_config_of_other_weights(options):
    """What is read off the weights builds a network of the same tensors."""
    options = dict(out_indices=(3,)) | options
    network = CoTNet(**options)
    state = {f"backbone.{key}": value for key, value in network.state_dict().items()}
    config = backbone_config(state)
    again = MODELS.build(dict(config, type="mmssl.CoTNet"))
    check_complete(again.state_dict(), network.state_dict())
    assert cotnet_arch(config["arch"]).depths == network.arch.depths
    assert again.out_indices == network.out_indices


def test_equivalence_backbone_of_any_method():
    """Checkpoints of methods that train a CoTNet find its family by its names."""
    state = CoTNet(HYBRID).state_dict()
    assert backbone_from_official(backbone_to_official(state)) == state


def test_state_an_official_file_tells_its_network():
    """So that it is exported as it is."""
    for constructor in ("cotnet50", "se_cotnetd_152"):
        told = told_config(dict(state_dict_ema=listed(constructor)))
        assert told is not None and told.config["backbone"]["arch"] == ARCH[constructor]
        assert told.guessed == ("backbone.arch",)
    with torch.device("meta"):
        static = official(CoTNet("50", fusion="static"))
    told = told_config(static)
    assert told is not None and told.config["backbone"]["fusion"] == "static"


def official(network: CoTNet) -> dict[str, torch.Tensor]:
    """A classifier's file of this backbone."""
    fc = {"fc.weight": torch.zeros(5, network.out_channels[-1]), "fc.bias": torch.zeros(5)}
    return cotnet_to_official(network.state_dict()) | fc


@pytest.mark.parametrize(
    ("options", "guess"),
    [
        (dict(arch="50", fusion="dynamic"), "backbone.fusion='sum'"),
        (dict(arch="50", fusion="sum"), "backbone.fusion='sum'"),
        (dict(arch=HYBRID | dict(blur=True)), "backbone.arch.blur=False"),
        (dict(arch=COT), "backbone.arch.blur=False"),
    ],
)
def test_raises_weights_that_do_not_tell_their_network(options, guess, tmp_path):
    """No network is rebuilt silently that could be another one: its user names it."""
    if options["arch"] == "50":
        options = options | dict(arch=dict(COT, depths=(1, 1, 1, 1)))
    torch.save(official(CoTNet(**options)), tmp_path / "theirs.pth")
    assert told_config(torch.load(tmp_path / "theirs.pth", weights_only=True)) is None
    lines = convert_file(tmp_path / "theirs.pth", tmp_path / "ours.pth")
    assert any(guess in line and "--config" in line for line in lines)
    with pytest.raises(ValueError, match="published structure and fusion.*--from-config"):
        export_backbone(tmp_path / "theirs.pth", tmp_path / "out.pth", to="mmdet")
    with torch.device("meta"):
        published = official(CoTNet("50", fusion="dynamic"))
    assert told_config(published) is None
    in_care = {f"backbone.{key}": v for key, v in published.items()}
    assert "fusion" in backbone_guesses(in_care)


@pytest.mark.parametrize(
    ("entries", "told"),
    [({}, True), (dict(arch="se_cotnetd_50"), False), (dict(arch="se_cotnetd_152"), True)],
    ids=["weights", "name", "name of another"],
)
def test_state_a_published_structure_may_have_blur(entries, told, tmp_path):
    """The same tensors with blur are another network: that it has none is a guess, which both tools tell."""
    with torch.device("meta"):
        blurred = CoTNet(dataclasses.asdict(ARCHS["d50"]) | dict(blur=True))
        assert blurred.state_dict().keys() == CoTNet("d50").state_dict().keys()
    weights = {k: torch.zeros(v.shape, dtype=v.dtype) for k, v in official(blurred).items()}
    torch.save(dict(state_dict=weights, **entries), tmp_path / "theirs.pth")
    text = "\n".join(convert_file(tmp_path / "theirs.pth", tmp_path / "ours.pth"))
    assert ("backbone.arch='d50'" in text) is told
    for file in ("theirs.pth", "ours.pth"):
        source = source_config(torch.load(tmp_path / file, weights_only=True), None)
        assert source.config["model"]["backbone"]["arch"] == "d50"
        assert source.guessed == (("backbone.arch='d50'",) if told else ())


@pytest.mark.parametrize("constructor", ARCH)
def test_values_every_constructor_is_a_name_in_files(constructor):
    config = dict(backbone=dict(arch=ARCH[constructor]))
    said = said_by_file(dict(arch=constructor), config)
    assert said == {"backbone.arch": ARCH[constructor]}
    assert said_by_file(dict(arch="resnet50"), config) == {}


def test_state_averaged_weights_alone_are_the_network(tmp_path):
    theirs = official(random(CoTNet(COT)))
    for name in ("state_dict_ema", "model"):
        torch.save({name: theirs}, tmp_path / "theirs.pth")
        lines = convert_file(tmp_path / "theirs.pth", tmp_path / "ours.pth")
        assert "ImageClassifier from the layout of cotnet" in lines[0]
        assert any("head.dropout=0.25, label_smoothing=0.1, batch_mix=" in line for line in lines)
        ours = torch.load(tmp_path / "ours.pth", weights_only=True)["state_dict"]
        assert not any(key.startswith("twin.") for key in ours)
        assert torch.equal(ours["backbone.bn1.weight"], theirs["bn1.weight"])


def test_raises_files_without_classifier(tmp_path):
    without = {k: v for k, v in official(CoTNet(COT)).items() if not k.startswith("fc.")}
    for file in (dict(state_dict=without), dict(model=without), dict(state_dict={})):
        with pytest.raises(ValueError, match=r"holds no classifier fc\.\*.*PretrainedBackbone"):
            from_official(file)


@pytest.mark.parametrize("name", TINY)
def test_raises_files_of_the_detection_repository(name, tmp_path):
    theirs = cotnet_to_official(CoTNet(TINY[name], out_indices=(1,)).state_dict(), detectron=True)
    torch.save(
        dict(model={f"backbone.bottom_up.{k}": v for k, v in theirs.items()}), tmp_path / "d.pth"
    )
    with pytest.raises(
        ValueError, match="detection repository.*export_backbone.py with --from-config"
    ):
        convert_file(tmp_path / "d.pth", tmp_path / "ours.pth")
