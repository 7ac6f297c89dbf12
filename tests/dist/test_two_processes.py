"""Two gloo processes started by tools/dist_train.sh."""

from __future__ import annotations

import os
import signal

import psutil
import pytest
import torch

from mmssl.engine.hooks import latest_checkpoint
from tests.helpers.processes import TOY, start, train, wait_for

pytestmark = pytest.mark.dist
NO_DROP = ("model.drop=0.0", "model.spread=0.0", "train_dataloader.num_workers=0", "train_dataloader.persistent_workers=False")


@pytest.mark.parametrize("accumulate", [1, 2])
def test_equivalence_with_one_process_of_twice_the_batch(tmp_path, accumulate):
    two = start(
        "bash", "tools/dist_train.sh", TOY, "2", "--work-dir", tmp_path / "two",
        "--accumulate", accumulate,
        "--cfg-options", *NO_DROP, "train_dataloader.batch_size=4",
        log=tmp_path / "two.log",
    )  # fmt: skip
    one = train(
        TOY, "--work-dir", tmp_path / "one", "--accumulate", accumulate,
        "--cfg-options", *NO_DROP, "train_dataloader.batch_size=8",
        log=tmp_path / "one.log",
    )  # fmt: skip
    assert one.wait(240) == 0, (tmp_path / "one.log").read_text()[-3000:]
    assert two.wait(240) == 0, (tmp_path / "two.log").read_text()[-3000:]
    states = [
        torch.load(latest_checkpoint(tmp_path / name), weights_only=True)["state_dict"]
        for name in ("one", "two")
    ]
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, rtol=1e-5, atol=1e-6, msg=key)


def test_state_resumed_after_sigterm_on_two_ranks(tmp_path):
    """SIGTERM inside an accumulation of 3; both ranks leave, and go on, with what they had."""
    command = ("bash", "tools/dist_train.sh", TOY, "2", "--accumulate", "3")
    straight = start(*command, "--work-dir", tmp_path / "a", log=tmp_path / "a.log")
    assert straight.wait(240) == 0, (tmp_path / "a.log").read_text()[-3000:]
    process = start(*command, "--work-dir", tmp_path / "b", log=tmp_path / "b.log")
    wait_for("Epoch(train)", tmp_path / "b.log", process)
    process.send_signal(signal.SIGTERM)
    process.wait(90)
    assert "SIGTERM: saved" in (tmp_path / "b.log").read_text()
    there = torch.load(latest_checkpoint(tmp_path / "b"), weights_only=True)["meta"]["iter"]
    resumed = start(*command, "--work-dir", tmp_path / "b", "--resume", log=tmp_path / "c.log")
    assert resumed.wait(240) == 0, (tmp_path / "c.log").read_text()[-3000:]
    states = [
        torch.load(latest_checkpoint(tmp_path / name), weights_only=True) for name in ("a", "b")
    ]
    assert 0 < there < states[0]["meta"]["iter"] == states[1]["meta"]["iter"]
    for key, value in states[0]["state_dict"].items():
        torch.testing.assert_close(states[1]["state_dict"][key], value, rtol=1e-6, atol=1e-7)


def test_a_broken_loss_is_told_by_the_rank_that_has_it(tmp_path):
    process = start(
        "bash", "tools/dist_train.sh", TOY, "2", "--work-dir", tmp_path / "run",
        "--cfg-options", "model.nan_at=2", "model.nan_rank=1",
        log=tmp_path / "log",
    )  # fmt: skip
    assert process.wait(120) != 0
    text = (tmp_path / "log").read_text()
    assert "Non-finite loss at iteration 3 (epoch 1): [rank 1] loss = nan, loss_distance = nan" in text
    assert "[rank 0]" not in text.partition("Non-finite loss")[2].partition("The step")[0]


def test_dead_rank_ends_the_others(tmp_path):
    process = start(
        "bash", "tools/dist_train.sh", TOY, "2", "--work-dir", tmp_path / "run",
        "--cfg-options", "train_cfg.max_epochs=100000",
        log=tmp_path / "log",
    )  # fmt: skip
    try:
        wait_for("Epoch(train)", tmp_path / "log", process)
        ranks = [
            child
            for child in psutil.Process(process.pid).children(recursive=True)
            if any(word.endswith("tools/train.py") for word in child.cmdline())
            and child.environ().get("RANK") == "1"
        ]
        ranks[0].send_signal(signal.SIGKILL)
        assert process.wait(60) != 0
        assert "Signal 9 (SIGKILL)" in (tmp_path / "log").read_text()
    finally:
        if process.poll() is None:  # torchrun's ranks are in process groups of their own
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            os.killpg(process.pid, signal.SIGKILL)
