"""The benchmark of HCSC's selection computes the same on both sides."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "tools" / "benchmarks"


def test_values_of_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    script = runpy.run_path(str(FOLDER / "selection.py"))
    prototypes, queue, partitions = script["loaded"](torch.device("cpu"), 300)
    assigned = prototypes.assign(torch.arange(32))
    plain = script["plain"](prototypes, queue, assigned)
    kept = script["kept"](prototypes, queue, assigned, partitions)
    for expected, actual in zip(plain, kept, strict=True):
        assert expected.shape == (32, 300) and expected.std() > 0
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)
