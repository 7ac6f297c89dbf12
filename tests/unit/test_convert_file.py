"""Files of whole models both ways: the config travels, guesses are named, errors are sentences."""

from __future__ import annotations

import argparse
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from mmssl.convert.config_text import read_config_text
from mmssl.convert.convert_file import convert_file
from mmssl.convert.load_algorithm import load_algorithm
from mmssl.convert.official.backbone_configs import backbone_config, backbone_guesses
from mmssl.convert.official.method_files import METHOD_FILES
from mmssl.convert.official.method_recognition import method_of_file, method_of_state
from mmssl.convert.official.run_arguments import said_by_arguments
from mmssl.models.algorithms import BaseAlgorithm
from mmssl.registry import MODELS

TOOL = Path(__file__).parents[2] / "tools/convert_checkpoint.py"
HEAD = dict(type="DINOHead", out_channels=12, hid_channels=16, bottleneck_channels=8)
VIT = dict(
    type="VisionTransformer",
    embed_dims=16,
    depth=2,
    num_heads=4,
    patch_size=8,
    pretrain_img_size=32,
    pos_interp="esvit",
    drop_path_rate=0.3,
)
SWIN = dict(
    type="Swin",
    embed_dims=8,
    depths=(1, 1),
    num_heads=(1, 2),
    window_size=4,
    pretrain_img_size=64,
    drop_path_rate=0.0,
    norm_eps=1e-5,
    out_indices=(1,),
)
MLP = dict(hid_channels=6, num_layers=2, norm_cfg=dict(type="BN1d"))
CONFIGS: dict[str, dict[str, Any]] = {
    "dino": dict(type="DINO", backbone=SWIN, head=HEAD, temperature=0.2),
    "dino_vit": dict(type="DINO", backbone=VIT, head=HEAD),
    "esvit": dict(type="EsViT", backbone=SWIN, head=HEAD, region_head=HEAD, view_weight=1.0),
    "moby": dict(
        type="MoBY",
        backbone=SWIN,
        neck=dict(type="MLPNeck", out_channels=5, **MLP),
        head=dict(type="MLPPredictor", **MLP),
        queue_length=7,
        temperature=0.3,
    ),
}


def trained(config: dict[str, Any]) -> BaseAlgorithm:
    """A model whose every number is random, with a twin of its own."""
    torch.manual_seed(0)
    model = MODELS.build(config)
    for value in (*model.parameters(), *model.buffers()):
        if value.is_floating_point():
            torch.nn.init.normal_(value.detach())
    model.twin.num_updates.fill_(5)
    return model


def run_checkpoint(config: dict[str, Any], folder: Path, *, carried: bool = True) -> Path:
    """A checkpoint as a run writes it."""
    text = Config(dict(default_scope="mmssl", model=config)).pretty_text
    meta = dict(epoch=3) | (dict(cfg=text) if carried else {})
    torch.save(dict(state_dict=trained(config).state_dict(), meta=meta), folder / "run.pth")
    return folder / "run.pth"


def written_config(file: Path) -> dict[str, Any]:
    return read_config_text(file.with_suffix(".py").read_text())["model"]


def official(config: dict[str, Any], method: str, **more: Any) -> dict[str, Any]:
    """Entries of an official file, without a word on the config."""
    return METHOD_FILES[method].to_file(trained(config).state_dict()) | more


@pytest.mark.parametrize("name", CONFIGS)
def test_equivalence_config_travels_there_and_back(name: str, tmp_path: Path) -> None:
    """Nothing is guessed where a run's config was known, also after two round trips."""
    source = run_checkpoint(CONFIGS[name], tmp_path)
    for number in range(2):
        theirs, ours = tmp_path / f"official{number}.pth", tmp_path / f"ours{number}.pth"
        lines = convert_file(source, theirs, to="official")
        assert f"layout of {'esvit' if name == 'dino_vit' else name}" in lines[0]
        lines = convert_file(theirs, ours)
        assert not any("guessed" in line for line in lines)
        assert written_config(ours) == CONFIGS[name]
        source = ours
    model = load_algorithm(ours)
    for key, value in trained(CONFIGS[name]).state_dict().items():
        if key != "twin.num_updates":
            assert torch.equal(model.state_dict()[key], value), key


def test_values_guesses_are_named(tmp_path: Path) -> None:
    """Without a config on the way the tool says what it took from the published models."""
    source = run_checkpoint(CONFIGS["dino_vit"], tmp_path, carried=False)
    lines = convert_file(source, tmp_path / "official.pth", to="official", method="esvit")
    assert "the way back will have to guess" in lines[1]
    lines = convert_file(tmp_path / "official.pth", tmp_path / "ours.pth")
    (guessed,) = [line for line in lines if line.startswith("guessed: ")]
    assert "backbone.drop_path_rate=0.1" in guessed and "backbone.num_heads=1" in guessed
    assert "give --config" in guessed
    assert "pos_interp" not in guessed  # bare names are EsViT's
    assert written_config(tmp_path / "ours.pth")["backbone"]["pos_interp"] == "esvit"
    # guesses stay guesses
    convert_file(tmp_path / "ours.pth", tmp_path / "again.pth", to="official")
    lines = convert_file(tmp_path / "again.pth", tmp_path / "last.pth")
    assert guessed in lines


def test_values_config_of_the_user(tmp_path: Path) -> None:
    """`--config` wins over guesses, in both directions, and must fit the weights."""
    config = CONFIGS["dino_vit"]
    (tmp_path / "net.py").write_text(f"model = {config!r}\n")
    torch.save(official(config, "dino"), tmp_path / "official.pth")
    lines = convert_file(
        tmp_path / "official.pth", tmp_path / "ours.pth", config=tmp_path / "net.py"
    )
    assert not any("guessed" in line for line in lines)
    assert written_config(tmp_path / "ours.pth") == config
    (tmp_path / "other.py").write_text(f"model = {dict(config, backbone=dict(VIT, depth=3))!r}\n")
    for source, to in (("official.pth", "ours"), ("ours.pth", "official")):
        with pytest.raises(
            ValueError, match=r"do not fit the model config, of .*other.py.* missing"
        ):
            convert_file(tmp_path / source, tmp_path / "x.pth", to=to, config=tmp_path / "other.py")
    (tmp_path / "none.py").write_text("work_dir = 'x'\n")
    with pytest.raises(ValueError, match="no `model`"):
        convert_file(tmp_path / "official.pth", tmp_path / "x.pth", config=tmp_path / "none.py")
    source = run_checkpoint(config, tmp_path, carried=False)
    convert_file(source, tmp_path / "named.pth", to="official", config=tmp_path / "net.py")
    assert torch.load(tmp_path / "named.pth", weights_only=True)["meta"]["model"] == config


@pytest.mark.parametrize("as_dict", [False, True])
def test_values_arguments_in_the_file(as_dict: bool, tmp_path: Path) -> None:
    """`args` of a run of the authors' program, read without trusting the pickle."""
    given = dict(
        arch="swin_tiny", cfg="experiments/imagenet/swin/swin_tiny_patch4_window4_64.yaml",
        norm_last_layer=False, momentum_teacher=0.99, warmup_teacher_temp=0.04, teacher_temp=0.07,
        warmup_teacher_temp_epochs=30, opts=["MODEL.SPEC.DROP_PATH_RATE", "0.25"],
    )  # fmt: skip
    args = given if as_dict else argparse.Namespace(**given)
    torch.save(official(CONFIGS["esvit"], "esvit", args=args), tmp_path / "official.pth")
    lines = convert_file(tmp_path / "official.pth", tmp_path / "ours.pth")
    assert not any("guessed" in line for line in lines)
    config = written_config(tmp_path / "ours.pth")
    backbone = config["backbone"]
    assert (backbone["pretrain_img_size"], backbone["drop_path_rate"]) == (64, 0.25)
    assert config["head"]["norm_last_layer"] is config["region_head"]["norm_last_layer"] is False
    assert config["momentum"] == dict(type="Cosine", start=0.99, end=1.0)
    assert config["teacher_temperature"]["num_steps"] == 30


def test_values_of_single_arguments() -> None:
    """What contradicts the weights says nothing."""
    vit = dict(backbone=dict(type="VisionTransformer", embed_dims=384), head={})
    assert said_by_arguments(dict(arch="vit_small", drop_path_rate=0.2), vit) == {
        "backbone.num_heads": 6, "backbone.norm_eps": 1e-6, "backbone.drop_path_rate": 0.2
    }  # fmt: skip
    assert said_by_arguments(argparse.Namespace(arch="deit_small"), vit)[
        "backbone.drop_path_rate"
    ] == 0.1  # fmt: skip
    assert said_by_arguments(dict(arch="vit_base"), vit) == {}
    assert said_by_arguments(None, vit) == {}
    temperatures = dict(warmup_teacher_temp=0.04, teacher_temp=0.05, warmup_teacher_temp_epochs=0)
    assert said_by_arguments(temperatures, vit) == dict(teacher_temperature=0.05)
    swin = dict(backbone=dict(type="Swin", window_size=7))
    name = dict(cfg="/a/swin_small_patch4_window7_224.yaml")
    assert said_by_arguments(name, swin)["backbone.drop_path_rate"] == 0.2
    image = dict(name, opts=["TRAIN.IMAGE_SIZE", "[256, 256]"])
    assert "backbone.pretrain_img_size" not in said_by_arguments(image, swin)
    assert said_by_arguments(dict(cfg="swin_tiny_patch4_window14_224.yaml"), swin) == {}
    resnet = dict(backbone=dict(type="ResNet"))
    assert said_by_arguments(dict(arch="resnet50", drop_path_rate=0.1), resnet) == {}


@pytest.mark.parametrize(("depths", "rate"), [((2, 2, 6, 2), 0.1), ((2, 2, 18, 2), 0.2)])
def test_values_published_drop_path(depths: tuple[int, ...], rate: float) -> None:
    with torch.device("meta"):
        swin = MODELS.build(dict(type="Swin", depths=depths))
    state = {f"backbone.{key}": value for key, value in swin.state_dict().items()}
    config = backbone_config(state)
    assert (config["drop_path_rate"], config["pretrain_img_size"]) == (rate, 224)
    assert set(backbone_guesses(state)) == {"drop_path_rate", "norm_eps", "pretrain_img_size"}


def test_values_vil_is_read_off_its_weights() -> None:
    options = dict(
        type="ViL", embed_dims=(12, 24, 48), depths=(1, 2, 1), num_heads=(2, 3, 4),
        sparse=(True, False, False), num_global_tokens=(2, 1, 0), patch_sizes=(4, 2, 2),
        window_sizes=(5, 5, 5), pretrain_img_size=96, mlp_ratio=2.0, out_indices=(2,),
    )  # fmt: skip
    with torch.device("meta"):
        state = {f"backbone.{k}": v for k, v in MODELS.build(options).state_dict().items()}
    config = backbone_config(state)
    assert {key: config[key] for key in options} == options
    assert backbone_guesses(state) == ["drop_path_rate", "norm_eps"]


def test_state_one_network_becomes_a_whole_model(tmp_path: Path) -> None:
    """A teacher alone, or a plain state dict: the twin is a copy without updates, centers are 0."""
    config = CONFIGS["esvit"]
    theirs = official(config, "esvit")
    student = {key.removeprefix("module."): value for key, value in theirs["student"].items()}
    sources = [
        (dict(teacher=theirs["teacher"]), theirs["teacher"]),
        (student, student),
        (dict(state_dict=theirs["student"]), student),
    ]
    for file, network in sources:
        torch.save(file, tmp_path / "official.pth")
        lines = convert_file(tmp_path / "official.pth", tmp_path / "ours.pth")
        assert lines[-1].startswith("one network in the file")
        state = load_algorithm(tmp_path / "ours.pth").state_dict()
        assert state["twin.num_updates"] == 0
        assert not state["center.mean"].any() and not state["region_center.mean"].any()
        for key in state:
            if key.startswith("twin.") and key != "twin.num_updates":
                assert torch.equal(state[key], state[key.removeprefix("twin.")]), key
        assert torch.equal(state["head.mlp.0.weight"], network["head.mlp.0.weight"])


def test_values_methods_are_recognised() -> None:
    for name, config in CONFIGS.items():
        method = name.split("_")[0]
        state = trained(config).state_dict()
        assert method_of_state(state, None) == method
        # a Swin has the same names in both programs
        found = method_of_file(METHOD_FILES[method].to_file(state))
        assert found == ("esvit" if name == "dino" else method)
    assert (
        method_of_state(state := trained(CONFIGS["dino_vit"]).state_dict(), CONFIGS["dino_vit"])
        == "esvit"
    )
    assert method_of_file(METHOD_FILES["esvit"].to_file(state)) == "esvit"
    keys = ["module.student_encoder.conv1.weight", "module.teacher_encoder.conv1.weight"]
    assert method_of_file(dict(model=dict.fromkeys(keys, torch.zeros(1)))) == "care"


def backbone_file(folder: Path) -> Path:
    network = official(CONFIGS["dino_vit"], "esvit")["teacher"]
    alone = {key: value for key, value in network.items() if not key.startswith("head")}
    torch.save(alone, folder / "backbone.pth")
    return folder / "backbone.pth"


def foreign_file(folder: Path) -> Path:
    torch.save({"state_dict": {"generator.weight": torch.zeros(1)}}, folder / "foreign.pth")
    return folder / "foreign.pth"


def official_file(folder: Path) -> Path:
    torch.save(official(CONFIGS["esvit"], "esvit"), folder / "official.pth")
    return folder / "official.pth"


def dino_run(folder: Path) -> Path:
    return run_checkpoint(CONFIGS["dino"], folder)


def classifier_file(folder: Path) -> Path:
    """A ViT with the classifier of timm and DeiT, which no algorithm of ours is."""
    names = ("cls_token", "blocks.0.attn.qkv.weight", "norm.weight", "head.weight", "head.bias")
    torch.save({name: torch.zeros(2, 2) for name in names}, folder / "vit.pth")
    return folder / "vit.pth"


CASES = [
    (classifier_file, [], f"of none of {', '.join(METHOD_FILES)}"),
    (backbone_file, [], "PretrainedBackbone.*load_backbone"),
    (backbone_file, ["--method", "dino"], "PretrainedBackbone.*load_backbone"),
    (backbone_file, ["--method", "moby"], "PretrainedBackbone.*load_backbone"),
    (foreign_file, [], f"of none of {', '.join(METHOD_FILES)}"),
    (foreign_file, ["--method", "care"], "belong to no known part"),
    (official_file, ["--to", "official"], "no whole checkpoint of .* in our layout"),
    (
        official_file,
        ["--to", "official", "--method", "esvit"],
        "holds no backbone, head.last_layer",
    ),
    (official_file, ["--config", "absent.py"], "absent.py does not exist"),
    (official_file, ["--method", "care"], "no whole checkpoint of care.*--method auto"),
    (dino_run, [], "checkpoint of mmssl already"),
    (dino_run, ["--to", "official", "--method", "moby"], "holds no neck.*--method auto"),
    (lambda folder: folder / "absent.pth", [], "There is no weights file"),
    (lambda folder: folder, [], "it is a folder"),
]


@pytest.mark.parametrize(("make", "options", "message"), CASES)
def test_raises_one_sentence(make, options, message, tmp_path, monkeypatch) -> None:
    """The tool ends with an error in words, and writes nothing."""
    target = tmp_path / "written/out.pth"
    monkeypatch.setattr(sys, "argv", [str(TOOL), str(make(tmp_path)), str(target), *options])
    with pytest.raises(SystemExit, match=f"^error: .*{message}") as caught:
        runpy.run_path(str(TOOL), run_name="__main__")
    assert "\n" not in str(caught.value) and "\\n" not in str(caught.value)
    assert not target.parent.exists()


def test_raises_for_a_target_that_is_no_file(tmp_path: Path) -> None:
    for target in (tmp_path, tmp_path / "ours.py"):
        with pytest.raises(ValueError, match="is to be a weights file"):
            convert_file(official_file(tmp_path), target)


def test_state_tool_prints_what_it_did(tmp_path, monkeypatch, capsys) -> None:
    arguments = [str(TOOL), str(official_file(tmp_path)), str(tmp_path / "new/ours.pth")]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(str(TOOL), run_name="__main__")
    printed = capsys.readouterr().out
    assert (
        "EsViT from the layout of esvit" in printed and "backbone.pretrain_img_size=224" in printed
    )
    assert (tmp_path / "new/ours.py").is_file()
