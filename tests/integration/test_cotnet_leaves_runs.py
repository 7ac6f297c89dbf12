"""CoTNet's self-supervised leaves on Shapes: what is compared with ResNet-50 differs in the network alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.registry import RUNNERS

from mmssl.convert.load_backbone import load_backbone
from mmssl.engine.config import load_config
from mmssl.models.backbones import CoTNet
from mmssl.registry import MODELS
from tests.helpers.pictures import write_folder

pytestmark = pytest.mark.integration
CONFIGS = Path(__file__).resolve().parents[2] / "configs/cotnet"
METHODS = ["care", "mocov2", "pixpro"]
ARCH = dict(depths=(1, 1, 1, 1), planes=(8, 8, 16, 16), stem_channels=8)
LARGE = {
    "care": "care_cotnet50_8xb128-coslr-100e_in1k.py",
    "mocov2": "mocov2_cotnet50_8xb32-coslr-200e_in1k.py",
    "pixpro": "pixpro_cotnet50_8xb128-coslr-100e_in1k.py",
}
methods = pytest.mark.parametrize("method", METHODS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("images")
    write_folder(root, 8, classes=("a", "b"))
    return root


def leaf(method: str, network: str) -> Path:
    return CONFIGS / f"{method}_{network}_1xb32-coslr-4e_shapes.py"


@methods
def test_equivalence_leaves_differ_in_the_network_alone(method):
    cotnet, resnet = (load_config(leaf(method, n)).to_dict() for n in ("cotnet50", "resnet50"))
    ours, theirs = cotnet["model"].pop("backbone"), resnet["model"].pop("backbone")
    assert cotnet == resnet
    assert cotnet["train_cfg"]["max_epochs"] == 4
    assert (ours["type"], ours["arch"], theirs["type"], theirs["depth"]) == (
        "CoTNet",
        "50",
        "ResNet",
        50,
    )
    assert ours["out_indices"] == theirs["out_indices"]
    assert ours.get("output_stride") == theirs.get("output_stride")
    # blocks of both start as identities
    assert theirs["zero_init_residual"] and "zero_init_residual" not in ours


@methods
def test_equivalence_imagenet_leaves_are_those_of_resnet50(method):
    name = LARGE[method]
    ours = load_config(CONFIGS / name).to_dict()
    theirs = load_config(
        CONFIGS.parent / method.removesuffix("v2") / name.replace("cotnet", "resnet")
    ).to_dict()
    network, other = ours["model"].pop("backbone"), theirs["model"].pop("backbone")
    assert ours == theirs
    norms = [one.get("norm_cfg", dict(type="BN"))["type"] for one in (network, other)]
    assert norms[0] == norms[1] and network["out_indices"] == other["out_indices"]
    with torch.device("meta"):
        model = MODELS.build(load_config(CONFIGS / name).model.to_dict())
    assert sum(p.numel() for p in model.backbone.parameters()) == 22222416 - 2049000


@pytest.mark.slow
@methods
def test_state_two_steps_and_its_weights(method, folder, tmp_path):
    """A tiny network of the family: k-NN before and behind, a checkpoint that a plain CoTNet takes."""
    knn = load_config(leaf(method, "cotnet50")).custom_hooks[0]
    labelled = dict(type="ImageFolder", root=str(folder), labels=True, views=knn.train.views)
    config = load_config(
        leaf(method, "cotnet50"),
        {
            "model.backbone.arch": dict(_delete_=True, **ARCH),
            "train_dataloader.dataset.root": str(folder),
            "train_dataloader.batch_size": 4,
            "train_dataloader.num_workers": 0,
            "train_dataloader.persistent_workers": False,
            "train_cfg.max_epochs": 1,
            "custom_hooks": [
                dict(knn, train=labelled, val=labelled, k=3, num_train=8, num_val=8),
                dict(type="CollapseHook"),
            ],
        },
    )
    config.work_dir = config.experiment_name = str(tmp_path)
    config.launcher, config.log_level, config.runner_type = "none", "WARNING", "mmssl.Runner"
    runner = RUNNERS.build(config)
    runner.train()
    assert runner.iter == 2
    plain = CoTNet(ARCH)
    report = load_backbone(plain, tmp_path / "epoch_1.pth", branch="online")
    assert report.complete
    assert torch.equal(
        plain.layer4[0].conv2.se[0].weight, runner.model.backbone.layer4[0].conv2.se[0].weight
    )
