"""The benchmark of local relation computes the same on both sides."""

from __future__ import annotations

import argparse
import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "tools" / "benchmarks"


@pytest.mark.parametrize("stage", [1, 4])
def test_values_of_both_sides(monkeypatch: pytest.MonkeyPatch, stage: int) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    script = runpy.run_path(str(FOLDER / "local_relation.py"))
    script["STAGES"][stage] = (2, script["STAGES"][stage][1], 9)
    args = argparse.Namespace(stage=stage, images=2, device="cpu")
    plain, shifted = (script["measure"](name, args) for name in script["IMPLEMENTATIONS"])
    for name in ("output", "gradient"):
        assert plain[name] > 0
        assert shifted[name] == pytest.approx(plain[name], rel=1e-5), name
