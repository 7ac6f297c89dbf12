"""Learning rates of PixPro's program: that of the recipes by their own configs, and its two kinds."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

from mmssl.engine.config import load_config
from mmssl.registry import PARAM_SCHEDULERS
from tests.helpers.goldens import Golden

pytestmark = pytest.mark.parity
CONFIGS = Path(__file__).resolve().parents[2] / "configs"
RECIPES = [
    "pixpro/pixpro_resnet50_8xb128-coslr-100e_in1k.py",
    "pixpro/pixpro_resnet50_instance_8xb128-coslr-100e_in1k_official.py",
    "pixcontrast/pixcontrast_resnet50_8xb128-coslr-100e_in1k.py",
]


def sgd(lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def built(entry: dict[str, Any], optimizer: torch.optim.Optimizer, epochs: int, length: int):
    """A scheduler of a config, as the runner has it."""
    init_default_scope("mmssl")
    arguments = dict(optimizer=optimizer, epoch_length=length)
    return PARAM_SCHEDULERS.build(dict(end=epochs) | deepcopy(entry), default_args=arguments)


def rates(entries: list[dict[str, Any]], lr: float, epochs: int, length: int) -> np.ndarray:
    """Learning rate of every iteration of a run."""
    optimizer = sgd(lr)
    schedulers = [built(entry, optimizer, epochs, length) for entry in entries]
    found = []
    for _ in range(epochs * length):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return np.array(found)


def check(case: str, found: np.ndarray) -> None:
    golden = Golden("pixpro", "pixpro_lr").arrays
    np.testing.assert_allclose(found[golden[f"{case}_at"]], golden[f"{case}_lr"], rtol=1e-6)


@pytest.mark.parametrize("config", RECIPES)
def test_values_learning_rate_of_the_recipe(config: str) -> None:
    """Of 125100 iterations: warm-up from a hundredth, cosine to 1e-6."""
    cfg = load_config(CONFIGS / config)
    (entry,) = cfg.param_scheduler
    optimizer = sgd(cfg.optim_wrapper.optimizer.lr)
    scheduler = built(entry, optimizer, cfg.train_cfg.max_epochs, 1251)
    golden = Golden("pixpro", "pixpro_lr").arrays
    assert golden["ep100_at"][-1] == 125099
    found = []
    for iteration in golden["ep100_at"]:
        scheduler.jump_to(int(iteration))
        found.append(optimizer.param_groups[0]["lr"])
    np.testing.assert_allclose(found, golden["ep100_lr"], rtol=1e-6)


def test_values_learning_rate_of_a_small_run() -> None:
    entry = dict(
        type="WarmupCosineLR", warmup=2, start_ratio=0.01, eta_min=1e-6, convert_to_iter_based=True
    )
    check("small", rates([entry], 1.0, 9, 7))


def test_values_learning_rate_in_steps() -> None:
    """Their other kind: mmengine's schedulers say it, whose warm-up is an iteration longer in words."""
    entries = [
        dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=2 * 5 + 1),
        dict(type="MultiStepLR", milestones=[12, 20], gamma=0.1, convert_to_iter_based=True),
    ]
    check("step", rates(entries, 0.3, 30, 5))
