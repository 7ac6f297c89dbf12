"""Real processes, real signals: SIGKILL and SIGTERM at any moment, then `--resume`."""

from __future__ import annotations

import multiprocessing
import os
import signal

import pytest
import torch
from mmengine.hooks import Hook

from mmssl.engine.hooks import Preempted, latest_checkpoint
from mmssl.registry import HOOKS
from mmssl.visualization.run_card import read_card
from tests.helpers.processes import TOY, train, wait_for
from tests.helpers.runs import run_toy

pytestmark = pytest.mark.integration


def final_weights(work_dir):
    checkpoint = torch.load(latest_checkpoint(work_dir), weights_only=True)
    assert checkpoint["meta"]["iter"] == 60
    return checkpoint["state_dict"]


@pytest.mark.parametrize("accumulate", [1, 3])
def test_state_after_sigkill_is_bit_equal(tmp_path, accumulate):
    """Killed where the scheduler happens to be; resumed from the newest checkpoint (every 7th)."""
    options = ("--accumulate", accumulate)
    straight = train(TOY, "--work-dir", tmp_path / "a", *options, log=tmp_path / "a.log")
    killed = train(TOY, "--work-dir", tmp_path / "b", *options, log=tmp_path / "b.log")
    wait_for("Saving checkpoint at 14 iterations", tmp_path / "b.log", killed)
    os.killpg(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    resumed = train(TOY, "--work-dir", tmp_path / "b", "--resume", *options, log=tmp_path / "c.log")
    assert resumed.wait(240) == 0, (tmp_path / "c.log").read_text()[-3000:]
    assert straight.wait(240) == 0
    expected, found = final_weights(tmp_path / "a"), final_weights(tmp_path / "b")
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


@HOOKS.register_module()
class ForkHook(Hook):
    """Notes what a forked process would do on SIGTERM."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter == 0:
            with multiprocessing.get_context("fork").Pool(1) as pool:
                handler = pool.apply(signal.getsignal, (signal.SIGTERM,))
            runner.message_hub.update_info("child", int(handler))


def test_forked_workers_die_of_sigterm_at_once(tmp_path):
    """An inherited Python handler may never run in a worker that waits for a lock."""
    runner = run_toy(tmp_path, custom_hooks=[dict(type="ForkHook")])
    assert runner.message_hub.get_info("child") == signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@HOOKS.register_module()
class TermHook(Hook):
    """Sends SIGTERM to its own process."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter == 7:
            os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_without_a_checkpoint_hook(tmp_path):
    options = {"custom_hooks": [dict(type="TermHook")], "default_hooks.checkpoint": None}
    with pytest.raises(Preempted):
        run_toy(tmp_path, **options)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert latest_checkpoint(tmp_path).name == "iter_8.pth"


def test_sigterm_saves_and_exits_cleanly(tmp_path):
    process = train(TOY, "--work-dir", tmp_path / "run", log=tmp_path / "log")
    wait_for("Epoch(train)", tmp_path / "log", process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert "SIGTERM: saved" in (tmp_path / "log").read_text()
    checkpoint = torch.load(latest_checkpoint(tmp_path / "run"), weights_only=True)
    assert 0 < checkpoint["meta"]["iter"] < 60
    card = read_card(tmp_path / "run")
    assert (card["state"], card["ended_by"]) == ("interrupted", "SIGTERM")
    resumed = train(TOY, "--work-dir", tmp_path / "run", "--resume", log=tmp_path / "log2")
    assert resumed.wait(240) == 0
    straight = train(TOY, "--work-dir", tmp_path / "straight", log=tmp_path / "log3")
    assert straight.wait(240) == 0
    expected, found = final_weights(tmp_path / "straight"), final_weights(tmp_path / "run")
    assert all(torch.equal(found[key], value) for key, value in expected.items())
