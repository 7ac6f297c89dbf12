"""Runs of PIC: what is refused, what a checkpoint holds, steps that are put off or skipped."""

from __future__ import annotations

import pytest
import torch
from mmengine.hooks import Hook

from mmssl.engine.runner import Runner
from mmssl.registry import HOOKS
from tests.helpers.killed import Killed
from tests.helpers.pic_runs import pic_config

pytestmark = pytest.mark.integration
SAMPLED = dict(num_negatives=5)


def train(config) -> Runner:
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


def state_of(runner: Runner) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in runner.model.state_dict().items()}


def test_raises_without_a_hook_that_steps_the_rows(tmp_path):
    with pytest.raises(RuntimeError, match="no hook steps them. Add dict.type='InstanceRowsHook'"):
        train(pic_config(tmp_path, SAMPLED, custom_hooks=[]))


@pytest.mark.parametrize("head", [{}, SAMPLED])
def test_raises_on_another_number_of_images(tmp_path, head):
    with pytest.raises(ValueError, match=r"Set model\.head\.num_instances=24"):
        train(pic_config(tmp_path, head | dict(num_instances=20)))


@pytest.mark.parametrize("head", [{}, SAMPLED])
def test_state_checkpoints_without_the_classifier(tmp_path, head):
    """They are no end of a run, but a beginning of others."""
    head = head | dict(save_classifier=False)
    first = train(pic_config(tmp_path / "first", head))
    file = tmp_path / "first" / "iter_8.pth"
    saved = torch.load(file, weights_only=True)["state_dict"]
    assert saved and not any(key.startswith("head.") for key in saved)
    assert len(saved) == sum(not key.startswith("head.") for key in first.model.state_dict())
    with pytest.raises(ValueError, match="written with save_classifier=False"):
        train(pic_config(tmp_path / "first", head, resume=True))
    config = pic_config(tmp_path / "second", head, load_from=str(file))
    config.train_cfg.max_epochs = 1
    runner = Runner.from_cfg(config)
    runner.load_or_resume()
    for key, value in saved.items():
        assert torch.equal(runner.model.state_dict()[key], value), key
    assert train(config).iter == 3


@pytest.mark.parametrize("accumulate", [1, 2, 3])
@pytest.mark.parametrize("head", [SAMPLED, dict(SAMPLED, storage="host"), dict(shard=True)])
def test_state_resumed_run_is_bit_equal(tmp_path, head, accumulate):
    """Killed behind the fourth of nine iterations, inside of an epoch and of three batches for a step."""
    options = {"optim_wrapper.accumulative_counts": accumulate}
    straight = state_of(train(pic_config(tmp_path / "a", head, **options)))
    hooks = [dict(type="InstanceRowsHook"), dict(type="KillHook", at=4)]
    with pytest.raises(Killed):
        train(pic_config(tmp_path / "b", head, custom_hooks=hooks, **options))
    resumed = train(pic_config(tmp_path / "b", head, resume=True, **options))
    rows = resumed.model.head.rows
    assert rows.num_steps == 9 // accumulate + (9 % accumulate > 0)
    state = state_of(resumed)
    assert state.keys() == straight.keys()
    for key, value in straight.items():
        assert torch.equal(state[key], value), key


@HOOKS.register_module()
class NaNHook(Hook):
    """Makes the loss of an iteration NaN."""

    def __init__(self, at: int) -> None:
        self.at = at

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        bias = runner.model.neck.layers[0].bias
        if runner.iter == self.at:
            self.bias = bias.detach().clone()
            bias.data.fill_(float("nan"))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter == self.at:
            runner.model.neck.layers[0].bias.data.copy_(self.bias)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_state_a_loss_that_is_not_finite_skips_the_rows_too(tmp_path, accumulate):
    """One step less, for the rows as for the network, and nothing of the batch stays."""
    config = pic_config(tmp_path, SAMPLED, **{"optim_wrapper.accumulative_counts": accumulate})
    config.custom_hooks = [*config.custom_hooks, dict(type="NaNHook", at=4)]
    config.default_hooks.finite_loss.max_skipped = 1
    config.train_cfg.max_epochs = 2
    runner = train(config)
    rows = runner.model.head.rows
    assert rows.num_steps == 6 // accumulate - 1
    assert len(rows.gradient) == len(rows.batch) == 0
    assert all(torch.isfinite(part).all() for part in rows.all_rows())
