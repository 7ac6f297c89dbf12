"""CollapseDoctor: each fault from numbers, patience, memory."""

from __future__ import annotations

import json
import math

import pytest
import torch

from mmssl.evaluation.collapse_doctor import (
    CollapseDoctor,
    Fault,
    LossWindow,
    Spread,
    TwinState,
    measure_spread,
)

HEALTHY = Spread(0.9, 12.0, 32)


def run(checks: list[dict], doctor: CollapseDoctor | None = None) -> list[Fault]:
    doctor = doctor or CollapseDoctor()
    return [f for i, check in enumerate(checks, 1) for f in doctor.check(50 * i, **check)]


def names(faults: list[Fault]) -> list[tuple[str, str, int]]:
    return [(fault.name, fault.where, fault.since) for fault in faults]


def loss(mean: float, width: float = 0.2, num_values: int = 50) -> dict:
    return dict(losses=dict(loss=LossWindow(mean, mean - width / 2, mean + width / 2, num_values)))


def twin(number: float, online: float, updates: int = 1, momentum: float = 0.99, **more) -> dict:
    values = dict(first_momentum=momentum, distance=0.01) | more
    state = TwinState(updates, momentum, twin=[number, 0.0], online=[online, 0.0], **values)
    return dict(twins=dict(twin=state))


def test_values_measure_spread() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(400, 16, generator=generator)
    even = measure_spread(noise)
    assert even.rows == 100  # every fourth of 400
    assert even.spread == pytest.approx(1, abs=0.03)
    assert even.rank > 14
    line = measure_spread(noise[:, :1] * torch.ones(16))
    assert line.rank == pytest.approx(1, abs=1e-3)
    constant = measure_spread(torch.ones(8, 16) + 1e-4 * noise[:8])
    assert constant.spread < 1e-3
    assert math.isnan(measure_spread(torch.full((4, 2), math.nan)).spread)


def test_values_constant_embedding() -> None:
    checks = [dict(embeddings=dict(neck=Spread(s, 9.0, 32))) for s in (0.9, 0.5, 0.01, 0.01)]
    assert names(run(checks)) == [("constant embedding", "neck", 150)]
    slow = [dict(embeddings=dict(neck=Spread(s, 9.0, 32))) for s in (0.13, 0.11, 0.10)]
    assert names(run(slow)) == [("constant embedding", "neck", 50)]
    recovering = [dict(embeddings=dict(neck=Spread(s, 9.0, 32))) for s in (0.05, 0.07, 0.1, 0.14)]
    assert run(recovering) == []
    untrained = [dict(features=dict(backbone=Spread(0.08, 9.0, 32)))] * 6
    assert run(untrained) == []


def test_values_dimensional_collapse() -> None:
    assert names(run([dict(embeddings=dict(neck=Spread(0.9, 1.1, 32)))] * 3)) == [
        ("dimensional collapse", "neck", 50)
    ]
    assert (
        run([dict(embeddings=dict(neck=Spread(0.9, 1.1, 4)))] * 6) == []
    )  # four images: no verdict


@pytest.mark.parametrize(
    ("means", "outcomes", "name"),
    [
        ([8.3178] * 3, 4096, "uniform prediction"),
        ([4.0, 1e-4, 1e-4, 1e-4], None, "loss at its floor"),
        ([-0.3, -0.9999, -0.9999, -0.9999], None, "loss at its floor"),
        ([4.0, 1.0, 0.5, 3.9, 3.9, 3.9], None, "loss back at its start"),
        ([4.0, 30.0], None, "loss jump"),
    ],
)
def test_values_losses(means: list[float], outcomes: int | None, name: str) -> None:
    width = 1e-5 if name == "loss at its floor" else 0.2
    checks = [
        loss(mean, width) | dict(uniform=outcomes and dict(loss=math.log(outcomes)))
        for mean in means
    ]
    assert [fault.name for fault in run(checks)] == [name]


def test_values_a_loss_near_its_start_has_time_but_not_one_that_comes_back() -> None:
    """Prototypes at first: within a thousandth of ln K, as long as nothing was learnt."""
    uniform = dict(uniform=dict(loss=math.log(3000)))
    near = loss(math.log(3000) * 1.0005) | uniform
    assert run([near] * 19) == []
    assert [fault.name for fault in run([near] * 20)] == ["uniform prediction"]
    returned = [loss(mean) | uniform for mean in (8.0, 7.0)] + [near] * 3
    assert [fault.name for fault in run(returned)] == ["uniform prediction"]


def test_values_loss_that_does_not_move_names_ln_k() -> None:
    faults = run([loss(math.log(4096), 1e-7)] * 3)
    assert [fault.name for fault in faults] == ["loss that does not move"]
    assert "ln 4096" in faults[0].detail
    assert "since iteration 50" in str(faults[0])


@pytest.mark.parametrize(
    "means",
    [
        [4.0, 2.0, 1.0, 0.6, 0.9, 0.8, 0.5],  # BYOL: dips, rises a little, falls
        [2.0, 8.5, 9.2, 9.0, 8.0, 7.0],  # MoCo: the queue fills up
        [-0.1, -0.5, -0.8, -0.9, -0.95],  # SimSiam
    ],
)
def test_values_healthy_losses(means: list[float]) -> None:
    uniform = dict(uniform=dict(loss=math.log(65537))) if max(means) > 8 else {}
    assert run([loss(mean) | uniform for mean in means]) == []


def test_values_twins() -> None:
    frozen = [twin(5.0, 5.0 + 0.1 * i, updates=0) for i in range(4)]
    faults = run(frozen)
    assert names(faults) == [("frozen twin", "twin", 100)]
    assert "0 updates" in faults[0].detail
    momentum_one = [twin(5.0, 5.0 + 0.1 * i, updates=i, momentum=1.0) for i in range(4)]
    assert "momentum 1" in run(momentum_one)[0].detail
    end = [
        twin(5.0, 5.0 + 0.1 * i, updates=i, momentum=1 - 1e-6, first_momentum=0.99)
        for i in range(4)
    ]
    assert run(end) == []
    neither_moves = [twin(5.0, 5.0, updates=0)] * 4  # long accumulation, warm-up at rate 0
    assert run(neither_moves) == []
    assert [f.name for f in run([twin(5.0 + i, 5.0) for i in range(4)])] == ["diverging twin"]
    assert [f.name for f in run([twin(5.0, 5.0, momentum=1.02)])] == ["diverging twin"]
    assert [f.name for f in run([twin(math.nan, 5.0)])] == ["not finite"]


def test_values_not_finite() -> None:
    checks = [dict(embeddings=dict(neck=Spread(math.nan, math.nan, 8))) | loss(math.inf)]
    assert names(run(checks)) == [("not finite", "neck", 50), ("not finite", "loss", 50)]


def test_values_repeats_and_forgets() -> None:
    bad, good = (dict(embeddings=dict(neck=Spread(s, 9.0, 32))) for s in (0.01, 0.9))
    doctor = CollapseDoctor(repeat=3)
    faults = run([bad] * 6, doctor)
    assert [fault.is_new for fault in faults] == [True, False]  # checks 2 and 5
    assert doctor.check(350, **good) == []
    again = [fault for i in (400, 450) for fault in doctor.check(i, **bad)]
    assert [(fault.since, fault.is_new) for fault in again] == [(400, True)]


def test_state_is_plain_and_continues() -> None:
    checks = [
        dict(embeddings=dict(neck=HEALTHY if i < 2 else Spread(0.1, 9.0, 32)))
        | loss(4.0 - i)
        | twin(5.0, 5.0 + 0.1 * i)
        for i in range(6)
    ]
    whole = [
        fault for i, check in enumerate(checks) for fault in CollapseDoctor().check(i, **check)
    ]
    assert whole == []  # no memory, no fault
    doctor, expected = CollapseDoctor(), []
    for i, check in enumerate(checks):
        expected += doctor.check(i, **check)
    assert expected
    found, state = [], CollapseDoctor().state_dict()
    for i, check in enumerate(checks):
        resumed = CollapseDoctor()
        resumed.load_state_dict(json.loads(json.dumps(state)))
        found += resumed.check(i, **check)
        state = resumed.state_dict()
    assert found == expected
