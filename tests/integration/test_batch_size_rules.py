"""Another batch than a recipe's: learning rates with the whole of their schedule, and a warning."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.hooks import Hook
from mmengine.registry import DATA_SAMPLERS
from torch import nn
from torch.utils.data import BatchSampler

from mmssl.engine.config import load_config
from mmssl.engine.runner import Runner
from mmssl.engine.schedulers import warmup_cosine
from mmssl.engine.switches import set_accumulation
from mmssl.registry import HOOKS, MODELS
from tests.helpers.runs import ROOT, method_config, toy_config
from tests.helpers.toy import ToyMethod

pytestmark = pytest.mark.integration


@HOOKS.register_module()
class RateHook(Hook):
    """Notes the learning rate of every iteration."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.rates.append(runner.optim_wrapper.get_lr()["lr"][0])


@DATA_SAMPLERS.register_module()
class EvenBatches(BatchSampler):
    """torch's, by a name."""

    def __init__(self, sampler, batch_size: int) -> None:
        super().__init__(sampler, batch_size, drop_last=False)


def rates_of(folder: Path, leaf: str, **changes) -> tuple[list[float], float]:
    """Rates of 3 epochs of 5 batches of 4 with a recipe's optimizer, two epochs of warm-up; its own rate."""
    recipe = load_config(ROOT / "configs" / leaf)
    (schedule,) = recipe.param_scheduler
    config = toy_config(
        folder,
        custom_hooks=[dict(type="RateHook")],
        param_scheduler=[dict(schedule, warmup=2)],
        auto_scale_lr=dict(recipe.auto_scale_lr, enable=True) | changes,
    )
    config.optim_wrapper.optimizer.lr = recipe.optim_wrapper.optimizer.lr
    runner = Runner.from_cfg(config)
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, RateHook))
    runner.train()
    return hook.rates, recipe.optim_wrapper.optimizer.lr


@pytest.mark.parametrize(
    ("leaf", "factor", "share", "end"),
    [
        ("pic/pic_resnet50_4xb64-coslr-200e_in1k.py", 4 / 256, 0.01, 1e-6),
        ("pixpro/pixpro_resnet50_8xb128-coslr-100e_in1k.py", 4 / 1024, 0.01, 1e-6),
        ("pixcontrast/pixcontrast_resnet50_8xb128-coslr-100e_in1k.py", 4 / 1024, 0.01, 1e-6),
        (
            "benchmarks/imagenet_linear/resnet50_pic_8xb32-coslr-100e_in1k.py",
            4 / 256, 0.01, 1e-6,
        ),
        ("simclr/simclr_resnet50_32xb128-coslr-100e_in1k.py", 4 / 4096, 0.0, 0.0),
        # its rate is 0.1 x sqrt(batch)
        ("simclr/simclr-v2_resnet50_32xb128-coslr-800e_in1k.py", 1 / 32, 0.0, 0.0),
    ],
    ids=lambda value: value.split("/")[-1].split("-coslr")[0] if isinstance(value, str) else "",
)  # fmt: skip
def test_values_warm_up_follows_the_batch(
    tmp_path: Path, leaf: str, factor: float, share: float, end: float
) -> None:
    rates, recipe = rates_of(tmp_path, leaf)
    peak, length = recipe * factor, len(rates) // 3
    expected = [
        warmup_cosine(
            step, peak=peak, start=share * peak, end=end, warmup=2 * length, total=3 * length
        )
        for step in range(3 * length)
    ]
    assert rates == pytest.approx(expected, rel=1e-9)


def test_values_both_ends_of_moby_follow_the_batch(tmp_path: Path) -> None:
    rates, recipe = rates_of(tmp_path, "moby/moby_swin-tiny-w7_8xb64-coslr-300e_in1k.py")
    peak, length = recipe * 4 / 512, len(rates) // 3
    expected = [
        warmup_cosine(
            step, peak=peak, start=5e-4 * peak, end=5e-3 * peak,
            warmup=2 * length, total=3 * length, cosine_from_start=True,
        )
        for step in range(3 * length)
    ]  # fmt: skip
    assert rates == pytest.approx(expected, rel=1e-9)


def test_values_accumulated_batches_count(tmp_path: Path) -> None:
    """Two batches a step are a batch of twice the size: for learning rates too."""
    config = toy_config(
        tmp_path,
        custom_hooks=[dict(type="RateHook")],
        param_scheduler=None,
        auto_scale_lr=dict(base_batch_size=4, enable=True),
        log_level="INFO",
    )
    set_accumulation(config, 2)
    runner = Runner.from_cfg(config)
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, RateHook))
    runner.train()
    rate = config.optim_wrapper.optimizer.lr
    assert set(hook.rates) == {2 * rate}
    (log,) = tmp_path.glob("*/*.log")
    assert "steps of 4 images, these are of 8 (1 processes x 4 images x 2" in log.read_text()
    assert f"linear rule, {rate:.6g} -> {2 * rate:.6g}." in log.read_text()


@pytest.mark.parametrize("accumulated", [1, 2])
def test_values_batches_of_a_batch_sampler(tmp_path: Path, accumulated: int) -> None:
    """As mmdet's loaders have them: torch's loader then tells no batch size."""
    config = toy_config(
        tmp_path,
        custom_hooks=[dict(type="RateHook")],
        param_scheduler=None,
        auto_scale_lr=dict(base_batch_size=4, enable=True),
    )
    config.train_dataloader.batch_sampler = dict(type="EvenBatches")
    set_accumulation(config, accumulated)
    runner = Runner.from_cfg(config)
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, RateHook))
    runner.train()
    assert runner.train_dataloader.batch_size is None
    assert set(hook.rates) == {accumulated * config.optim_wrapper.optimizer.lr}


def test_raises_for_an_unknown_rule(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rule must be 'linear' or 'sqrt', got 'cubic'"):
        rates_of(tmp_path, "pic/pic_resnet50_4xb64-coslr-200e_in1k.py", rule="cubic")


@pytest.mark.parametrize(
    ("method", "batches", "warns"), [("simclr", 2, 1), ("simclr", 1, 0), ("moby", 2, 0)]
)
def test_state_accumulation_warns_where_negatives_are_the_batch(
    tmp_path: Path, method: str, batches: int, warns: int
) -> None:
    config = method_config(tmp_path, method, **{"train_cfg.max_epochs": 2})
    set_accumulation(config, batches)
    Runner.from_cfg(config).train()
    (log,) = tmp_path.glob("*/*.log")
    assert log.read_text().count("SimCLR takes its negatives from one forward pass") == warns
    assert log.read_text().count("BatchNorm layers are those of one forward pass") == batches - 1


@MODELS.register_module()
class FrozenNorm(ToyMethod):
    """With a norm that stays in eval mode, as those of a frozen backbone."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.norm = nn.BatchNorm2d(3)

    def train(self, mode: bool = True) -> FrozenNorm:
        super().train(mode)
        self.norm.eval()
        return self


def test_state_accumulation_says_nothing_of_frozen_norms(tmp_path: Path) -> None:
    config = toy_config(tmp_path, **{"model.type": "FrozenNorm"})
    set_accumulation(config, 2)
    runner = Runner.from_cfg(config)
    runner.train()
    assert runner.model.training
    (log,) = tmp_path.glob("*/*.log")
    assert "BatchNorm layers are those of one forward pass" not in log.read_text()
