"""The share of waiting for data and the seconds per phase, on a clock that the test moves."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from mmssl.engine.hooks import DataTimeHook, data_time_hook
from mmssl.engine.runner import Runner
from tests.helpers.runs import run_toy
from tests.helpers.toy import ToyImages, ToyMethod

IMAGE, STEP, SAVE = 1.0, 12.0, 2.0


@pytest.fixture
def clock(monkeypatch):
    """Reading an image takes 1 s, a step 12 s, a checkpoint 2 s; everything else takes no time."""
    state = SimpleNamespace(now=0.0)

    def slow(owner, name, seconds):
        original = getattr(owner, name)

        def wrapped(*args, **kwargs):
            state.now += seconds
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, wrapped)

    slow(ToyImages, "__getitem__", IMAGE)
    slow(ToyMethod, "loss", STEP)
    slow(Runner, "save_checkpoint", SAVE)
    monkeypatch.setattr(data_time_hook, "time", SimpleNamespace(perf_counter=lambda: state.now))
    return state


def run(work_dir, **changes):
    runner = run_toy(
        work_dir,
        train_dataloader=dict(dataset=dict(type="ToyImages", length=24)),
        **{
            "default_hooks.data_time": dict(type="DataTimeHook"),
            "default_hooks.logger.interval": 2,
        },
        **changes,
    )
    return next(hook for hook in runner.hooks if isinstance(hook, DataTimeHook))


def logged(work_dir, name):
    (path,) = work_dir.glob("*/vis_data/scalars.json")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [record[name] for record in records if name in record]


def test_values_phases_and_share(tmp_path, clock):
    """3 epochs of 6 iterations of 4 images: 72 s of data, 216 s of steps, 3 checkpoints of 2 s."""
    hook = run(tmp_path / "run")
    assert hook.seconds["data"] == 18 * 4 * IMAGE
    assert hook.seconds["step"] == 18 * STEP
    assert hook.seconds["checkpoints"] == 3 * SAVE
    assert sum(hook.seconds.values()) == clock.now
    assert hook.data_wait == pytest.approx(25.0)
    assert logged(tmp_path / "run", "data_wait") == pytest.approx([25.0] * 9)


def test_values_share_follows_the_window(tmp_path, clock, monkeypatch):
    """From iteration 7 on an image takes 11 s, a batch 44: the share climbs to 44 / 56."""
    original = ToyImages.__getitem__

    def slower(self, key):
        clock.now += 10.0 if key[0] >= 1 else 0.0
        return original(self, key)

    monkeypatch.setattr(ToyImages, "__getitem__", slower)
    shares = run(tmp_path / "run", **{"default_hooks.data_time.window": 2})
    values = logged(tmp_path / "run", "data_wait")
    assert values[:3] == pytest.approx([25.0] * 3)
    assert values[3:] == pytest.approx([100 * 44 / 56] * 6)
    assert shares.data_wait == pytest.approx(100 * (24 + 528) / (24 + 528 + 216))


def test_values_checkpoints_inside_epochs_are_no_data(tmp_path, clock):
    """mmengine's `data_time` counts a checkpoint between two iterations as data; `data_wait` does not."""
    hook = run(
        tmp_path / "run",
        **{"default_hooks.checkpoint.by_epoch": False, "default_hooks.checkpoint.interval": 1},
    )
    assert hook.seconds["data"] == 18 * 4 * IMAGE
    assert hook.seconds["checkpoints"] == 18 * SAVE
    assert hook.data_wait == pytest.approx(25.0)


def test_values_before_the_first_step():
    assert DataTimeHook().data_wait == 0.0
