"""Checkpoints of MoCo v3, SimSiam, SwAV, DeepCluster-v2, Barlow Twins, InfoMin, CLSA: both ways, complete."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmssl.convert.convert_file import convert_file
from mmssl.convert.key_map import check_complete
from mmssl.convert.load_algorithm import load_algorithm
from mmssl.convert.official import (
    barlow_twins,
    deepcluster_v2,
    infomin,
    moco,
    moco_v3,
    simsiam,
    swav,
)
from mmssl.convert.official.family_files import FAMILY_FILES
from mmssl.convert.official.method_files import METHOD_FILES
from mmssl.convert.official.method_recognition import method_of_file, method_of_state
from mmssl.convert.official.told_config import read_off
from mmssl.engine.config import load_config
from mmssl.registry import MODELS
from tests.helpers.goldens import official_keys
from tests.helpers.processes import ROOT
from tests.helpers.tiny import tiny_byol, tiny_clusters, tiny_moby, tiny_simclr

CASES = {
    "moco_v3_resnet50": ("moco_v3", moco_v3, "state_dict"),
    "moco_v3_vit_small": ("moco_v3", moco_v3, "state_dict"),
    "moco_v3_vit_base": ("moco_v3", moco_v3, "state_dict"),
    "moco_v3_vit_conv_small": ("moco_v3", moco_v3, "state_dict"),
    "moco_v3_vit_conv_base": ("moco_v3", moco_v3, "state_dict"),
    "simsiam_resnet50": ("simsiam", simsiam.LAYOUT, "state_dict"),
    "swav_resnet50": ("swav", swav.LAYOUT, "state_dict"),
    "swav_resnet50w2": ("swav", swav.LAYOUT, "state_dict"),
    "swav_resnet50w4": ("swav", swav.LAYOUT, "state_dict"),
    "swav_resnet50w5": ("swav", swav.LAYOUT, "state_dict"),
    "barlowtwins_resnet50": ("barlow_twins", barlow_twins.LAYOUT, "model"),
    "clsa_resnet50": ("moco", moco, "state_dict"),
}


def listed(case: str) -> dict[str, torch.Tensor]:
    """Their state dict, without memory."""
    return {
        key: torch.empty(shape, device="meta", dtype=torch.long if not shape else torch.float32)
        for key, shape in official_keys("baselines")[case]["keys"]
    }


@pytest.mark.parametrize("case", CASES)
def test_values_every_official_name_is_a_parameter_of_ours(case: str) -> None:
    """The model that the file tells has exactly these parameters, and goes back to exactly these names."""
    method, layout, entry = CASES[case]
    theirs = listed(case)
    file = {entry: {f"module.{key}": value for key, value in theirs.items()}}
    assert method_of_file(file) == method
    ours = METHOD_FILES[method].from_file(file, 1)
    config, guessed = read_off(file, ours, METHOD_FILES[method])
    assert all(name.split(".")[0] in ("backbone", *config) for name in guessed)
    with torch.device("meta"):
        model = MODELS.build(config)
    expected = model.state_dict()
    check_complete(ours, expected)
    back = layout.to_official(ours)
    assert back.keys() == theirs.keys()
    assert all(back[key].shape == theirs[key].shape for key in theirs)


LEAVES = {
    "moco_v1_resnet50": "moco/mocov1_resnet50_8xb32-steplr-200e_in1k",
    "moco_v2_resnet50": "moco/mocov2_resnet50_8xb32-coslr-200e_in1k",
    "moco_v3_resnet50": "mocov3/mocov3_resnet50_32xb128-coslr-100e_in1k",
    "moco_v3_vit_small": "mocov3/mocov3_vit-small-p16_32xb128-coslr-300e_in1k",
    "moco_v3_vit_base": "mocov3/mocov3_vit-base-p16_32xb128-coslr-300e_in1k",
    "moco_v3_vit_conv_small": "mocov3/mocov3_vit-conv-small_32xb128-coslr-300e_in1k",
    "simsiam_resnet50": "simsiam/simsiam_resnet50_8xb64-coslr-100e_in1k",
    "swav_resnet50": "swav/swav_resnet50_64xb64-mcrop-2-6-coslr-800e_in1k",
    "swav_resnet50w2": "swav/swav_resnet50-w2_128xb32-mcrop-2-4-coslr-400e_in1k",
    "swav_resnet50w4": "swav/swav_resnet50-w4_64xb40-mcrop-2-4-coslr-400e_in1k",
    "swav_resnet50w5": "swav/swav_resnet50-w5_128xb12-mcrop-2-4-coslr-400e_in1k",
    "barlowtwins_resnet50": "barlow_twins/barlow-twins_resnet50_32xb64-coslr-1000e_in1k",
    "clsa_resnet50": "clsa/clsa_resnet50_8xb32-coslr-200e_in1k",
    "infomin_resnet50": "infomin/infomin_resnet50_8xb32-coslr-200e_in1k",
    "dino_vit_small_p16": "dino/dino_vit-small-p16_8xb64-coslr-100e_in1k",
}


@pytest.mark.parametrize("case", LEAVES)
def test_values_official_names_fit_the_network_of_the_recipe(case: str) -> None:
    """All parameters of the leaf's model, but for what their files lack: the twin of one network, queues."""
    theirs = listed(case)
    networks = dict(dino=("student", "teacher"), infomin=("model", "model_ema"))
    entries = networks.get(case.split("_")[0], ("state_dict",))
    file = {entry: {f"module.{key}": value for key, value in theirs.items()} for entry in entries}
    layout = METHOD_FILES[method_of_file(file)]
    ours = layout.from_file(file, 1)
    with torch.device("meta"):
        model = MODELS.build(load_config(ROOT / f"configs/{LEAVES[case]}.py").model)
    lacking = (*layout.ours_alone, "center.")
    expected = {k: v.shape for k, v in model.state_dict().items() if not k.startswith(lacking)}
    assert {k: v.shape for k, v in ours.items() if not k.startswith(lacking)} == expected


def random_model(case: str, **options) -> torch.nn.Module:
    sizes = dict(type="MLPNeck", hid_channels=6, out_channels=5)
    resnet = dict(type="ResNet", depth=18, out_indices=(3,))
    predictor = dict(type="MLPPredictor", hid_channels=4)
    config = {
        "moco_v3": dict(type="MoCoV3", neck=sizes, head=dict(predictor, last_norm_cfg=None)),
        "moco_v3_vit": dict(type="MoCoV3", neck=dict(sizes, num_layers=3), head=predictor),
        "simsiam": dict(type="SimSiam", neck=sizes, head=predictor),
        "swav": dict(type="SwAV", neck=sizes, head=dict(num_prototypes=4)),
        "deepcluster_v2": dict(
            type="DeepClusterV2", neck=sizes, num_samples=9, num_prototypes=(4, 6)
        ),
        "barlow_twins": dict(type="BarlowTwins", neck=sizes),
        "infomin": dict(
            type="InfoMin",
            neck=sizes,
            jigsaw_head=dict(hid_channels=7, num_patches=4),
            queue_length=9,
        ),
    }[case]
    if case == "moco_v3_vit":
        resnet = dict(
            type="VisionTransformer",
            embed_dims=24,
            depth=2,
            num_heads=3,
            pretrain_img_size=32,
            positions="sincos",
        )
    torch.manual_seed(0)
    return MODELS.build(config | dict(backbone=resnet) | options)


LAYOUTS: dict[str, Any] = {
    "moco_v3": moco_v3,
    "moco_v3_vit": moco_v3,
    "simsiam": simsiam.LAYOUT,
    "swav": swav.LAYOUT,
    "deepcluster_v2": deepcluster_v2.LAYOUT,
    "barlow_twins": barlow_twins.LAYOUT,
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_state_round_trip(case: str) -> None:
    state = random_model(case).state_dict()
    theirs = LAYOUTS[case].to_official(state)
    back = LAYOUTS[case].from_official({f"module.{k}": v for k, v in theirs.items()})
    memory = {key for key in state if key.startswith("memory.")}
    assert back.keys() | memory == state.keys()
    for key, value in state.items():
        if key != "twin.num_updates" and key not in memory:
            assert torch.equal(back[key], value), key
    assert method_of_state(state, None) == case.removesuffix("_vit")


def test_values_names_of_deepcluster_v2() -> None:
    """SwAV's with three heads; memory takes no room before the first batch."""
    theirs = listed("swav_resnet50")
    prototypes = theirs.pop("prototypes.weight")
    theirs |= {f"prototypes.prototypes{head}.weight": prototypes for head in range(3)}
    file = dict(state_dict={f"module.{key}": value for key, value in theirs.items()}, epoch=800)
    assert method_of_file(file) == "deepcluster_v2"
    ours = METHOD_FILES["deepcluster_v2"].from_file(file, 1)
    config, guessed = read_off(file, ours, METHOD_FILES["deepcluster_v2"])
    assert config["num_prototypes"] == (3000, 3000, 3000) and "num_samples" in guessed
    with torch.device("meta"):
        expected = MODELS.build(config).state_dict()
    assert expected["memory.embeds"].shape == (0, 2, 128)
    check_complete(ours, {k: v for k, v in expected.items() if not k.startswith("memory.")})
    assert deepcluster_v2.LAYOUT.to_official(ours).keys() == theirs.keys()


def test_state_infomin_with_its_momentum_encoder() -> None:
    state = random_model("infomin").state_dict()
    theirs = infomin.to_official(state)
    names = {key for key, _ in official_keys("baselines")["infomin_resnet50"]["keys"]}
    heads = {key for key in names if key.startswith("head")}
    assert {key for key in theirs["model"] if key.startswith("head")} == heads
    assert theirs["model"].keys() == theirs["model_ema"].keys()
    back = infomin.from_official(theirs["model"], ema=theirs["model_ema"], num_updates=3)
    left = {key for key in state if key.startswith("queue.")}
    assert back.keys() | left == state.keys() and not back.keys() & left
    assert int(back["twin.num_updates"]) == 3
    assert all(torch.equal(back[key], state[key]) for key in back if key != "twin.num_updates")
    assert method_of_state(state, None) == "infomin"
    file = {name: {f"module.{k}": v for k, v in part.items()} for name, part in theirs.items()}
    assert method_of_file(file) == "infomin"


def test_values_names_of_infomin_at_full_size() -> None:
    theirs = listed("infomin_resnet50")
    ours = infomin.from_official(theirs)
    assert infomin.to_official(ours)["model"].keys() == theirs.keys()


@pytest.mark.parametrize("with_twin", [False, True])
def test_state_a_released_file_of_infomin_through_the_tool(tmp_path: Path, with_twin: bool) -> None:
    """It holds the networks; the queue is as before training, and on the way back it is left out."""
    state = random_model("infomin", jigsaw_head=dict(hid_channels=7)).state_dict()
    theirs = infomin.to_official(state)
    parts = theirs if with_twin else dict(model=theirs["model"])
    file = {name: {f"module.{k}": v for k, v in part.items()} for name, part in parts.items()}
    torch.save(file | dict(epoch=200), tmp_path / "theirs.pth")
    lines = convert_file(tmp_path / "theirs.pth", tmp_path / "ours.pth")
    assert "InfoMin from the layout of infomin, epoch 200" in lines[0]
    assert "not in such files, as before training: queue" in lines
    found = load_algorithm(tmp_path / "ours.pth").state_dict()
    assert found["queue.features"].shape == (65536, 5)
    torch.testing.assert_close(found["queue.features"].norm(dim=1), torch.ones(65536))
    source = "twin." if with_twin else ""
    for key, value in state.items():
        if key.startswith("twin.") and key != "twin.num_updates":
            value = state[source + key.removeprefix("twin.")]
        if not key.startswith("queue.") and key != "twin.num_updates":
            assert torch.equal(found[key], value), key
    lines = convert_file(tmp_path / "ours.pth", tmp_path / "again.pth", to="official")
    assert "left out, for their files have none: queue (2 tensors)" in lines
    again = torch.load(tmp_path / "again.pth", weights_only=True)
    for key, value in file["model"].items():
        assert torch.equal(again["model"][key], value), key


def test_state_swav_with_queues_through_the_tool(tmp_path: Path) -> None:
    """Ours, theirs and ours again: networks and config are the same, queues begin anew."""
    model = random_model("swav", queue_length=6)
    model.filled.fill_(6)
    config = dict(
        type="SwAV",
        neck=dict(type="MLPNeck", hid_channels=6, out_channels=5),
        head=dict(num_prototypes=4),
        backbone=dict(type="ResNet", depth=18, out_indices=(3,)),
        queue_length=6,
    )
    meta = dict(epoch=3, cfg=f"default_scope = 'mmssl'\nmodel = {config!r}\n")
    torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / "run.pth")
    lines = convert_file(tmp_path / "run.pth", tmp_path / "theirs.pth", to="official")
    assert "left out, for their files have none: filled, queues (5 tensors)" in lines
    lines = convert_file(tmp_path / "theirs.pth", tmp_path / "ours.pth")
    assert "not in such files, as before training: filled, queues" in lines
    found = load_algorithm(tmp_path / "ours.pth")
    assert found.queue_length == 6 and int(found.filled) == 0
    for key, value in model.state_dict().items():
        if not key.startswith(("queues.", "filled")):
            assert torch.equal(found.state_dict()[key], value), key


def test_state_deepcluster_v2_with_its_memory_through_the_tools(tmp_path: Path) -> None:
    """A run's file loads as it is; theirs has no memory, ours begins with an empty one."""
    model = random_model("deepcluster_v2")
    model.memory.write(torch.arange(9), torch.rand(2, 9, 5))
    model.load_clusters([tiny_clusters(number, dim=5, images=9) for number in (4, 6)], epoch=1)
    config = dict(
        type="DeepClusterV2",
        neck=dict(type="MLPNeck", hid_channels=6, out_channels=5),
        num_samples=9,
        num_prototypes=(4, 6),
        backbone=dict(type="ResNet", depth=18, out_indices=(3,)),
    )
    meta = dict(epoch=3, cfg=f"default_scope = 'mmssl'\nmodel = {config!r}\n")
    torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / "run.pth")
    found = load_algorithm(tmp_path / "run.pth")
    for key, value in model.state_dict().items():
        assert torch.equal(found.state_dict()[key], value), key
    lines = convert_file(tmp_path / "run.pth", tmp_path / "theirs.pth", to="official")
    assert "left out, for their files have none: memory (4 tensors)" in lines
    lines = convert_file(tmp_path / "theirs.pth", tmp_path / "ours.pth")
    assert "not in such files, as before training: memory" in lines
    found = load_algorithm(tmp_path / "ours.pth")
    assert not found.memory.is_ready and found.memory.is_empty()
    for key, value in model.state_dict().items():
        if not key.startswith("memory."):
            assert torch.equal(found.state_dict()[key], value), key


def test_values_red_of_swav_is_theirs() -> None:
    """A deviation of 0.228 in the authors' files, 0.229 in those of mmselfsup, as everywhere."""
    state = random_model("swav").state_dict()
    expected = {"authors": 0.228, "mmselfsup": 0.229}
    layouts = {"authors": METHOD_FILES["swav"], "mmselfsup": FAMILY_FILES["swav"]}
    for name, layout in layouts.items():
        preprocessor = MODELS.build(layout.model_config(state)).data_preprocessor
        assert float(preprocessor.std[0]) / 255 == pytest.approx(expected[name], abs=1e-6)
        assert float(preprocessor.mean[0]) / 255 == pytest.approx(0.485)


def test_raises_and_does_not_mistake_others() -> None:
    """What has a projector and a predictor is not yet of these methods."""
    with pytest.raises(ValueError, match="no whole checkpoint"):
        method_of_state(tiny_simclr().state_dict(), None)
    assert method_of_state(tiny_byol().state_dict(), None) == "byol"
    assert method_of_state(tiny_moby().state_dict(), None) == "moby"
    with pytest.raises(KeyError, match="belong to no known part"):
        swav.LAYOUT.from_official(dict(listed("swav_resnet50"), extra=torch.zeros(1)))
    with pytest.raises(ValueError, match="num_updates"):
        moco_v3.from_official(listed("moco_v3_resnet50"), num_updates=0)


def test_values_the_architecture_is_theirs() -> None:
    for case, name in (
        ("moco_v3_resnet50", "resnet50"),
        ("moco_v3_vit_small", "vit_small"),
        ("moco_v3_vit_conv_base", "vit_conv_base"),
    ):
        assert moco_v3.architecture(moco_v3.from_official(listed(case))) == name
    with pytest.raises(ValueError, match=r"\[384, 768\] channels; this one has 24"):
        moco_v3.architecture(random_model("moco_v3_vit").state_dict())
