"""CosineCyclesLR against torch's schedulers, called as the official codes call them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, CosineAnnealingWarmRestarts

from mmssl.engine.schedulers import CosineCyclesLR, cosine_cycle


def optimizer(*rates: float) -> torch.optim.Optimizer:
    groups = [dict(params=[torch.nn.Parameter(torch.zeros(1))], lr=rate) for rate in rates]
    return torch.optim.SGD(groups, lr=1.0)


def rates_of(sgd: torch.optim.Optimizer) -> list[float]:
    return [group["lr"] for group in sgd.param_groups]


def values(schedule: CosineCyclesLR, sgd: torch.optim.Optimizer, steps: int) -> list[list[float]]:
    found = []
    for _ in range(steps):
        found.append(rates_of(sgd))
        sgd.step()
        schedule.step()
    return found


@pytest.mark.parametrize(("period", "length", "low"), [(10, 7, 0.0), (2, 5, 0.01), (3, 1, 0.0)])
def test_equivalence_warm_restarts_behind_each_iteration(period, length, low):
    """torch's scheduler, stepped behind the optimizer with epoch + iteration / length."""
    theirs = optimizer(3.0, 0.5)
    official = CosineAnnealingWarmRestarts(theirs, T_0=period, eta_min=low)
    expected = []
    for epoch in range(3 * period):
        for iteration in range(length):
            expected.append(rates_of(theirs))
            theirs.step()
            official.step(epoch + iteration / length)
    ours = optimizer(3.0, 0.5)
    schedule = CosineCyclesLR.build_iter_from_epoch(
        ours, period=period, shift=-1, eta_min=low, epoch_length=length
    )
    found = values(schedule, ours, len(expected))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_equivalence_swing_stepped_before_each_epoch():
    """torch's CosineAnnealingLR of 12 epochs over 100, stepped at the beginning of each: HCSC's VOC07."""
    theirs = optimizer(0.05)
    official = CosineAnnealingLR(theirs, T_max=12)
    expected = []
    for _ in range(100):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            official.step()
        expected.append(rates_of(theirs))
        theirs.step()
    ours = optimizer(0.05)
    schedule = CosineCyclesLR(ours, period=12, shift=1, restart=False)
    found = values(schedule, ours, 100)
    # torch's recursion passes through 0, so that rounding grows there
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert min(found)[0] == pytest.approx(0.0, abs=1e-15)
    assert max(found)[0] == pytest.approx(0.05)


def test_state_resumes():
    straight = optimizer(1.0)
    expected = values(CosineCyclesLR(straight, period=4, shift=-1), straight, 12)
    first = optimizer(1.0)
    schedule = CosineCyclesLR(first, period=4, shift=-1)
    values(schedule, first, 5)
    second = optimizer(1.0)
    again = CosineCyclesLR(second, period=4, shift=-1)
    again.load_state_dict(schedule.state_dict())
    second.load_state_dict(first.state_dict())
    assert values(again, second, 7) == expected[5:]


def test_values_end_of_a_schedule():
    """Behind its end the rate stays."""
    sgd = optimizer(1.0)
    schedule = CosineCyclesLR(sgd, period=4, end=3)
    found = np.ravel(values(schedule, sgd, 6))
    middle = cosine_cycle(2, peak=1.0, low=0.0, period=4)
    np.testing.assert_allclose(found[2:], middle)


def test_raises():
    with pytest.raises(ValueError, match="period of at least 1, got 0"):
        CosineCyclesLR(optimizer(1.0), period=0)
    with pytest.raises(ValueError, match="needs by_epoch=True"):
        CosineCyclesLR.build_iter_from_epoch(optimizer(1.0), period=2, by_epoch=False)
