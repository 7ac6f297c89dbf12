"""PIC's windows: which images the released sampler takes, and the schedule in windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmssl.datasets import SlidingWindowSampler, in_windows
from mmssl.engine.config import load_config
from mmssl.engine.schedulers import warmup_cosine
from tests.helpers.goldens import Golden

pytestmark = pytest.mark.parity
LEAVES = Path(__file__).resolve().parents[2] / "configs/pic"


@pytest.mark.parametrize("mode", ["released", "mod"])
@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_values_windows_of_the_released_program(case: str, mode: str) -> None:
    golden = Golden("pixpro", "pic_sampler")
    options = golden.entry["options"][case]
    sampler = SlidingWindowSampler(
        range(options["N"]),
        options["W"],
        stride=options["S"],
        mode=mode,
        reshuffle=options["shuffle"],
        seed=options["seed"],
        rank=options["rank"],
        world_size=options["world"],
    )
    expected = golden.arrays[f"{case}_{mode}"]
    assert len(sampler) == expected.shape[1]
    # in order, and by a jump as a resumed run makes it
    for number in (*range(len(expected)), 5):
        sampler.set_epoch(number)
        assert list(sampler) == [(number, index) for index in expected[number].tolist()]


@pytest.mark.parametrize(
    ("file", "case"),
    [
        ("pic_windows", "ep200"),
        ("pic_windows", "ep400"),
        ("pic_windows_2", "ep1600"),
        ("pic_windows_2", "small"),
    ],
)
def test_values_epochs_in_windows(file: str, case: str) -> None:
    """Windows, warm-up, iterations of a window and of the run, and learning rates at their boundaries."""
    golden = Golden("pixpro", file)
    options, batch = golden.entry["options"][case], golden.entry["options"][case]["total_batch"]
    windows, warmup = (
        in_windows(options[name], num_images=options["N"], window=options["window"])
        for name in ("epochs", "warmup")
    )
    length = options["window"] // batch
    assert [windows, warmup, length, windows * length] == golden.arrays[case].tolist()
    peak = 0.03 * batch / 256
    rates = [
        warmup_cosine(
            step,
            peak=peak,
            start=peak / 100,
            end=1e-6,
            warmup=warmup * length,
            total=windows * length,
        )
        for step in golden.arrays[f"{case}_at"].tolist()
    ]
    np.testing.assert_allclose(rates, golden.arrays[f"{case}_lr"], rtol=1e-9)


@pytest.mark.parametrize(
    ("leaf", "case", "batch"),
    [
        ("200e_in1k", "ep200", 256),
        ("400e_in1k", "ep400", 512),
        ("1600e_in1k", "ep1600", 512),
        ("200e_in1k_official", "ep200", 256),
        ("200e_in1k_sampled", "ep200", 256),
        ("200e_in1k_single-crop", "ep200", 256),
    ],
)
def test_values_recipes(leaf: str, case: str, batch: int) -> None:
    """The published run of each leaf: windows, warm-up, length, and rates (some are of batches of 512)."""
    config = load_config(LEAVES / f"pic_resnet50_4xb64-coslr-{leaf}.py")
    golden = Golden("pixpro", "pic_windows_2" if case == "ep1600" else "pic_windows")
    loader, (schedule,) = config.train_dataloader, config.param_scheduler
    options = dict(loader.sampler)
    assert options.pop("type") == "SlidingWindowSampler"
    sampler = SlidingWindowSampler(range(config.model.head.num_instances), **options)
    assert config.train_cfg.type == "WindowLoop"
    windows, warmup = sampler.windows(config.train_cfg.max_epochs), sampler.windows(schedule.warmup)
    length = sampler.window // batch
    assert [windows, warmup, length, windows * length] == golden.arrays[case].tolist()
    # lr and the first of the warm-up, for 4 x 64 images; both grow with the batch
    scale = batch / (4 * loader.batch_size)
    rates = [
        warmup_cosine(
            step,
            peak=scale * config.optim_wrapper.optimizer.lr,
            start=scale * config.optim_wrapper.optimizer.lr * schedule.start_ratio,
            end=schedule.eta_min,
            warmup=warmup * length,
            total=windows * length,
        )
        for step in golden.arrays[f"{case}_at"].tolist()
    ]
    np.testing.assert_allclose(rates, golden.arrays[f"{case}_lr"], rtol=1e-9)
    assert loader.persistent_workers and loader.drop_last
    assert (sampler.window, sampler.stride) == (1 << 17, 1 << 14)
