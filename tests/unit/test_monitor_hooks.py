"""CollapseHook and KNNHook in short runs: planted faults are named, healthy and resumed runs unharmed."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from mmssl.engine.hooks import CollapseError, CollapseHook, KNNHook
from tests.helpers.monitored import Fault, Gratings
from tests.helpers.monitored_run import monitored_runner

DATA = Gratings()
PLANTED = [
    ("constant", "constant embedding"),
    ("rank_one", "dimensional collapse"),
    ("frozen_twin", "frozen twin"),
    ("diverging_twin", "diverging twin"),
    ("uniform", "uniform prediction"),
    ("same_views", "loss at its floor"),
]


def hook_of(runner: Any, kind: type) -> Any:
    return next(hook for hook in runner.hooks if isinstance(hook, kind))


def watch(path: Path, fault: Fault, steps: int, seed: int = 0, **options: Any) -> CollapseHook:
    runner = monitored_runner(
        path,
        fault=fault,
        seed=seed,
        epochs=steps // 2,
        lr=options.pop("lr", 0.05),
        dataset=DATA,
        hooks=[dict(type="CollapseHook", **options)],
        checkpoints=False,
    )
    runner.train()
    return hook_of(runner, CollapseHook)


@pytest.mark.parametrize(("fault", "name"), PLANTED)
def test_values_planted_fault_is_named(tmp_path: Path, fault: Fault, name: str) -> None:
    hook = watch(tmp_path, fault, 40 if fault == "constant" else 24, interval=8, lr=0.2)
    assert name in {found.name for found in hook.faults}


def test_values_healthy_run_raises_no_alarm(tmp_path: Path) -> None:
    assert watch(tmp_path, "none", 40, interval=8).faults == []


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "name"), PLANTED)
def test_values_planted_fault_within_200_steps(tmp_path: Path, fault: Fault, name: str) -> None:
    assert name in {found.name for found in watch(tmp_path, fault, 200).faults}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_values_twenty_healthy_runs(tmp_path: Path, seed: int) -> None:
    hook = watch(tmp_path, "none", 200, seed, lr=(0.02, 0.05, 0.1, 0.3)[seed % 4])
    assert hook.faults == []


def test_values_stop_and_logged_scalars(tmp_path: Path) -> None:
    runner = monitored_runner(
        tmp_path,
        fault="rank_one",
        epochs=30,
        dataset=DATA,
        hooks=[dict(type="CollapseHook", interval=4, action="stop")],
    )
    with pytest.raises(CollapseError, match=r"dimensional collapse \(neck\) since iteration 4"):
        runner.train()
    assert runner.iter == 11  # the third check is the first verdict
    assert runner.message_hub.get_scalar("train/neck_rank").current() == pytest.approx(1, abs=0.01)
    assert 0 < runner.message_hub.get_scalar("train/backbone_spread").current() < 1.1
    assert not runner.model.neck._forward_hooks


def trained(path: Path, hooks: list[dict], epochs: int = 3, resume: bool = False) -> Any:
    runner = monitored_runner(path, epochs=epochs, hooks=hooks, dataset=DATA, resume=resume)
    runner.train()
    return runner


MONITORS = [
    dict(type="CollapseHook", interval=2),
    dict(type="KNNHook", train=Gratings(40), val=Gratings(20), k=5, branch="both", num_train=20),
]


def same_weights(first: Any, second: Any) -> bool:
    other = second.model.state_dict()
    return all(torch.equal(value, other[key]) for key, value in first.model.state_dict().items())


def test_equivalence_with_an_unwatched_run(tmp_path: Path) -> None:
    watched, plain = trained(tmp_path / "a", MONITORS), trained(tmp_path / "b", [])
    assert same_weights(watched, plain)


def test_state_of_a_resumed_run(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", MONITORS, epochs=4)
    trained(tmp_path / "cut", MONITORS, epochs=4)
    (tmp_path / "cut" / "epoch_4.pth").unlink()
    (tmp_path / "cut" / "epoch_3.pth").unlink()
    resumed = trained(tmp_path / "cut", MONITORS, epochs=4, resume=True)
    assert same_weights(whole, resumed)
    assert hook_of(resumed, KNNHook).history == hook_of(whole, KNNHook).history
    states = [hook_of(r, CollapseHook).doctor.state_dict() for r in (whole, resumed)]
    assert states[0] == states[1]


def test_values_knn_hook(tmp_path: Path) -> None:
    runner = trained(tmp_path, MONITORS, epochs=3)
    history = hook_of(runner, KNNHook).history
    assert [(entry["epoch"], entry["iter"]) for entry in history] == [
        (0, 0),
        (1, 2),
        (2, 4),
        (3, 6),
    ]
    assert set(history[0]) == {
        "epoch", "iter",
        "knn/online_top1", "knn/online_top5", "knn/twin_top1", "knn/twin_top5",
    }  # fmt: skip
    assert history[0]["knn/online_top1"] == history[0]["knn/twin_top1"]  # a twin starts as a copy
    assert 25 < history[-1]["knn/online_top1"] <= history[-1]["knn/online_top5"]  # chance is 25
    logged = runner.message_hub.get_scalar("knn/twin_top1")
    assert logged.current() == history[-1]["knn/twin_top1"]


def test_values_knn_without_validation_set_and_interval(tmp_path: Path) -> None:
    hook = dict(type="KNNHook", train=Gratings(40), k=5, interval=2, at_start=False)
    history = hook_of(trained(tmp_path, [hook], epochs=3), KNNHook).history
    assert [entry["epoch"] for entry in history] == [2, 3]
    assert set(history[0]) == {"epoch", "iter", "knn/top1", "knn/top5"}


def test_values_no_labels_no_metric(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hook = dict(type="KNNHook", train=Gratings(8, labelled=False))
    runner = monitored_runner(tmp_path, epochs=1, hooks=[hook], dataset=DATA)
    runner.logger.addHandler(caplog.handler)
    runner.train()
    assert hook_of(runner, KNNHook).history == []
    assert not any(key.startswith("knn") for key in runner.message_hub.log_scalars)
    warnings = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert any("no image of its train dataset has a label" in text for text in warnings)


def test_raises_on_options(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'warn' or 'stop'"):
        CollapseHook(action="halt")
    with pytest.raises(ValueError, match="takes min_spread, low_spread, min_rank, .*got rank"):
        CollapseHook(doctor=dict(rank=3))
    assert CollapseHook(doctor=dict(min_rank=1.5)).doctor.min_rank == 1.5
    with pytest.raises(ValueError, match="branch"):
        KNNHook(Gratings(4), branch="teacher")
