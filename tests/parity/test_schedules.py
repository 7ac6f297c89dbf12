"""Learning rates and twin momenta of CARE and BYOL over whole runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.optim import MultiStepLR
from timm.scheduler import CosineLRScheduler

from mmssl.engine.schedulers import WarmupCosineLR, warmup_cosine
from mmssl.ops.schedules import Cosine
from tests.helpers.goldens import Golden

pytestmark = pytest.mark.parity


def optimizer(lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def values_at(schedule, optimizer, steps: list[int]) -> list[float]:
    values = {0: optimizer.param_groups[0]["lr"]}
    wanted = set(steps)
    optimizer.step()
    for step in range(1, max(steps) + 1):
        schedule.step()
        if step in wanted:
            values[step] = optimizer.param_groups[0]["lr"]
    return [values[step] for step in steps]


@pytest.mark.parametrize(
    ("case", "peak", "start", "warmup", "epochs", "length"),
    [
        ("lr_warmcos_100e_b1024", 0.2, 1e-6, 10, 100, 1251),
        ("lr_cos_linear_80e", 0.2, 1e-6, 0, 80, 5004),
    ],
)
def test_values_care_learning_rate(case, peak, start, warmup, epochs, length):
    arrays = Golden("care", case).arrays
    values = [
        warmup_cosine(
            int(i), peak=peak, start=start, end=0.0, warmup=warmup * length, total=epochs * length
        )
        for i in arrays["iter"]
    ]
    np.testing.assert_allclose(values, arrays["lr"], rtol=1e-9, atol=1e-18)


def test_values_care_learning_rate_through_the_scheduler():
    arrays = Golden("care", "lr_warmcos_100e_b1024").arrays
    sgd = optimizer(0.2)
    schedule = WarmupCosineLR.build_iter_from_epoch(
        sgd, warmup=10, end=100, start_value=1e-6, epoch_length=1251
    )
    steps = arrays["iter"].tolist()
    assert steps[-1] == 125100  # after the last step: nothing is scheduled any more
    values = values_at(schedule, sgd, [0, *steps[:-1]])
    assert values[0] == 1e-6
    np.testing.assert_allclose(values[1:], arrays["lr"][:-1], rtol=1e-9)


def test_values_linear_evaluation_multistep():
    arrays = Golden("care", "lr_multistep_100e").arrays
    length, sgd = 5004, optimizer(30.0)
    schedule = MultiStepLR.build_iter_from_epoch(sgd, milestones=[60, 80], epoch_length=length)
    values = values_at(schedule, sgd, arrays["iter"].tolist())
    np.testing.assert_allclose(values, arrays["lr"], rtol=1e-9)


def test_values_care_momentum():
    arrays = Golden("care", "ema_momentum_100e").arrays
    momentum = Cosine(0.99, 1.0)
    values = [momentum(int(step), 125100) for step in arrays["iteration"]]
    np.testing.assert_allclose(values, arrays["momentum"], rtol=1e-12)


def test_values_byol_schedules():
    arrays = Golden("baselines", "schedules_byol").arrays
    peak = 0.3 * 4096 / 256
    rates = [warmup_cosine(i, peak=peak, start=0.0, end=0.0, warmup=7, total=60) for i in range(61)]
    # theirs are float32
    np.testing.assert_allclose(rates, arrays["lr"], atol=1e-6 * peak)
    momenta = [Cosine(0.996, 1.0)(i, 60) for i in range(61)]
    np.testing.assert_allclose(momenta, arrays["tau"], atol=1e-6)


def test_values_moby_learning_rate_is_timms():
    """The recipe of the released code (peak 1e-3, 5 of 100 epochs of warm-up), through the scheduler."""
    length = 7
    theirs = CosineLRScheduler(
        optimizer(1e-3),
        t_initial=100 * length,
        lr_min=5e-6,
        warmup_lr_init=5e-7,
        warmup_t=5 * length,
        cycle_limit=1,
        t_in_epochs=False,
    )
    expected = []
    for step in range(100 * length):
        theirs.step_update(step)
        expected.append(theirs.optimizer.param_groups[0]["lr"])
    ours = optimizer(1e-3)
    schedule = WarmupCosineLR.build_iter_from_epoch(
        ours,
        warmup=5,
        end=100,
        start_value=5e-7,
        eta_min=5e-6,
        cosine_from_start=True,
        epoch_length=length,
    )
    values = values_at(schedule, ours, list(range(100 * length)))
    np.testing.assert_allclose(values, expected, rtol=1e-12)
    # the cosine is as far as the warm-up is long when it takes over
    assert max(values) == pytest.approx(5e-6 + (1e-3 - 5e-6) * (1 + np.cos(np.pi * 0.05)) / 2)
