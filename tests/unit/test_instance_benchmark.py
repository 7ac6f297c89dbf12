"""The benchmark of PIC's classifier, at a tiny size: all forms compute the same."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "tools" / "benchmarks"
SCRIPT = FOLDER / "instance_classifier.py"
TINY = ("--batch", "8", "--negatives", "500", "--images")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> dict:
    monkeypatch.syspath_prepend(str(FOLDER))
    return runpy.run_path(str(SCRIPT))


def test_values_of_all_forms(monkeypatch, script) -> None:
    """Steps over 300 images, all of them recent."""
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *TINY, "300"])
    args = script["parse_args"]()
    steps = {name: script["Step"](name, 300, args) for name in ("plain", "full", "sampled")}
    for number in range(3):
        losses = [step(*script["batch_of"](number, 300, args)) for step in steps.values()]
        for loss in losses[1:]:
            torch.testing.assert_close(loss, losses[0])
    weights = [step.head.class_weights() for step in steps.values()]
    for found in weights[1:]:
        torch.testing.assert_close(found, weights[0])
    assert steps["full"].seconds.keys() == {"step", "softmax", "rows"}


def test_values_law(monkeypatch, tmp_path, script, capsys) -> None:
    """Two sizes, the second in files, each with a cohort for every batch."""
    out = tmp_path / "out.json"
    options = ("700", "1600", "--law", "--steps", "1", "--mapped", "1600")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(
        sys, "argv", [str(SCRIPT), *TINY, *options, "--folder", str(tmp_path), "--out", str(out)]
    )
    runpy.run_path(str(SCRIPT), run_name="__main__")
    table = json.loads(out.read_text())["table"]
    small, large = table["700"], table["1600"]
    assert (small["in_files"], large["in_files"]) == (0, 1)
    assert large["rows_megabytes"] == pytest.approx(1600 * (128 * 8 + 4) / 1e6)
    # all but the recent list and a batch or two are idle, eight rows to a cohort
    assert abs(large["cohorts"] - (1600 - 500) / 8) < 4
    assert "files" in capsys.readouterr().out
