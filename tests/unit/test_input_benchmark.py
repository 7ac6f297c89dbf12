"""The benchmark of the input pipeline times the same work on both sides."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "tools" / "benchmarks" / "input_pipeline.py"


def test_values_of_both_sides() -> None:
    """Two uint8 views of 224 px each; over many draws their brightness and contrast agree."""
    script = runpy.run_path(str(SCRIPT))
    photo = script["synthetic_photo"](np.random.default_rng(0))
    torch.manual_seed(0)
    reference, ours = script["torchvision_views"](), script["our_views"]("cv2", "workers")
    sides = [
        [torch.stack(reference(photo)) for _ in range(24)],
        [torch.stack(ours(photo, index)) for index in range(24)],
    ]
    for views in sides:
        assert {tuple(pair.shape) for pair in views} == {(2, 3, 224, 224)}
        assert {pair.dtype for pair in views} == {torch.uint8}
    means = [torch.stack(views).float().mean().item() for views in sides]
    spreads = [torch.stack(views).float().std(dim=(2, 3, 4)).mean().item() for views in sides]
    assert abs(means[0] - means[1]) < 25
    assert abs(spreads[0] - spreads[1]) < 12


def test_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "figures.json"
    arguments = ["--rounds", "1", "--images", "2", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    results = json.loads(out.read_text())["results"]
    assert results["torchvision on Pillow"]["ratio_to_torchvision"] == 1.0
    assert all(figures["images_per_cpu_second"] > 0 for figures in results.values())
    assert len(results) == 5
