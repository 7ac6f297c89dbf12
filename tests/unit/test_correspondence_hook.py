"""CorrespondenceHook in short runs: values, resume, and a training that does not notice it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmssl.engine.config_check import ConfigError, check_config
from mmssl.engine.hooks import CorrespondenceHook
from tests.helpers.monitored import Gratings
from tests.helpers.monitored_run import monitored_runner
from tests.helpers.runs import toy_config

DATA = Gratings()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number in range(10):
        pixels = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((48, 40)).save(root / f"{number}.png")
    return str(root)


def hook_config(folder: str, **options: Any) -> dict[str, Any]:
    dataset = dict(type="ImageFolder", root=folder)
    return dict(type="CorrespondenceHook", dataset=dataset, size=32, batch_size=4) | options


def trained(path: Path, hooks: list[dict], **options: Any) -> Any:
    runner = monitored_runner(path, hooks=hooks, dataset=DATA, **({"epochs": 3} | options))
    runner.train()
    return runner


def hook_of(runner: Any) -> CorrespondenceHook:
    return next(hook for hook in runner.hooks if isinstance(hook, CorrespondenceHook))


def test_values_history_and_log(tmp_path: Path, folder: str) -> None:
    config = hook_config(folder, interval=2, branch="both", num_images=6)
    runner = trained(tmp_path, [config])
    history = hook_of(runner).history
    assert [(entry["epoch"], entry["iter"]) for entry in history] == [(0, 0), (2, 4), (3, 6)]
    start, last = history[0], history[-1]
    assert start["correspondence/online_accuracy"] == start["correspondence/twin_accuracy"]
    assert start["correspondence/online_error"] == start["correspondence/twin_error"]
    assert all(0 <= entry["correspondence/online_accuracy"] <= 1 for entry in history)
    assert last["correspondence/online_error"] != last["correspondence/twin_error"]
    logged = runner.message_hub.get_scalar("correspondence/twin_error")
    assert logged.current() == last["correspondence/twin_error"]


def test_values_one_branch_without_start(tmp_path: Path, folder: str) -> None:
    runner = trained(tmp_path, [hook_config(folder, at_start=False)], epochs=1)
    (entry,) = hook_of(runner).history
    assert set(entry) == {"epoch", "iter", "correspondence/accuracy", "correspondence/error"}


def test_state_of_a_resumed_run_and_of_the_training(tmp_path: Path, folder: str) -> None:
    hooks = [hook_config(folder)]
    plain, whole = trained(tmp_path / "plain", []), trained(tmp_path / "whole", hooks)
    trained(tmp_path / "cut", hooks)
    (tmp_path / "cut" / "epoch_3.pth").unlink()
    resumed = trained(tmp_path / "cut", hooks, resume=True)
    assert hook_of(resumed).history == hook_of(whole).history
    for other in (whole, resumed):
        state = other.model.state_dict()
        assert all(torch.equal(v, state[k]) for k, v in plain.model.state_dict().items())


def test_raises_on_options(tmp_path: Path, folder: str) -> None:
    with pytest.raises(ValueError, match="CorrespondenceHook takes branch"):
        CorrespondenceHook(dict(type="ImageFolder", root=folder), interval=0)
    with pytest.raises(ValueError, match=r"leave out dataset\.views"):
        CorrespondenceHook(dict(type="ImageFolder", root=folder, views=dict(type="MultiView")))
    config = toy_config(tmp_path, custom_hooks=[hook_config(folder)])
    check_config(config)
    config.custom_hooks[0]["numb_images"] = "twin"
    with pytest.raises(ConfigError, match="numb_images"):
        check_config(config)
