"""Precision, accumulation, activation checkpointing and compilation, with CARE."""

from __future__ import annotations

import pytest
import torch

from mmssl.engine.runner import Runner
from mmssl.engine.switches import (
    set_accumulation,
    set_activation_checkpointing,
    set_compile,
    set_precision,
)
from tests.helpers.runs import care_config, toy_config

pytestmark = pytest.mark.integration


def train(config) -> Runner:
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


def losses(runner: Runner) -> torch.Tensor:
    values, _ = runner.message_hub.get_scalar("train/loss").data
    return torch.tensor(values)


def assert_same_but_for_rounding(runner: Runner, plain: Runner) -> None:
    """Other kernels round otherwise, and steps at a learning rate of 0.1 make that grow."""
    torch.testing.assert_close(losses(runner)[:2], losses(plain)[:2], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(losses(runner), losses(plain), rtol=2e-2, atol=0)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return train(care_config(tmp_path_factory.mktemp("plain")))


def test_bf16_follows_float32(tmp_path, plain):
    config = care_config(tmp_path)
    set_precision(config, "bf16")
    runner = train(config)
    torch.testing.assert_close(losses(runner), losses(plain), rtol=0.05, atol=0.05)
    assert not torch.equal(losses(runner), losses(plain))
    assert all(p.dtype == torch.float32 for p in runner.model.parameters())


def test_activation_checkpointing_changes_nothing_but_memory(tmp_path, plain):
    config = care_config(tmp_path)
    set_activation_checkpointing(config, ["backbone.network.layer1"])
    torch.testing.assert_close(losses(train(config)), losses(plain), rtol=1e-5, atol=1e-5)


def test_channels_last_changes_the_layout_only(tmp_path, plain):
    config = care_config(tmp_path)
    config.model.data_preprocessor = dict(type="ViewPreprocessor", channels_last=True)
    runner = train(config)
    assert_same_but_for_rounding(runner, plain)
    for module in (runner.model.backbone, runner.model.twin):
        maps = [p for p in module.parameters() if p.ndim == 4 and p.shape[1] > 1 < p.shape[2]]
        assert maps and all(p.is_contiguous(memory_format=torch.channels_last) for p in maps)


def test_accumulation_is_the_run_of_larger_batches(tmp_path):
    """Twice 4 images a step end with the weights of 8 images a step; the toy has no batch statistics.

    The toy's second loss is no mean over images, so only the first is left in. Both runs see the same
    images in the same order; the schedule counts epochs, and epochs hold whole groups of 8.
    """
    options = {
        "model": dict(type="ToyMethod", spread=0.0),
        "train_dataloader.dataset.length": 24,
        "param_scheduler": [dict(type="MultiStepLR", milestones=[1, 2], by_epoch=True)],
    }
    large = Runner.from_cfg(
        toy_config(tmp_path / "large", **options, **{"train_dataloader.batch_size": 8})
    )
    config = toy_config(tmp_path / "small", **options)
    set_accumulation(config, 2)
    small = Runner.from_cfg(config)
    large.train()
    small.train()
    assert (small.iter, large.iter) == (18, 9)
    assert int(small.model.twin.num_updates) == int(large.model.twin.num_updates) == 9
    for name, value in large.model.state_dict().items():
        torch.testing.assert_close(small.model.state_dict()[name], value, rtol=1e-4, atol=1e-6)


def test_accumulation_moves_cares_twin_once_per_step(tmp_path):
    config = care_config(tmp_path / "a")
    set_accumulation(config, 2)
    runner = train(config)
    assert int(runner.model.twin.num_updates) == runner.iter // 2 - 1


@pytest.mark.slow
def test_compiled_backbone_computes_the_same(tmp_path, plain):
    config = care_config(tmp_path)
    set_compile(config, ["backbone"])
    runner = train(config)
    assert_same_but_for_rounding(runner, plain)
    assert runner.model.state_dict().keys() == plain.model.state_dict().keys()


def test_raises_for_fp16_without_gpu(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    config = care_config(tmp_path)
    set_precision(config, "fp16")
    with pytest.raises(RuntimeError, match="bf16 on a CPU"):
        train(config)


def test_raises_for_nonsense(tmp_path):
    config = care_config(tmp_path)
    with pytest.raises(ValueError, match="fp8"):
        set_precision(config, "fp8")
    with pytest.raises(ValueError, match="at least 1"):
        set_accumulation(config, 0)
