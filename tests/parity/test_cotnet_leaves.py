"""The supervised leaves of CoTNet: every one builds, with the numbers of the published recipes."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmssl.datasets.transforms import (
    CenterCrop,
    HorizontalFlip,
    RandAugment,
    RandomResizedCrop,
    Resize,
)
from mmssl.engine.config import load_config
from mmssl.engine.optimizers import ParamGroupConstructor
from mmssl.registry import HOOKS, MODELS, PARAM_SCHEDULERS, TRANSFORMS
from tests.helpers.goldens import ROOT

pytestmark = pytest.mark.parity

CONFIGS = Path(__file__).parents[2] / "configs/cotnet"


class Recipe(NamedTuple):
    """What the specification says of one leaf."""

    batch: int
    lr: float
    weight_decay: float
    drop_path: float
    parameters: int
    size: int = 224
    resized: int = 256


ADVANCED = {
    "cotnet50_8xb80-coslr-350e_in1k": Recipe(80, 0.25, 4e-5, 0.1, 22222416),
    "cotnext50_8xb64-coslr-350e_in1k": Recipe(64, 0.2, 4e-5, 0.1, 30046276),
    "se-cotnetd50_8xb80-coslr-350e_in1k": Recipe(80, 0.25, 4e-5, 0.1, 23107784),
    "cotnet101_8xb56-coslr-350e_in1k": Recipe(56, 0.175, 6e-5, 0.1, 38272048),
    "cotnext101_8xb64-coslr-350e_in1k": Recipe(64, 0.2, 6e-5, 0.1, 53346068),
    "se-cotnetd101_8xb64-coslr-350e_in1k": Recipe(64, 0.2, 4e-5, 0.1, 40912392),
    "se-cotnetd152_8xb64-coslr-350e_in1k-256px": Recipe(64, 0.2, 4e-5, 0.15, 55783688, 256, 288),
    "se-cotnetd152_8xb64-coslr-350e_in1k-320px": Recipe(64, 0.2, 4e-5, 0.15, 55783688, 320, 352),
}
# millions of parameters of the ablations: two digits are published
DEFAULT = {
    "cotnet50": 22222416,
    "cotnext50": 30046276,
    "se-cotnetd50": 23107784,
    "cotnet101": 38272048,
    "cotnext101": 53346068,
    "se-cotnetd101": 40912392,
    "cotnet50-static": 17.07,
    "cotnet50-dynamic": 20.32,
    "cotnet50-sum": 20.32,
    "cotnet50-res5": 23.46,
    "cotnet50-res45": 22.42,
    "cotnet50-res345": 22.25,
    "resnet50": 25557032,
}
LEAVES = [*ADVANCED, *(f"{name}_8xb64-coslr-100e_in1k" for name in DEFAULT)]


@pytest.fixture(autouse=True)
def _scope() -> None:
    init_default_scope("mmssl")


@cache
def config_of(name: str) -> Config:
    return load_config(CONFIGS / f"{name}.py")


@cache
def built(name: str) -> torch.nn.Module:
    init_default_scope("mmssl")
    with torch.device("meta"):
        return MODELS.build(config_of(name).model)


def online(name: str) -> int:
    model = built(name)
    return sum(p.numel() for part in (model.backbone, model.head) for p in part.parameters())


def test_values_the_lists_above_are_complete() -> None:
    found = [path.stem for path in CONFIGS.glob("*_in1k*.py")]
    supervised = [n for n in found if config_of(n).model.type == "ImageClassifier"]
    assert sorted(supervised) == sorted(LEAVES)


@pytest.mark.parametrize("name", ADVANCED)
def test_values_advanced(name: str) -> None:
    recipe, config = ADVANCED[name], config_of(name)
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.weight_decay) == (recipe.lr, recipe.weight_decay)
    assert (optimizer.type, optimizer.momentum, optimizer.nesterov) == ("SGD", 0.9, True)
    assert config.train_dataloader.batch_size == recipe.batch
    assert recipe.lr == pytest.approx(0.1 * 8 * recipe.batch / 256)
    assert config.train_cfg.max_epochs == 350
    assert online(name) == recipe.parameters
    model = built(name)
    assert model.batch_mix.mixup_alpha == 0.8 and model.batch_mix.cutmix_alpha == 1.0
    assert model.head.dropout.p == 0.25
    crop, flip, distort = TRANSFORMS.build(config.train_dataloader.dataset.views).pipelines[0]
    assert isinstance(crop, RandomResizedCrop) and crop.size == (recipe.size, recipe.size)
    assert (crop.scale, crop.ratio, crop.interpolation) == ((0.08, 1.0), (3 / 4, 4 / 3), "bicubic")
    assert isinstance(flip, HorizontalFlip) and flip.prob == 0.5
    assert isinstance(distort, RandAugment)
    assert (distort.num_ops, distort.magnitude, distort.magnitude_std) == (2, 15, 0.5)
    assert (distort.max_level, distort.prob, distort.fill) == (15, (0.2, 0.8), (124, 116, 104))
    resize, centre = TRANSFORMS.build(config.val_dataloader.dataset.views).pipelines[0]
    assert isinstance(resize, Resize) and isinstance(centre, CenterCrop)
    assert (resize.size, resize.interpolation) == (recipe.resized, "bicubic")
    assert centre.size == (recipe.size, recipe.size)


@pytest.mark.parametrize("name", DEFAULT)
def test_values_default(name: str) -> None:
    leaf = f"{name}_8xb64-coslr-100e_in1k"
    config, expected = config_of(leaf), DEFAULT[name]
    optimizer = config.optim_wrapper.optimizer
    assert optimizer.to_dict() == dict(type="SGD", lr=0.2, momentum=0.9, weight_decay=1e-4)
    assert (config.train_dataloader.batch_size, config.train_cfg.max_epochs) == (64, 100)
    found = online(leaf)
    assert expected == (found if isinstance(expected, int) else round(found / 1e6, 2))
    assert built(leaf).batch_mix is None
    crop, flip = TRANSFORMS.build(config.train_dataloader.dataset.views).pipelines[0]
    assert (crop.size, crop.interpolation, flip.prob) == ((224, 224), "bicubic", 0.5)


@pytest.mark.parametrize("name", LEAVES)
def test_values_of_every_leaf(name: str) -> None:
    """What all have; batch as in the name; biases and vectors do not decay; no parameter is forgotten."""
    config, model = config_of(name), built(name)
    gpus, batch = re.search(r"_(\d+)xb(\d+)-", name).groups()
    assert config.train_dataloader.batch_size == int(batch)
    assert config.train_dataloader.drop_last
    assert config.auto_scale_lr.base_batch_size == int(gpus) * int(batch)
    assert (model.frozen, model.label_smoothing) == (False, 0.1)
    assert model.twin.average_buffers and model.twin.update_at == "after_step"
    assert model.twin.momentum(0, 10) == model.twin.momentum(9, 10) == 0.9999
    (average,) = [HOOKS.build(hook) for hook in config.custom_hooks]
    assert type(average).__name__ == "NormAverageHook"
    protocol = "advanced" if "350e" in name else "default"
    assert config.default_hooks.best_epoch.protocol == f"supervised-cotnet-{protocol}"
    wrapper = ParamGroupConstructor(
        dict(type="OptimWrapper", optimizer=config.optim_wrapper.optimizer),
        config.optim_wrapper.paramwise_cfg,
    )(model)
    decays = {
        id(parameter): group["weight_decay"]
        for group in wrapper.param_groups
        for parameter in group["params"]
        if parameter.ndim  # the family adds an empty one
    }
    trained = [p for p in model.parameters() if p.requires_grad]
    assert set(decays) == {id(p) for p in trained}
    expected = config.optim_wrapper.optimizer.weight_decay
    for parameter in trained:
        assert decays[id(parameter)] == (0 if parameter.ndim <= 1 else expected)


def golden() -> np.lib.npyio.NpzFile:
    return np.load(ROOT / "cotnet/recipe_cotnet50.npz")


def test_values_learning_rate_of_the_leaf() -> None:
    config = config_of("cotnet50_8xb80-coslr-350e_in1k")
    base = config.optim_wrapper.optimizer.lr
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
    (schedule,) = config.param_scheduler
    scheduler = PARAM_SCHEDULERS.build(
        dict(schedule, end=config.train_cfg.max_epochs), default_args=dict(optimizer=optimizer)
    )
    found = []
    for _ in range(350):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(found, golden()["lr"], atol=1e-12, rtol=0)


def test_values_stochastic_depth_of_the_leaf() -> None:
    """Block i of B has the rate r i / (B - 1); the twin has none."""
    model = built("cotnet50_8xb80-coslr-350e_in1k")

    def rates(net: torch.nn.Module) -> list[float]:
        return [m.drop_prob for m in net.modules() if getattr(m, "drop_prob", 0)]

    np.testing.assert_allclose(rates(model.backbone), golden()["drop_path"], atol=1e-12, rtol=0)
    assert rates(model.twin) == []
