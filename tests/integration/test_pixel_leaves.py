"""The recipes on Shapes whose last map has stride 16: same views, same network, weights for any ResNet-18."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS, init_default_scope

from mmssl.convert.load_backbone import load_backbone
from mmssl.engine.config import load_config
from mmssl.models.backbones import ResNet
from mmssl.registry import DATASETS
from tests.helpers.pictures import write_folder

pytestmark = pytest.mark.integration
CONFIGS = Path(__file__).resolve().parents[2] / "configs"
LEAVES = [
    "pixpro/pixpro_resnet18_1xb32-coslr-4e_shapes.py",
    "pixcontrast/pixcontrast_resnet18_1xb32-coslr-4e_shapes.py",
    "densecl/densecl_resnet18_1xb32-coslr-4e_shapes.py",
    "moco/mocov2_resnet18-d16_1xb32-coslr-4e_shapes.py",
    "byol/byol_resnet18-d16_1xb32-coslr-4e_shapes.py",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("images")
    write_folder(root, 6)
    return root


def leaf(name: str, folder: Path) -> Config:
    options = {
        "train_dataloader.dataset.root": str(folder),
        "train_dataloader.batch_size": 3,
        "train_dataloader.num_workers": 0,
        "train_dataloader.persistent_workers": False,
        "train_cfg.max_epochs": 1,
        "custom_hooks": [],
    }
    return load_config(CONFIGS / name, options)


def test_equivalence_all_leaves_see_the_same_views(folder) -> None:
    """Of the same images, at the same size, for as many epochs; two of them with boxes."""
    init_default_scope("mmssl")
    shown = []
    for name in LEAVES:
        config = load_config(CONFIGS / name)
        assert config.train_cfg.max_epochs == 4
        assert config.train_dataloader.batch_size == 32
        assert config.model.backbone.output_stride == 16
        views = DATASETS.build(leaf(name, folder).train_dataloader.dataset)[0]["inputs"]
        assert bool(views.boxes) == name.startswith("pix")
        shown.append(views.images)
    assert all(torch.equal(a, b) for images in shown for a, b in zip(images, shown[0], strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", LEAVES)
def test_state_backbone_fits_any_resnet18(name, folder, tmp_path) -> None:
    """Two steps; then the network without dilation takes every weight."""
    config = leaf(name, folder)
    config.work_dir = config.experiment_name = str(tmp_path)
    config.launcher, config.log_level, config.runner_type = "none", "WARNING", "mmssl.Runner"
    runner = RUNNERS.build(config)
    runner.train()
    assert runner.iter == 2
    if name.startswith("pix"):
        for scalar in ("num_positives", "overlap"):
            assert runner.message_hub.get_scalar(f"train/{scalar}").current() > 0
    with torch.no_grad():
        assert runner.model.backbone(torch.zeros(1, 3, 64, 64))[-1].shape[2:] == (4, 4)
    plain = ResNet(18)
    report = load_backbone(plain, tmp_path / "epoch_1.pth", branch="online")
    assert len(report.matched) == 120 and report.complete
    assert torch.equal(plain.layer4[1].conv2.weight, runner.model.backbone.layer4[1].conv2.weight)
