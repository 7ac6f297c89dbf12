"""A loss that is not finite stops the run before it does harm, or is skipped where that was asked for."""

from __future__ import annotations

import pytest
import torch

from mmssl.engine.hooks import NonFiniteLossError, latest_checkpoint
from mmssl.engine.runner import Runner
from tests.helpers.runs import run_toy, toy_config

pytestmark = pytest.mark.integration


def test_raises_with_iteration_parts_and_files(tmp_path):
    """NaN in iteration 9 (0-based 8): the error tells, and epoch 1's checkpoint is the last."""
    with pytest.raises(NonFiniteLossError) as error:
        run_toy(tmp_path / "run", model=dict(type="ToyMethod", nan_at=8))
    text = str(error.value)
    assert "iteration 9 (epoch 2)" in text
    assert "loss_distance = nan" in text and "loss_spread = 0." in text
    assert text.count(".png") == 4
    checkpoint = torch.load(latest_checkpoint(tmp_path / "run"), weights_only=True)
    assert checkpoint["meta"]["iter"] == 6
    assert all(value.isfinite().all() for value in checkpoint["state_dict"].values())


def test_tolerated_step_is_skipped(tmp_path):
    runner = run_toy(
        tmp_path / "run",
        model=dict(type="ToyMethod", nan_at=8),
        **{"default_hooks.finite_loss.max_skipped": 1},
    )
    assert runner.iter == 18
    assert all(value.isfinite().all() for value in runner.model.state_dict().values())
    assert runner.message_hub.get_info("num_skipped_steps") == 1


def test_skipped_step_leaves_weights_alone(tmp_path):
    runner = Runner.from_cfg(toy_config(tmp_path / "run", model=dict(type="ToyMethod", nan_at=0)))
    before = {key: value.clone() for key, value in runner.model.state_dict().items()}
    runner.model.init_weights = lambda: None
    with pytest.raises(NonFiniteLossError):
        runner.train()
    for key, value in runner.model.head.state_dict().items():
        assert torch.equal(value, before[f"head.{key}"])
