"""PIC's windows: which images the released sampler takes, and the schedule in windows."""

from __future__ import annotations

import numpy as np
import pytest

from mmssl.datasets import SlidingWindowSampler, in_windows
from mmssl.engine.schedulers import warmup_cosine
from tests.helpers.goldens import Golden

pytestmark = pytest.mark.parity


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
