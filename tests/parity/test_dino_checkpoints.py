"""Whole official checkpoints of EsViT, DINO and MoBY: complete both ways, on the official key lists."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import Tensor

from mmssl.convert.convert_file import convert_file
from mmssl.convert.key_map import check_complete
from mmssl.convert.official.dino import (
    from_official,
    guessed_options,
    model_config,
    said_by_file,
    to_official,
)
from mmssl.convert.official.method_recognition import method_of_file
from mmssl.models.backbones import ViL
from mmssl.registry import MODELS
from tests.helpers.goldens import official_keys
from tests.helpers.tiny import tiny_esvit

pytestmark = pytest.mark.parity

NAMES = [name for name in official_keys("esvit") if not name.startswith("moby")]
# Networks with BatchNorm, whose teacher stands behind `module.` too.
WITH_NORM = ("esvit_resnet50", "dino_resnet50", "esvit_cvt_tiny")


def official_file(name: str) -> dict[str, dict[str, Tensor]]:
    """A file as the authors' program writes it, with empty tensors."""
    with torch.device("meta"):
        network = {
            key.removeprefix("module."): torch.empty(
                shape, dtype=torch.long if key.endswith(("index", "tracked")) else None
            )
            for key, shape in official_keys("esvit")[name]["keys"]
        }
        kinds = {"center": "head.", "center_grid": "head_dense."}
        centers = {
            center: torch.empty(1, len(network[f"{head}last_layer.weight_g"]))
            for center, head in kinds.items()
            if f"{head}last_layer.weight_g" in network
        }
    behind = "module." if name in WITH_NORM else ""
    return dict(
        student={f"module.{key}": value for key, value in network.items()},
        teacher={f"{behind}{key}": value for key, value in network.items()},
        dino_loss=centers,
    )


@pytest.mark.parametrize("name", NAMES)
def test_state_official_files_are_complete_both_ways(name: str) -> None:
    """Each key has a place in the model that is read off the file, and the way back gives them all."""
    theirs = official_file(name)
    ours = from_official(theirs)
    config = model_config(ours)
    assert method_of_file(theirs) == name.split("_")[0]
    assert method_of_file(theirs["teacher"]) == name.split("_")[0]
    assert said_by_file(theirs, config).get("backbone.pos_interp") == (
        name.split("_")[0] if "vit" in name.split("_", 1)[1] or "deit" in name else None
    )
    assert config["type"] == ("EsViT" if name.startswith("esvit") else "DINO")
    with torch.device("meta"):
        model = MODELS.build(config)
    check_complete(ours, model.state_dict())
    normed = [key for key in ours if key.startswith("head.mlp.") and key.endswith("running_mean")]
    shared = [each for each in model.head.modules() if isinstance(each, torch.nn.SyncBatchNorm)]
    assert len(shared) == len(normed), "the authors' norms are those of all processes"
    back = to_official(ours)
    assert back.keys() == theirs.keys()
    for part, tensors in theirs.items():
        kept = {key: v.shape for key, v in tensors.items() if "relative_position_index" not in key}
        assert {key: value.shape for key, value in back[part].items()} == kept, part


def test_values_the_config_of_vil_is_that_of_the_class() -> None:
    """Nothing in the published ViL differs from the defaults, and all but two options are read."""
    ours = from_official(official_file("esvit_vil_2262"))
    config = model_config(ours)["backbone"]
    defaults = inspect.signature(ViL).parameters
    assert config.pop("type") == "ViL"
    assert {name: defaults[name].default for name in config} == config
    assert guessed_options(ours)[:2] == ["backbone.drop_path_rate", "backbone.norm_eps"]
    assert not any("pretrain" in name or "heads" in name for name in guessed_options(ours))


def test_values_moby_files_are_recognised() -> None:
    state = {key: torch.zeros(1) for key, _ in official_keys("esvit")["moby_swin_tiny_w7"]["keys"]}
    assert method_of_file(dict(model=state)) == "moby"
    linear = official_keys("esvit")["moby_swin_tiny_w7_linear"]["keys"]
    with pytest.raises(ValueError, match="PretrainedBackbone"):
        method_of_file(dict(model={key: torch.zeros(1) for key, _ in linear}))


def test_state_one_network_alone() -> None:
    """The published backbone-only files, and either network by its name."""
    theirs = official_file("esvit_swin_tiny_w7")
    ours = from_official(theirs["teacher"])
    assert {key.split(".")[0] for key in ours} == {"backbone", "head", "region_head"}
    only = from_official({"student": theirs["student"]})
    assert only.keys() - ours.keys() == {"center.mean", "region_center.mean"}
    teacher = from_official({"teacher": theirs["teacher"], "dino_loss": theirs["dino_loss"]})
    assert teacher.keys() == only.keys()
    assert teacher["center.mean"] is theirs["dino_loss"]["center"]


def test_state_files_go_both_ways(tmp_path) -> None:
    """A file of student, teacher and centers; twin updates and epoch arrive; the config rebuilds it."""
    torch.manual_seed(0)
    options = dict(out_channels=12, hid_channels=16, bottleneck_channels=8, norm_last_layer=False)
    swin = dict(type="Swin", embed_dims=8, depths=(1, 2), num_heads=(1, 2), window_size=4,
                pretrain_img_size=16, out_indices=(1,))  # fmt: skip
    model = tiny_esvit(backbone=MODELS.build(swin), head=options, region_head=options)
    model.init_weights()
    model.center.mean.normal_()
    for parameter in model.twin.parameters():
        parameter.data.normal_()
    source = tmp_path / "epoch_3.pth"
    torch.save(dict(state_dict=model.state_dict(), meta=dict(epoch=3)), source)
    convert_file(source, tmp_path / "official.pth", method="esvit", to="official")
    official = torch.load(tmp_path / "official.pth", weights_only=True)
    assert official["epoch"] == 3 and set(official) >= {"student", "teacher", "dino_loss"}
    lines = convert_file(
        tmp_path / "official.pth", tmp_path / "ours.pth", method="esvit", iters_per_epoch=7
    )
    assert "epoch 3" in lines[0]
    content = torch.load(tmp_path / "ours.pth", weights_only=True)
    assert content["meta"]["epoch"] == 3 and content["state_dict"]["twin.num_updates"] == 21
    for key, value in model.state_dict().items():
        if key != "twin.num_updates":
            assert torch.equal(content["state_dict"][key], value), key
    config: dict = {}
    exec((tmp_path / "ours.py").read_text(), config)
    rebuilt = MODELS.build(config["model"])
    rebuilt.load_state_dict(content["state_dict"])
    assert config["model"]["backbone"]["pretrain_img_size"] == 16
    with pytest.raises(ValueError, match="checkpoint of mmssl already"):
        convert_file(source, tmp_path / "x.pth", method="esvit")
    with pytest.raises(ValueError, match="method must be one of"):
        convert_file(source, tmp_path / "x.pth", method="esvti")


def test_raises_for_another_method() -> None:
    with pytest.raises(KeyError, match="none of swin, cvt"):
        from_official({"student": {"module.encoder.weight": torch.zeros(1)}})
