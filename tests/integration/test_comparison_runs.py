"""The comparison with real trainings, small ones: from drawn images to table, page and record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.test_docs import HAS_FAMILIES

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
OWN = """
_base_ = "{base}"
budget = dict(images=64, labels=4, iters=1, epochs=1, size=32)
"""
OPTIONS = ("custom_hooks.0.num_train=24", "custom_hooks.0.num_val=24")


@pytest.mark.skipif(not HAS_FAMILIES, reason="mmdet and mmseg are not installed")
def test_values_comparison_from_images_to_page(tmp_path: Path) -> None:
    """Every measure of two methods; a second call sees to the images only, unless its budget is another."""
    config = tmp_path / "own.py"
    text = OWN.format(base=ROOT / "configs/benchmarks/comparison/shapes.py")
    for name in ("BYOL", "NPID"):
        text += f"_base_.contestants[{name!r}]['options'] = {list(OPTIONS)}\n"
    config.write_text(text + "contestants = _base_.contestants\n")
    work = tmp_path / "work"

    def run(*words: str) -> str:
        command = [
            sys.executable, "tools/compare.py", str(config), "--methods", "untrained", "BYOL", "NPID",
            "--seeds", "0", "--parallel", "1", "--work-dir", str(work), "--data", str(tmp_path / "shapes"),
            *words,
        ]  # fmt: skip
        environment = os.environ | dict(PYTHONPATH=str(ROOT))
        found = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-3000:]
        return found.stdout

    first = run()
    for command in ("draw", "pretrain NPID s0", "probe untrained s0"):
        assert f"[{command}] python tools/" in first, command
    record = json.loads((work / "comparison.json").read_text())
    assert not record["failed"] and record["note"] == ""
    for name in ("untrained", "BYOL", "NPID"):
        for measure in ("knn", "linear", "detect", "segment"):
            (value,) = record["figures"][name][measure]
            assert 0 <= value <= 100, (name, measure)
        assert record["figures"][name]["knn"][0] > 0
    assert [curve["name"] for curve in record["curves"]] == ["BYOL", "NPID"]
    assert all(curve["x"][-1] == 100 for curve in record["curves"])
    assert "Every method side by side" in (work / "report.html").read_text()

    def started(output: str) -> set[str]:
        lines = [line for line in output.splitlines() if "] python tools/" in line]
        return {line.split("]")[0][1:] for line in lines}

    assert started(run()) == {"draw"}
    names = ("untrained", "BYOL", "NPID")
    segmented = {f"segment {name} s0" for name in names}
    assert started(run("--iters", "2", "--tasks", "segment")) == {"draw"} | segmented
