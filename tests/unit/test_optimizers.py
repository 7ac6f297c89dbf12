"""Parameter groups, LARS beyond the goldens, and the warm-up cosine schedule."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.optim import MultiStepLR, OptimWrapper
from mmengine.registry import DefaultScope
from torch import nn

from mmssl.engine.optimizers import LARS, ParamGroupConstructor
from mmssl.engine.optimizers.optim_wrapper import emulates_bfloat16
from mmssl.engine.schedulers import WarmupCosineLR, warmup_cosine
from tests.helpers.tiny import tiny_model


def groups_of(model, paramwise_cfg=None, **optimizer) -> list[dict]:
    config = dict(
        type="OptimWrapper", optimizer=dict(type="SGD", lr=1.0, weight_decay=0.1) | optimizer
    )
    return ParamGroupConstructor(config, paramwise_cfg)(model).optimizer.param_groups


def test_values_one_group_of_all_online_parameters_by_default():
    model = tiny_model("care")
    groups = groups_of(model)
    online = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert len(groups) == 1
    assert [id(p) for p in groups[0]["params"]] == [id(p) for p in online]
    assert groups[0]["weight_decay"] == 0.1


def test_values_kinds_of_care():
    model = tiny_model("care")
    exclude = ("bias", "norm", "position")
    # the scope that a runner sets
    with DefaultScope.overwrite_default_scope("mmssl"):
        groups = groups_of(model, dict(no_decay=exclude, lars_exclude=exclude), type="LARS")
    assert len(groups) == 2
    weights, excluded = groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert all(p.ndim > 1 for p in weights["params"])
    assert (weights["weight_decay"], weights["lars_exclude"]) == (0.1, False)
    assert (excluded["weight_decay"], excluded["lars_exclude"]) == (0.0, True)
    tables = [names[id(p)] for p in excluded["params"] if p.ndim > 1]
    assert len(tables) == 4
    assert all(".position.rel_" in name for name in tables)
    assert not any(name.startswith("twin.") for name in names.values() if name in tables)
    count = sum(len(group["params"]) for group in groups)
    assert count == sum(p.requires_grad for p in model.parameters())


def test_values_custom_keys_win_and_rates_by_kind():
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    groups = groups_of(
        model,
        dict(
            no_decay=("norm", "bias"),
            lr_mult_by_kind=dict(bias=0.5),
            custom_keys={"1.weight": dict(decay_mult=2.0)},
        ),
    )
    options = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    assert options[id(model[0].weight)] == (1.0, 0.1)
    assert options[id(model[0].bias)] == (0.5, 0.0)
    assert options[id(model[1].weight)] == (1.0, 0.2)
    assert options[id(model[1].bias)] == (1.0, 0.0)


def test_raises_param_groups():
    with pytest.raises(ValueError, match="must name kinds"):
        groups_of(nn.Linear(1, 1), dict(no_decay=("biases",)))
    with pytest.raises(ValueError, match="everything is frozen"):
        groups_of(nn.Linear(1, 1).requires_grad_(False))


def test_values_lars_first_step_by_hand():
    weight = nn.Parameter(torch.tensor([3.0, 4.0]))
    weight.grad = torch.tensor([0.0, 2.0])
    LARS([weight], lr=2.0, momentum=0.9, eta=0.01).step()
    # q = 0.01 * 5 / 2; the step is lr * q * g
    torch.testing.assert_close(weight.detach(), torch.tensor([3.0, 4.0 - 2 * 0.025 * 2]))


def test_values_lars_clip_limits_to_plain_sgd():
    def step(lr: float) -> float:
        weight = nn.Parameter(torch.tensor([100.0]))
        weight.grad = torch.tensor([1.0])
        LARS([weight], lr=lr, eta=0.01, norm_of_sum=False, zero_norm="gradient", clip=True).step()
        return 100.0 - weight.item()

    # q = 0.01 * 100 / 1 = 1: above lr = 0.5 it is cut to it, below it decides
    assert step(0.5) == pytest.approx(0.5)
    assert step(4.0) == pytest.approx(1.0, rel=1e-5)


def test_equivalence_excluded_group_is_sgd():
    torch.manual_seed(0)
    start, grads = torch.randn(4, 3), torch.randn(5, 4, 3)
    weights = [nn.Parameter(start.clone()) for _ in range(2)]
    ours = LARS([dict(params=weights[:1], lars_exclude=True)], lr=0.1, weight_decay=0.01)
    theirs = torch.optim.SGD(weights[1:], lr=0.1, momentum=0.9, weight_decay=0.01)
    for grad in grads:
        for weight, optimizer in zip(weights, (ours, theirs)):
            weight.grad = grad.clone()
            optimizer.step()
    torch.testing.assert_close(weights[0], weights[1])


def test_state_lars_resumes():
    def run(steps, optimizer, weight):
        for step in steps:
            torch.manual_seed(step)
            weight.grad = torch.randn_like(weight)
            optimizer.step()

    weight = nn.Parameter(torch.ones(3, 2))
    optimizer = LARS([weight], lr=0.5)
    run(range(2), optimizer, weight)
    other = nn.Parameter(weight.detach().clone())
    resumed = LARS([other], lr=0.5)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    run(range(2, 4), optimizer, weight)
    run(range(2, 4), resumed, other)
    assert torch.equal(weight, other)


def test_raises_lars():
    weight = nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match="eta"):
        LARS([weight], lr=1.0, eta=-1.0)
    with pytest.raises(ValueError, match="zero_norm"):
        LARS([weight], lr=1.0, zero_norm="one")
    with pytest.raises(ValueError, match="norm_of_sum"):
        LARS([weight], lr=1.0, zero_norm="zero")


@pytest.mark.parametrize("wrapped", [False, True])
def test_values_scheduler_equals_the_formula(wrapped):
    sgd = torch.optim.SGD(
        [
            dict(params=[nn.Parameter(torch.ones(1))]),
            dict(params=[nn.Parameter(torch.ones(1))], lr=0.1),
        ],
        lr=0.2,
    )
    target = OptimWrapper(sgd) if wrapped else sgd
    schedule = WarmupCosineLR.build_iter_from_epoch(
        target, warmup=2, end=5, start_value=1e-6, epoch_length=4
    )
    for step in range(20):
        for group, peak in zip(sgd.param_groups, (0.2, 0.1)):
            expected = warmup_cosine(step, peak=peak, start=1e-6, end=0.0, warmup=8, total=20)
            assert group["lr"] == expected
        sgd.step()
        schedule.step()
    assert sgd.param_groups[0]["lr"] > 0


def test_values_ends_as_shares_of_each_group():
    sgd = torch.optim.SGD(
        [dict(params=[nn.Parameter(torch.ones(1))], lr=lr) for lr in (0.3, 0.02)], lr=1.0
    )
    schedule = WarmupCosineLR(
        sgd, warmup=4, end=10, start_ratio=0.01, eta_min_ratio=0.5, by_epoch=False
    )
    for step in range(10):
        for group, peak in zip(sgd.param_groups, (0.3, 0.02)):
            expected = warmup_cosine(
                step, peak=peak, start=0.01 * peak, end=0.5 * peak, warmup=4, total=10
            )
            assert group["lr"] == pytest.approx(expected, rel=1e-12), step
        sgd.step()
        schedule.step()


def test_state_scheduler_resumes():
    def build():
        sgd = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.2)
        return sgd, WarmupCosineLR(sgd, warmup=3, end=10, by_epoch=False)

    sgd, schedule = build()
    sgd.step()
    for _ in range(4):
        schedule.step()
    other_sgd, other = build()
    other.load_state_dict(schedule.state_dict())
    other_sgd.load_state_dict(sgd.state_dict())
    other_sgd.step()
    schedule.step()
    other.step()
    assert other_sgd.param_groups[0]["lr"] == sgd.param_groups[0]["lr"]


def test_raises_scheduler():
    sgd = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.2)
    with pytest.raises(ValueError, match="where the run ends"):
        WarmupCosineLR(sgd, warmup=1)
    with pytest.raises(ValueError, match="shorter than the run"):
        WarmupCosineLR(sgd, warmup=10, end=10)
    with pytest.raises(ValueError, match="got start_ratio=0.01 and start_value=0.1; give one"):
        WarmupCosineLR(sgd, end=10, start_ratio=0.01, start_value=0.1)
    with pytest.raises(ValueError, match="eta_min_ratio must be at least 0"):
        WarmupCosineLR(sgd, end=10, eta_min_ratio=-0.1)
    with pytest.raises(ValueError, match="known length"):
        WarmupCosineLR.build_iter_from_epoch(sgd, end=10)


@pytest.mark.parametrize(
    ("capabilities", "emulated"),
    [
        (dict(architecture="x86_64", avx512_bf16=False, amx_bf16=False), True),
        (dict(architecture="x86_64", avx512_bf16=True, amx_bf16=False), False),
        (dict(architecture="x86_64", avx512_bf16=False, amx_bf16=True), False),
        (dict(architecture="aarch64"), False),
        ({}, False),
    ],
)
def test_values_emulated_bfloat16(monkeypatch, capabilities, emulated):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert emulates_bfloat16() is emulated


def test_values_rates_by_module():
    """The classifier of a semi-supervised run has its own rate; the longer name is the more special."""
    model = nn.Sequential()
    model.add_module("trunk", nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))
    model.add_module("head", nn.Linear(2, 2))
    groups = groups_of(
        model, dict(lr_by_module={"head": 5.0, "trunk": 0.2, "trunk.1": 0.3}, no_decay=("bias",))
    )
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {
        names[id(p)]: (group["lr"], group["weight_decay"])
        for group in groups
        for p in group["params"]
    }
    rates = dict(head=5.0, **{"trunk.0": 0.2, "trunk.1": 0.3})
    assert found == {
        f"{name}.{kind}": (rate, 0.0 if kind == "bias" else 0.1)
        for name, rate in rates.items()
        for kind in ("weight", "bias")
    }
    custom = groups_of(
        model, dict(lr_by_module=dict(head=5.0), custom_keys=dict(head=dict(lr_mult=2.0)))
    )
    assert sorted(group["lr"] for group in custom) == [1.0, 2.0]


def test_raises_on_rates_of_absent_modules():
    with pytest.raises(ValueError, match="lr_by_module names haed, but Sequential has no such"):
        groups_of(nn.Sequential(nn.Linear(2, 2)), dict(lr_by_module=dict(haed=1.0)))


def test_values_constant_rate_whatever_the_schedule():
    """SimSiam's predictor; also after a resume, whose groups come out of the file."""
    model = nn.Sequential()
    model.add_module("trunk", nn.Linear(2, 2))
    model.add_module("head", nn.Linear(2, 2))
    config = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.5, weight_decay=0.1))
    constructor = ParamGroupConstructor(config, dict(constant_lr=("head",)))
    optimizer = constructor(model).optimizer
    for schedule in (WarmupCosineLR(optimizer, end=6), MultiStepLR(optimizer, [1], gamma=0.1)):
        for _ in range(3):
            for parameter in model.parameters():
                parameter.grad = torch.ones_like(parameter)
            before = model.head.bias.detach().clone()
            optimizer.step()
            # 0.5 x (gradient + 0.1 x weight)
            torch.testing.assert_close(before - model.head.bias, 0.5 * (1 + 0.1 * before))
            assert optimizer.param_groups[1]["lr"] == 0.5
            schedule.step()
        assert optimizer.param_groups[0]["lr"] < 0.4
    other = constructor(copy.deepcopy(model)).optimizer
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[1]["constant_lr"] and not other.param_groups[0].get("constant_lr")
    with pytest.raises(ValueError, match="constant_lr names haed"):
        groups_of(model, dict(constant_lr=("haed",)))
