"""Training by windows: epochs of the config become windows; a run killed inside a window is exact."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

from mmssl.datasets import SlidingWindowSampler
from mmssl.engine.hooks import latest_checkpoint
from mmssl.engine.runner import Runner
from mmssl.engine.schedulers import warmup_cosine
from mmssl.registry import HOOKS
from tests.helpers.killed import Killed
from tests.helpers.runs import run_toy, toy_config

pytestmark = pytest.mark.integration

# 24 images, windows of 9 moving by 3, batches of 4 of which the incomplete third is dropped
IMAGES, WINDOW, STRIDE, BATCH = 24, 9, 3, 4


def window_options(**changes) -> dict:
    """2 epochs: 6 windows (16 / 3 rounded up) of 2 iterations."""
    return {
        "train_dataloader.dataset.length": IMAGES,
        "train_dataloader.batch_size": BATCH,
        "train_dataloader.drop_last": True,
        "train_dataloader.sampler": dict(
            type="SlidingWindowSampler", _delete_=True, window=WINDOW, stride=STRIDE
        ),
        "train_cfg": dict(type="WindowLoop", max_epochs=2),
        "param_scheduler": [
            dict(
                type="WarmupCosineLR",
                warmup=0.5,
                start_value=1e-3,
                eta_min=1e-6,
                convert_to_iter_based=True,
            )
        ],
    } | changes


@HOOKS.register_module()
class SeenHook(Hook):
    """Notes the images, the window and the learning rate of every iteration."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, float, list[int]]] = []

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        rate = runner.optim_wrapper.get_lr()["lr"][0]
        self.seen.append((runner.epoch, rate, data_batch["inputs"].index.tolist()))


def run(folder: Path, hooks: tuple = (), resume: bool = False, **changes) -> tuple[Runner, list]:
    options = window_options(**changes)
    config = toy_config(folder, custom_hooks=[dict(type="SeenHook"), *hooks], **options)
    config.resume = resume
    runner = Runner.from_cfg(config)
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, SeenHook))
    with suppress(Killed):
        runner.train()
    return runner, hook.seen


def test_values_epochs_of_the_config_are_windows(tmp_path: Path) -> None:
    """Windows, learning rates, images and the names of checkpoints; the log explains what an epoch is."""
    runner, seen = run(
        tmp_path,
        **{
            "default_hooks.checkpoint": dict(type="CheckpointHook", interval=1),
            "log_level": "INFO",
        },
    )
    assert (runner.max_epochs, runner.max_iters, runner.epoch) == (6, 12, 6)
    # warm-up: 0.5 * 24 / 9, rounded up
    expected = [
        warmup_cosine(step, peak=0.1, start=1e-3, end=1e-6, warmup=4, total=12)
        for step in range(12)
    ]
    assert [rate for _, rate, _ in seen] == pytest.approx(expected, rel=1e-9)
    sampler = SlidingWindowSampler(range(IMAGES), WINDOW, stride=STRIDE, seed=0)
    for number in range(6):
        sampler.set_epoch(number)
        images = [index for _, index in sampler][: 2 * BATCH]
        assert sum((batch for epoch, _, batch in seen if epoch == number), []) == images
    # every 3 windows: an epoch is 24 / 9 of them
    assert sorted(path.name for path in tmp_path.glob("*.pth")) == ["epoch_3.pth", "epoch_6.pth"]
    (log,) = tmp_path.glob("*/*.log")
    assert "Finished: 6 of 6 windows" in (tmp_path / "report.html").read_text()
    assert (
        "a window of 9 of the 24 images, 2 iterations; the next begins 3 images later (stream). "
        "6 windows are the 2 epochs of the config." in log.read_text()
    )
    meta = torch.load(latest_checkpoint(tmp_path), weights_only=True)["meta"]
    assert meta["sampler"] == dict(
        images=24, window=9, stride=3, mode="stream", reshuffle=True, world_size=1
    )


@pytest.mark.parametrize("mode", ["stream", "mod"])
def test_state_killed_inside_a_window_and_resumed_is_bit_equal(tmp_path: Path, mode: str) -> None:
    """Killed in the second half of the fourth window, saved in the middle of it."""
    changes = {
        "train_dataloader.sampler": dict(
            type="SlidingWindowSampler", _delete_=True, window=16, stride=4, mode=mode
        ),
        "train_cfg": dict(type="WindowLoop", max_epochs=4),
        "default_hooks.checkpoint": dict(type="CheckpointHook", interval=2, by_epoch=False),
    }
    straight, whole = run(tmp_path / "straight", **changes)
    assert (straight.max_epochs, straight.max_iters) == (6, 24)
    _, first = run(tmp_path / "killed", (dict(type="KillHook", at=14),), **changes)
    assert latest_checkpoint(tmp_path / "killed").name == "iter_14.pth"
    resumed, second = run(tmp_path / "killed", resume=True, **changes)
    assert first[:14] + second == whole
    expected, found = straight.model.state_dict(), resumed.model.state_dict()
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(stride=1), r"another order: stride=3 \(now 1\)"),
        (dict(mode="mod"), r"mode=stream \(now mod\)"),
        (dict(reshuffle=False), r"reshuffle=True \(now False\)"),
    ],
)
def test_raises_resume_with_another_order(tmp_path: Path, changes: dict, message: str) -> None:
    run(tmp_path, (dict(type="KillHook", at=7),))
    sampler = window_options()["train_dataloader.sampler"] | changes
    with pytest.raises(ValueError, match=message):
        run(tmp_path, resume=True, **{"train_dataloader.sampler": sampler})


def test_raises_resume_with_more_images(tmp_path: Path) -> None:
    """As many windows of as many batches, but of other images."""
    run(tmp_path, (dict(type="KillHook", at=7),))
    with pytest.raises(ValueError, match=r"another order: images=24 \(now 25\)"):
        run(tmp_path, resume=True, **{"train_dataloader.dataset.length": IMAGES + 1})


def test_raises_window_loop_without_windows(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="CounterSampler; use train_cfg.type='EpochLoop'"):
        run_toy(tmp_path, train_cfg=dict(type="WindowLoop", max_epochs=2))


def test_raises_windows_smaller_than_a_batch(tmp_path: Path) -> None:
    options = window_options(**{"train_dataloader.batch_size": 10})
    with pytest.raises(ValueError, match="window of 9 images on 1 process.* no batch of 10"):
        run_toy(tmp_path, **options)


def test_values_schedules_and_hooks_that_count_epochs(tmp_path: Path) -> None:
    """What is given by iteration, or means never, stays."""
    hooks = [
        dict(type="FreezeHook", modules=["neck"], epochs=1),
        dict(type="CheckpointHook", interval=7, by_epoch=False),
        dict(type="CheckpointHook", interval=-1),
    ]
    options = window_options(custom_hooks=hooks)
    runner = Runner.from_cfg(toy_config(tmp_path, **options))
    loop = runner.train_loop
    found = [getattr(hook, "epochs", getattr(hook, "interval", None)) for hook in runner.hooks]
    assert {3, 7, -1} <= {value for value in found if isinstance(value, int)}
    by_epoch = dict(type="MultiStepLR", milestones=[1, 2], begin=0, end=2)
    by_iter = dict(type="LinearLR", begin=0, end=5, by_epoch=False)
    assert loop.in_windows([by_epoch, by_iter]) == [
        dict(type="MultiStepLR", milestones=[3, 6], begin=0, end=6),
        by_iter,
    ]
    assert by_epoch["milestones"] == [1, 2]
    assert (loop.val_begin, loop.val_interval) == (3, 3)


PIC = dict(
    _delete_=True,
    type="PIC",
    backbone=dict(type="ToyBackbone"),
    neck=dict(type="MLPNeck", hid_channels=16, out_channels=8),
)


@pytest.mark.parametrize(
    ("head", "workers"), [(dict(), 1), (dict(num_negatives=6), 0)], ids=["all_rows", "recent_rows"]
)
def test_state_pic_killed_inside_a_window_is_bit_equal(
    tmp_path: Path, head: dict, workers: int
) -> None:
    """Network, rows, what they owe and momenta; the second window spans two passes of the images."""
    hooks = (dict(type="InstanceRowsHook"),) if head else ()
    changes = {
        "model": PIC | dict(head=dict(num_instances=20, **head)),
        "train_dataloader.dataset": dict(type="ToyImages", length=20, sizes=[8, 6]),
        "train_dataloader.num_workers": workers,
        "train_dataloader.persistent_workers": True,
        "train_dataloader.sampler": dict(
            type="SlidingWindowSampler", _delete_=True, window=16, stride=8
        ),
        "train_cfg": dict(type="WindowLoop", max_epochs=3),
        "default_hooks.checkpoint": dict(type="CheckpointHook", interval=1, by_epoch=False),
    }
    straight, whole = run(tmp_path / "straight", hooks, **changes)
    assert (straight.max_epochs, straight.max_iters) == (4, 16)
    killed = (*hooks, dict(type="KillHook", at=5))
    _, first = run(tmp_path / "killed", killed, **changes)
    assert latest_checkpoint(tmp_path / "killed").name == "iter_6.pth"
    resumed, second = run(tmp_path / "killed", hooks, resume=True, **changes)
    assert first[:6] + second == whole
    expected, found = straight.model.state_dict(), resumed.model.state_dict()
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value), key
    for key, entry in straight.optim_wrapper.state_dict()["state"].items():
        again = resumed.optim_wrapper.state_dict()["state"][key]
        assert torch.equal(again["momentum_buffer"], entry["momentum_buffer"])
