"""Runs of PIC: what is refused, what a checkpoint holds, steps that are put off or skipped."""

from __future__ import annotations

import copy

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


@HOOKS.register_module()
class FirstRowsHook(Hook):
    """Keeps what the rows are when a run begins."""

    priority = "VERY_LOW"

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == 0:
            self.rows = copy.deepcopy(runner.model.head.rows)


def test_state_weights_of_a_run_begin_another(tmp_path):
    """`load_from` a file from inside of an accumulation: no gradient, momentum or image of it stays."""
    options = {"optim_wrapper.accumulative_counts": 3}
    head = dict(SAMPLED, init_recent="all")
    train(pic_config(tmp_path / "a", head, **options))
    file = tmp_path / "a" / "iter_4.pth"
    saved = torch.load(file, weights_only=True)["state_dict"]
    assert len(saved["head.rows.gradient"]) and saved["head.rows.momentum"].any()
    hooks = [dict(type="InstanceRowsHook"), dict(type="FirstRowsHook")]
    runner = train(pic_config(tmp_path / "b", head, load_from=str(file), custom_hooks=hooks))
    rows = next(hook.rows for hook in runner.hooks if isinstance(hook, FirstRowsHook))
    assert (rows.num_steps, len(rows.gradient), len(rows.batch)) == (0, 0, 0)
    assert rows.recent.known.tolist() == list(range(19, 24))
    assert not rows.all_rows()[1].any()
    assert torch.equal(rows.all_rows()[0], saved["head.rows.weight"])


def test_state_a_run_of_a_parameter_begins_one_of_sampled_rows(tmp_path):
    first = train(pic_config(tmp_path / "a", {}, custom_hooks=[]))
    file = str(tmp_path / "a" / "iter_8.pth")
    config = pic_config(tmp_path / "b", SAMPLED, load_from=file)
    runner = Runner.from_cfg(config)
    runner.load_or_resume()
    saved = torch.load(file, weights_only=True)["state_dict"]["head.weight"]
    assert torch.equal(runner.model.head.class_weights(), saved)
    assert train(config).iter == first.iter
    with pytest.raises(ValueError, match="takes them out of the optimizer.*load_from"):
        train(pic_config(tmp_path / "a", SAMPLED, resume=True))


def test_raises_on_a_classifier_that_nobody_leaves_out(tmp_path):
    with pytest.raises(RuntimeError, match="save_classifier=False has no effect here"):
        train(pic_config(tmp_path, dict(save_classifier=False), custom_hooks=[]))


@pytest.mark.parametrize("accumulate", [1, 3])
def test_state_files_without_the_classifier_lack_its_momentum_too(tmp_path, accumulate):
    """Nothing in them is as large as the rows."""
    head, rows = dict(num_instances=24, save_classifier=False), (24, 6)
    options = {
        "optim_wrapper.optimizer.momentum": 0.9,
        "optim_wrapper.accumulative_counts": accumulate,
    }
    config = pic_config(tmp_path, head, **options)
    train(config)
    sizes = {}
    for name in ("iter_4", "iter_8"):
        file = torch.load(tmp_path / f"{name}.pth", weights_only=True)
        state = file["optimizer"]["state"].values()
        tensors = [*file["state_dict"].values(), *file["gradients"].values()]
        tensors += [item for items in state for item in items.values() if torch.is_tensor(item)]
        assert len(tensors) > 5 and all(tuple(tensor.shape) != rows for tensor in tensors)
        sizes[name] = (tmp_path / f"{name}.pth").stat().st_size
    train(pic_config(tmp_path / "whole", {}, **options))
    numbers = 4 * rows[0] * rows[1]
    for name, size in sizes.items():
        assert (tmp_path / "whole" / f"{name}.pth").stat().st_size - size > 2 * numbers
