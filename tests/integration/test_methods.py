"""Whole runs of each method: resume, precision, recomputation, compilation, NaN, continuation."""

from __future__ import annotations

import shutil

import pytest
import torch
from mmengine.hooks import Hook

from mmssl.engine.hooks import NonFiniteLossError, latest_checkpoint
from mmssl.engine.runner import Runner
from mmssl.engine.switches import set_activation_checkpointing, set_compile, set_precision
from mmssl.registry import HOOKS
from tests.helpers.killed import Killed
from tests.helpers.runs import CROPS, METHODS, method_config

pytestmark = pytest.mark.integration
methods = pytest.mark.parametrize("method", METHODS)


@HOOKS.register_module()
class PoisonHook(Hook):
    """Breaks a weight before an iteration."""

    def __init__(self, at: int) -> None:
        self.at = at

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.at:
            part = runner.model.neck if hasattr(runner.model, "neck") else runner.model.head
            next(part.parameters()).data[0, 0] = float("nan")


def train(config) -> Runner:
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


def losses(runner: Runner) -> torch.Tensor:
    return torch.tensor(runner.message_hub.get_scalar("train/loss").data[0])


def state_of(runner: Runner) -> dict[str, torch.Tensor]:
    state = dict(runner.model.state_dict())
    for key, entry in runner.optim_wrapper.state_dict()["state"].items():
        state |= {f"optimizer/{key}/{name}": value for name, value in entry.items()}
    for name in ("lr", "weight_decay"):
        values = [group[name] for group in runner.optim_wrapper.optimizer.param_groups]
        state[f"groups/{name}"] = torch.tensor(values)
    return state


@methods
@pytest.mark.parametrize("at", [2, 6])
def test_state_resumed_run_is_bit_equal(tmp_path, method, at):
    """Killed in the first epoch, with the last layer frozen or in warm-up, and in the second."""
    saving = {"default_hooks.checkpoint": dict(type="CheckpointHook", interval=2, by_epoch=False)}
    straight = state_of(train(method_config(tmp_path / "a", method, **saving)))
    config = method_config(tmp_path / "b", method, **saving)
    config.custom_hooks = [*config.custom_hooks, dict(type="KillHook", at=at)]
    with pytest.raises(Killed):
        train(config)
    resumed = train(method_config(tmp_path / "b", method, resume=True, **saving))
    assert resumed.iter == 12
    state = state_of(resumed)
    assert state.keys() == straight.keys()
    for key, value in straight.items():
        assert torch.equal(state[key], value), key


@methods
def test_bf16_follows_float32(tmp_path, method):
    plain = train(method_config(tmp_path / "plain", method))
    config = method_config(tmp_path / "bf16", method)
    set_precision(config, "bf16")
    runner = train(config)
    # AdamW's first steps are signs: rounding grows
    torch.testing.assert_close(losses(runner)[:4], losses(plain)[:4], rtol=0.02, atol=0.02)
    # Barlow Twins adds the squares of correlations of four images
    rtol = 0.3 if method == "barlow_twins" else 0.15
    atol = 0.1 if method == "simsiam" else 0  # a mean cosine, around 0 at first
    torch.testing.assert_close(losses(runner), losses(plain), rtol=rtol, atol=atol)
    assert not torch.equal(losses(runner), losses(plain))
    assert all(p.dtype == torch.float32 for p in runner.model.parameters())


@methods
def test_activation_checkpointing_changes_nothing_but_memory(tmp_path, method):
    """Stochastic depth draws the same in the recomputation."""
    plain = train(method_config(tmp_path / "plain", method))
    config = method_config(tmp_path / "checkpointed", method)
    set_activation_checkpointing(
        config, ["backbone.stages.0.blocks.1", "backbone.stages.1.blocks.0"]
    )
    torch.testing.assert_close(losses(train(config)), losses(plain), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@methods
def test_compiled_backbone_computes_the_same(tmp_path, method):
    sizes = list(CROPS[method])
    if len(sizes) > 2 and method != "infomin":  # whose third view is a grid of patches
        sizes = [*sizes[:2], 16]
    off = {
        "model.backbone.drop_path_rate": 0.0,
        "model.backbone.depths": (1, 1),
        "train_dataloader.dataset.sizes": sizes,
    }
    plain = train(method_config(tmp_path / "plain", method, **off))
    config = method_config(tmp_path / "compiled", method, **off)
    set_compile(config, ["backbone"])
    runner = train(config)
    torch.testing.assert_close(losses(runner), losses(plain), rtol=1e-3, atol=1e-3)
    assert runner.model.state_dict().keys() == plain.model.state_dict().keys()


@methods
def test_nan_stops_the_run(tmp_path, method):
    config = method_config(tmp_path, method)
    config.custom_hooks = [*config.custom_hooks, dict(type="PoisonHook", at=5)]
    with pytest.raises(NonFiniteLossError, match="iteration 6"):
        train(config)


@pytest.fixture(scope="module")
def dino_checkpoint(tmp_path_factory):
    """Of the first epoch of a run with views alone."""
    folder = tmp_path_factory.mktemp("dino")
    train(method_config(folder, "dino"))
    return folder / "epoch_1.pth"


def test_state_regions_join_a_run_with_views_alone(tmp_path, dino_checkpoint):
    """Weights, centers, epoch and schedules go on; the new head is the same in student and teacher."""
    seen = {}

    @HOOKS.register_module(name="LookHook", force=True)
    class LookHook(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
            if not seen:
                state = {k: v.clone() for k, v in runner.model.state_dict().items()}
                groups = runner.optim_wrapper.optimizer.param_groups
                seen.update(state=state, iter=runner.iter, epoch=runner.epoch,
                            lr=groups[0]["lr"], decay=groups[0]["weight_decay"],
                            moments=len(runner.optim_wrapper.optimizer.state))  # fmt: skip

    config = method_config(tmp_path / "run", "esvit")
    config.custom_hooks = [
        *config.custom_hooks,
        dict(type="ContinuationHook", checkpoint=str(dino_checkpoint)),
        dict(type="LookHook"),
    ]
    runner = train(config)
    assert (seen["iter"], seen["epoch"], seen["moments"], runner.iter) == (4, 1, 0, 12)
    whole = train(method_config(tmp_path / "whole", "esvit"))
    rates = whole.message_hub.get_scalar("train/lr").data[0]
    assert seen["lr"] == pytest.approx(rates[4], rel=1e-12) and rates[4] > 0
    assert 0.04 < seen["decay"] < 0.4
    there = torch.load(dino_checkpoint, weights_only=True)["state_dict"]
    for key, value in there.items():
        assert torch.equal(seen["state"][key], value), key
    for name in ("mlp.0.weight", "last_layer.weight_v"):
        head = seen["state"][f"region_head.{name}"]
        assert torch.equal(head, seen["state"][f"twin.region_head.{name}"])
    assert seen["state"]["region_center.mean"].abs().max() == 0
    # a resumed continuation is not continued once more
    resumed = train(method_config(tmp_path / "run", "esvit", resume=True,
                                  custom_hooks=config.custom_hooks[:2]))  # fmt: skip
    assert resumed.iter == 12


def test_raises_for_a_checkpoint_that_does_not_fit(tmp_path, dino_checkpoint):
    def run(**options) -> None:
        config = method_config(tmp_path, "esvit", **options.pop("changes", {}))
        hook = dict(type="ContinuationHook", checkpoint=str(dino_checkpoint)) | options
        config.custom_hooks = [*config.custom_hooks, hook]
        train(config)

    with pytest.raises(ValueError, match="cannot be continued at epoch 3 of 3"):
        run(epoch=3)
    with pytest.raises(RuntimeError, match="size mismatch"):
        run(changes={"model.backbone.embed_dims": 16})
    incomplete = torch.load(dino_checkpoint, weights_only=True)
    for key in [key for key in incomplete["state_dict"] if key.startswith("head.")]:
        del incomplete["state_dict"][key]
    torch.save(incomplete, tmp_path / "incomplete.pth")
    with pytest.raises(ValueError, match=r"incomplete\.pth lacks head, so"):
        run(checkpoint=str(tmp_path / "incomplete.pth"))
    with pytest.raises(ValueError, match="WarmupCosineLR"):
        run(changes=dict(param_scheduler=[dict(type="LinearLR", end=3)]))


@pytest.mark.parametrize("accumulate", [2, 3])
def test_state_a_continuation_that_accumulates_is_resumed_bit_equal(
    tmp_path, dino_checkpoint, accumulate
):
    """4 iterations per epoch, begun at the second: groups go on where the first run's would be."""
    changes = {"optim_wrapper.accumulative_counts": accumulate}
    hook = dict(type="ContinuationHook", checkpoint=str(dino_checkpoint))

    def run(folder: str, **more) -> Runner:
        config = method_config(tmp_path / folder, "esvit", **changes, **more)
        config.custom_hooks = [*config.custom_hooks, hook]
        return train(config)

    straight = state_of(run("a"))
    (tmp_path / "b").mkdir()
    shutil.copy(tmp_path / "a" / "epoch_2.pth", tmp_path / "b")
    state = state_of(run("b", resume=True))
    for key, value in straight.items():
        assert torch.equal(state[key], value), key


def test_latest_checkpoint_is_found(dino_checkpoint):
    assert latest_checkpoint(dino_checkpoint.parent).name == "epoch_3.pth"
