"""Learning rates and weight decays of leaves, over whole runs, against the formulas of the official codes."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch

from mmssl.engine.config import load_config
from mmssl.engine.schedulers import WarmupCosineLR
from mmssl.ops.schedules import build_schedule
from tests.helpers.goldens import Golden
from tests.helpers.processes import ROOT
from tests.helpers.schedules import schedules_of

pytestmark = pytest.mark.parity
EPOCHS, LENGTH = 20, 5


class Case(NamedTuple):
    """A leaf, and what stands in place of its numbers in the recorded run.

    Attributes:
        leaf: Below `configs`.
        changes: Of its schedule.
        peak: The learning rate, if it is none of the leaf's.
        share: Of the group, in the optimizer's learning rate.
        entry: What is scheduled.
        place: In the leaf's list of schedules.
    """

    leaf: str
    changes: dict = {}
    peak: float | None = None
    share: float = 1.0
    entry: str = "lr"
    place: int = 0


WARMUP = dict(warmup=2)
BARLOW = "barlow_twins/barlow-twins_resnet50_32xb64-coslr-1000e_in1k.py"
DINO = "dino/dino_vit-small-p16_16xb64-coslr-300e_in1k.py"
CASES = {
    "mocov1_step": Case(
        "moco/mocov1_resnet50_8xb32-steplr-200e_in1k.py", dict(milestones=[12, 16])
    ),
    "mocov2_cos": Case("moco/mocov2_resnet50_8xb32-coslr-200e_in1k.py"),
    "mocov3_lr": Case("mocov3/mocov3_resnet50_32xb128-coslr-100e_in1k.py", WARMUP),
    "barlow_weights": Case(BARLOW),
    "barlow_biases": Case(BARLOW, share=0.024),
    "swav_lr": Case("swav/swav_resnet50_64xb64-mcrop-2-6-coslr-200e_in1k.py", WARMUP),
    "dino_lr": Case(DINO, WARMUP, peak=0.002),
    "dino_wd": Case(DINO, WARMUP, entry="weight_decay", place=1),
}


@pytest.mark.parametrize("name", CASES)
def test_values_of_a_leaf(name: str) -> None:
    golden, case = Golden("baselines", "schedules_a"), CASES[name]
    config = load_config(ROOT / "configs" / case.leaf)
    options = config.optim_wrapper.optimizer
    rate = (case.peak or options.lr) * case.share
    sgd = torch.optim.SGD(
        [torch.nn.Parameter(torch.zeros(1))], lr=rate, weight_decay=options.weight_decay
    )
    schedules = schedules_of(config, sgd, epoch_length=LENGTH, epochs=EPOCHS, **case.changes)
    found = []
    for _ in range(len(golden.arrays[name])):
        found.append(sgd.param_groups[0][case.entry])
        sgd.step()
        schedules[case.place].step()
    golden.check(name, torch.tensor(found, dtype=torch.float64))


def test_values_rates_of_barlow_twins_biases_are_the_leafs() -> None:
    config = load_config(ROOT / "configs" / BARLOW)
    shares = config.optim_wrapper.paramwise_cfg.lr_mult_by_kind
    assert {shares.bias, shares.norm} == {CASES["barlow_biases"].share}


@pytest.mark.parametrize("momentum", ["dino_m", "mocov3_m"])
def test_values_momentum_of_a_leaf(momentum: str) -> None:
    golden = Golden("baselines", "schedules_a")
    leaf = dict(dino_m=DINO, mocov3_m=CASES["mocov3_lr"].leaf)[momentum]
    schedule = build_schedule(load_config(ROOT / "configs" / leaf).model.momentum)
    steps = len(golden.arrays[momentum])
    values = [schedule(step, steps) for step in range(steps)]
    golden.check(momentum, torch.tensor(values, dtype=torch.float64))


def test_values_swav_without_warm_up_starts_at_its_peak_and_ends_at_its_floor() -> None:
    """The recipe of batches of 256: a cosine from 0.6 that stops a step before 0.0006."""
    leaf = "swav/swav_resnet50_4xb64-mcrop-2-6-coslr-200e_in1k.py"
    config = load_config(ROOT / "configs" / leaf)
    (schedule,) = schedules_of(config, epoch_length=LENGTH)
    group = schedule.optimizer.param_groups[0]
    assert group["lr"] == 0.6
    for _ in range(200 * LENGTH - 1):
        schedule.optimizer.step()
        schedule.step()
    assert 0.0006 < group["lr"] < 0.00061


def test_values_infomin_counts_epochs_from_one() -> None:
    """PyContrast's formula for the epochs 1 .. E, whose last one is at the floor."""
    config = load_config(ROOT / "configs/infomin/infomin_resnet50_8xb32-coslr-200e_in1k.py")
    (schedule,) = schedules_of(config, epoch_length=LENGTH, epochs=EPOCHS)
    group, floor = schedule.optimizer.param_groups[0], 0.03 * 0.1**3
    for epoch in range(1, EPOCHS + 1):
        expected = floor + (0.03 - floor) * (1 + math.cos(math.pi * epoch / EPOCHS)) / 2
        assert group["lr"] == pytest.approx(expected, rel=1e-9), epoch
        schedule.optimizer.step()
        schedule.step()
    assert expected == pytest.approx(floor)


def test_values_simclr_v2_warms_up_for_a_twentieth_of_the_run() -> None:
    leaf = "simclr/simclr-v2_resnet50_32xb128-coslr-800e_in1k.py"
    config = load_config(ROOT / "configs" / leaf)
    (schedule,) = schedules_of(config, epoch_length=LENGTH)
    assert schedule.warmup == 0.05 * 800 * LENGTH and schedule.base_values == [0.1 * 4096**0.5]


def test_values_simclr_on_cifar() -> None:
    """The command of v1's readme: 1.0 x batch / 256, small images, half the colours, no blur."""
    config = load_config(ROOT / "configs/simclr/simclr_resnet18_1xb512-coslr-1000e_cifar10.py")
    (schedule,) = schedules_of(config, epoch_length=LENGTH)
    assert (schedule.warmup, schedule.base_values) == (10 * LENGTH, [512 / 256])
    assert config.model.temperature == 0.5 and config.model.backbone.stem == "cifar"
    assert (config.model.neck.num_layers, config.model.neck.hid_channels) == (3, 512)
    (view,) = config.train_dataloader.dataset.views.views
    crop, _, jitter, _ = view.transforms
    assert (view.num, crop.size) == (2, 32)
    assert [jitter[name] for name in ("brightness", "contrast", "saturation", "hue")] == [
        0.4, 0.4, 0.4, 0.1,
    ]  # fmt: skip


@pytest.mark.parametrize("options", [dict(offset=-1), dict(offset=1, warmup=2)])
def test_raises_offset(options: dict) -> None:
    sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ValueError, match="offset must be at least 0"):
        WarmupCosineLR(sgd, end=4, **options)
