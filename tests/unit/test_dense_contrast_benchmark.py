"""The benchmark of DenseCL's loss computes the same on both sides."""

from __future__ import annotations

import argparse
import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "tools" / "benchmarks"


def test_values_of_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    script = runpy.run_path(str(FOLDER / "dense_contrast.py"))
    args = argparse.Namespace(images=1, keys=50, max_logits=200, device="cpu")
    plain, chunked = (script["measure"](name, args) for name in script["IMPLEMENTATIONS"])
    for name in ("loss", "gradient"):
        assert plain[name] > 0
        assert chunked[name] == pytest.approx(plain[name], rel=1e-5), name
