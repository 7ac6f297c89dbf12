"""Runs with views alone: every recipe of EsViT has one in DINO's folder that differs by the regions only."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from mmengine.config import Config

from mmssl.engine.config import load_config

CONFIGS = Path(__file__).parents[2] / "configs"
RECIPES = sorted(
    path
    for path in (CONFIGS / "esvit").glob("*.py")
    if "shapes" not in path.name and not path.stem.endswith(("_continued", "_mse-regions"))
)


@cache
def config_of(path: Path) -> Config:
    return load_config(path)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_equivalence_views_alone(path: Path) -> None:
    """Network, images, views, batch, optimizer, schedules, epochs: all the same."""
    regions = config_of(path)
    views = config_of(CONFIGS / "dino" / path.name.replace("esvit_", "dino_", 1))
    for key in ("train_dataloader", "optim_wrapper", "param_scheduler", "train_cfg"):
        assert regions[key] == views[key], key
    assert regions.auto_scale_lr == views.auto_scale_lr
    model = regions.model.to_dict()
    assert model.pop("type") == "EsViT" and model.pop("region_head") == model["head"]
    assert {**model, "type": "DINO"} == views.model.to_dict()


@pytest.mark.parametrize(
    ("name", "folder", "epochs"),
    [
        ("150e_webvision", "data/webvision/train", 150),
        ("150e_openimages", "data/openimages/train", 150),
        ("30e_in22k", "data/imagenet22k/train", 30),
    ],
)
def test_values_other_images(name: str, folder: str, epochs: int) -> None:
    """Nothing but images and length is different from the run on ImageNet-1k with 1024 images a step."""
    parent = config_of(CONFIGS / "dino/dino_swin-tiny-w7_16xb64-coslr-300e_in1k.py").to_dict()
    leaf = config_of(CONFIGS / f"dino/dino_swin-tiny-w7_16xb64-coslr-{name}.py").to_dict()
    assert leaf["train_dataloader"]["dataset"]["root"] == folder
    assert leaf["train_cfg"]["max_epochs"] == epochs
    leaf["train_dataloader"]["dataset"]["root"] = parent["train_dataloader"]["dataset"]["root"]
    leaf["train_cfg"]["max_epochs"] = parent["train_cfg"]["max_epochs"]
    assert leaf == parent


def test_values_deit_of_esvit() -> None:
    """EsViT's rule for positions of small crops; the rest is DINO's boosted recipe."""
    parent = config_of(CONFIGS / "dino/dino_vit-small-p16_16xb64-coslr-300e_in1k.py").to_dict()
    leaf = config_of(CONFIGS / "dino/dino_deit-small-p16_16xb64-coslr-300e_in1k.py").to_dict()
    assert leaf["model"]["backbone"].pop("pos_interp") == "esvit"
    assert parent["model"]["backbone"].pop("pos_interp") == "dino"
    assert leaf == parent
    schedule = dict(type="LinearWarmup", start=0.04, end=0.07, num_steps=30)
    assert leaf["model"]["teacher_temperature"] == schedule
    assert leaf["model"]["head"]["norm_last_layer"] is False
