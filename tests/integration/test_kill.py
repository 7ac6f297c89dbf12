"""Real processes, real signals: SIGKILL and SIGTERM at any moment, then `--resume`."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from mmssl.engine.hooks import latest_checkpoint
from mmssl.visualization.run_card import read_card
from tests.helpers.processes import TOY, train, wait_for

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
