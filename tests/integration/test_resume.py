"""A run that was interrupted anywhere ends with the weights of the run that was not."""

from __future__ import annotations

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import BatchSampler

from mmssl.engine.hooks import latest_checkpoint
from mmssl.engine.runner import Runner
from mmssl.registry import HOOKS
from tests.helpers.killed import Killed
from tests.helpers.runs import run_toy, toy_config

pytestmark = pytest.mark.integration


def final_state(runner: Runner) -> dict:
    state = {f"model/{key}": value for key, value in runner.model.state_dict().items()}
    for key, entry in runner.optim_wrapper.state_dict()["state"].items():
        state[f"momentum/{key}"] = entry["momentum_buffer"]
    state["lr"] = torch.tensor(runner.optim_wrapper.get_lr()["lr"])
    return state


CHECKPOINTS = {
    "epoch": {},
    "iter": {"default_hooks.checkpoint": dict(type="CheckpointHook", interval=4, by_epoch=False)},
}


@pytest.mark.parametrize("saved", CHECKPOINTS)
@pytest.mark.parametrize("accumulate", [1, 3, 4])
@pytest.mark.parametrize("update_at", ["after_step", "before_forward"])
def test_state_resumed_run_is_bit_equal(tmp_path, saved, accumulate, update_at):
    """Killed at iteration 11 of 18: 4 of accumulation 3 and 4, inside the second epoch."""
    options = {
        "optim_wrapper.accumulative_counts": accumulate,
        "model": dict(type="ToyMethod", update_at=update_at, drop=0.2),
        **CHECKPOINTS[saved],
    }
    straight = final_state(run_toy(tmp_path / "straight", **options))
    with pytest.raises(Killed):
        run_toy(tmp_path / "killed", custom_hooks=[dict(type="KillHook", at=11)], **options)
    resumed = run_toy(tmp_path / "killed", resume=True, **options)
    assert resumed.iter == 18
    state = final_state(resumed)
    assert state.keys() == straight.keys()
    for key, value in straight.items():
        assert torch.equal(state[key], value), key


def test_state_resumed_with_a_sampler_that_cannot_skip(tmp_path):
    """mmengine's sampler, as the families use it: what was seen is loaded again and dropped."""
    options = {
        "train_dataloader.sampler": dict(type="DefaultSampler", shuffle=True),
        **CHECKPOINTS["iter"],
    }
    straight = final_state(run_toy(tmp_path / "straight", **options))
    with pytest.raises(Killed):
        run_toy(tmp_path / "killed", custom_hooks=[dict(type="KillHook", at=10)], **options)
    state = final_state(run_toy(tmp_path / "killed", resume=True, **options))
    for key, value in straight.items():
        assert torch.equal(state[key], value), key


@DATA_SAMPLERS.register_module()
class ToyBatchSampler(BatchSampler):
    """A batch sampler of its own, as mmdet's by aspect ratio: the loader's `sampler` is then a dummy."""

    def __init__(self, sampler, batch_size, drop_last=True) -> None:
        super().__init__(sampler, batch_size, drop_last)


def test_state_resumed_with_a_batch_sampler_and_a_drawn_seed(tmp_path):
    options = {
        "train_dataloader.sampler": dict(type="DefaultSampler", shuffle=True),
        "train_dataloader.batch_sampler": dict(type="ToyBatchSampler"),
        **CHECKPOINTS["iter"],
    }
    drawn = {"randomness": dict(seed=None, _delete_=True)}
    hooks = [dict(type="KillHook", at=10)]
    with pytest.raises(Killed):
        run_toy(tmp_path / "killed", custom_hooks=hooks, **options, **drawn)
    seed = torch.load(latest_checkpoint(tmp_path / "killed"), weights_only=True)["meta"]["seed"]
    state = final_state(run_toy(tmp_path / "killed", resume=True, **options, **drawn))
    straight = run_toy(tmp_path / "straight", **options, **{"randomness.seed": seed})
    for key, value in final_state(straight).items():
        assert torch.equal(state[key], value), key


@HOOKS.register_module()
class StopHook(Hook):
    """Asks for a stop after an iteration, as early stopping does."""

    def __init__(self, at: int) -> None:
        self.at = at

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter == self.at:
            runner.train_loop.stop_training = True


def test_state_stopped_inside_an_epoch(tmp_path):
    """Iteration 9 of 6 per epoch: no checkpoint claims that the second epoch is over."""
    straight = final_state(run_toy(tmp_path / "straight"))
    stopped = run_toy(tmp_path / "run", custom_hooks=[dict(type="StopHook", at=8)])
    assert (stopped.iter, stopped.epoch) == (9, 1)
    assert [path.name for path in (tmp_path / "run").glob("*.pth")] == ["epoch_1.pth"]
    state = final_state(run_toy(tmp_path / "run", resume=True))
    for key, value in straight.items():
        assert torch.equal(state[key], value), key


def test_raises_resume_with_another_length(tmp_path):
    run_toy(tmp_path / "run", **{"train_cfg.max_epochs": 1})
    with pytest.raises(ValueError, match="of 6 iterations, this one has 18"):
        run_toy(tmp_path / "run", resume=True)


def test_state_of_a_dropped_batch_is_resumed(tmp_path):
    """NaN in iteration 8, the first of a logical batch of 4; saved after 10, killed in 11."""
    options = {
        "optim_wrapper.accumulative_counts": 4,
        "model": dict(type="ToyMethod", nan_at=8),
        "default_hooks.checkpoint": dict(type="CheckpointHook", interval=5, by_epoch=False),
        "default_hooks.finite_loss.max_skipped": 1,
    }
    straight = final_state(run_toy(tmp_path / "straight", **options))
    with pytest.raises(Killed):
        run_toy(tmp_path / "killed", custom_hooks=[dict(type="KillHook", at=10)], **options)
    assert torch.load(latest_checkpoint(tmp_path / "killed"), weights_only=True)["dropped"]
    state = final_state(run_toy(tmp_path / "killed", resume=True, **options))
    for key, value in straight.items():
        assert torch.equal(state[key], value), key


def test_state_checkpoint_is_plain(tmp_path):
    run_toy(tmp_path / "run", **{"train_cfg.max_epochs": 1})
    checkpoint = torch.load(latest_checkpoint(tmp_path / "run"), weights_only=True)
    assert checkpoint["meta"]["iter"] == 6
    assert checkpoint["meta"]["seed"] == 0
    history = checkpoint["message_hub"]["log_scalars"]["train/loss"]["values"]
    assert history.shape == (6,) and history.isfinite().all()


def test_raises_resume_with_other_batch_size(tmp_path):
    run_toy(tmp_path / "run", **{"train_cfg.max_epochs": 1})
    with pytest.raises(ValueError, match="6 iterations per epoch, this one has 3"):
        run_toy(tmp_path / "run", resume=True, **{"train_dataloader.batch_size": 8})


def test_raises_resume_of_other_model(tmp_path):
    run_toy(tmp_path / "run", **{"train_cfg.max_epochs": 1})
    with pytest.raises(RuntimeError, match="size mismatch"):
        run_toy(
            tmp_path / "run",
            resume=True,
            model=dict(type="ToyMethod", backbone=dict(type="ToyBackbone", width=8)),
            **{"train_cfg.max_epochs": 1},
        )


def test_raises_load_from_a_file_of_another_layout(tmp_path):
    torch.save({"student": {"module.head.weight": torch.zeros(1)}}, tmp_path / "official.pth")
    with pytest.raises(ValueError, match=r"official\.pth holds no tensor of a ToyMethod"):
        run_toy(tmp_path / "run", load_from=str(tmp_path / "official.pth"))


def test_resume_without_checkpoint_starts_anew(tmp_path):
    runner = run_toy(tmp_path / "run", resume=True, **{"train_cfg.max_epochs": 1})
    assert runner.iter == 6


def test_only_the_newest_are_kept(tmp_path):
    run_toy(
        tmp_path / "run",
        **{"default_hooks.checkpoint": dict(type="CheckpointHook", interval=1, max_keep_ckpts=2)},
    )
    assert sorted(path.name for path in (tmp_path / "run").glob("*.pth*")) == [
        "epoch_2.pth",
        "epoch_3.pth",
    ]


def test_checkpoints_of_another_run_stay(tmp_path):
    """Only files of this run are pruned, and those it wrote before it was resumed."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "epoch_200.pth").write_bytes(b"weeks of work")
    options = {
        "default_hooks.checkpoint": dict(type="CheckpointHook", interval=1, max_keep_ckpts=1)
    }
    with pytest.raises(Killed):
        run_toy(run, custom_hooks=[dict(type="KillHook", at=12)], **options)
    assert sorted(path.name for path in run.glob("*.pth")) == ["epoch_2.pth", "epoch_200.pth"]
    run_toy(run, resume=True, **options)
    assert sorted(path.name for path in run.glob("*.pth")) == ["epoch_200.pth", "epoch_3.pth"]


def test_no_workers_need_no_persistence(tmp_path):
    assert run_toy(tmp_path / "run", **{"train_dataloader.persistent_workers": True}).iter == 18


def test_full_disk_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    """The write of the second checkpoint fails half-way; the first stays, and can be resumed."""
    import mmengine.runner.runner as module

    def failing(checkpoint, path, **kwargs):
        if checkpoint["meta"]["epoch"] == 2:
            with open(path, "wb") as file:
                file.write(b"half a checkpoint")
            raise OSError(28, "No space left on device")
        torch.save(checkpoint, path)

    monkeypatch.setattr(module, "save_checkpoint", failing)
    options = {
        "default_hooks.checkpoint": dict(type="CheckpointHook", interval=1, max_keep_ckpts=1)
    }
    with pytest.raises(OSError, match="No space left"):
        run_toy(tmp_path / "run", **options)
    monkeypatch.undo()
    assert latest_checkpoint(tmp_path / "run").name == "epoch_1.pth"
    assert run_toy(tmp_path / "run", resume=True, **options).iter == 18


def test_latest_checkpoint_survives_a_moved_folder(tmp_path):
    run_toy(tmp_path / "run", **{"train_cfg.max_epochs": 1})
    (tmp_path / "run").rename(tmp_path / "moved")
    assert latest_checkpoint(tmp_path / "moved") == tmp_path / "moved" / "epoch_1.pth"
    (tmp_path / "moved" / "last_checkpoint").write_text("")
    assert latest_checkpoint(tmp_path / "moved") == tmp_path / "moved" / "epoch_1.pth"


def test_accumulation_moves_the_twin_once_per_step(tmp_path):
    runner = Runner.from_cfg(
        toy_config(tmp_path / "run", **{"optim_wrapper.accumulative_counts": 4})
    )
    runner.train()
    # 18 iterations: 4 full groups and the remainder at the end.
    assert int(runner.model.twin.num_updates) == 5
