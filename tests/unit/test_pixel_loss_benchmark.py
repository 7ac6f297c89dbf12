"""The benchmark of PixPro's loss computes the same on both sides."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "tools" / "benchmarks"


@pytest.mark.parametrize("grid", [7, 9])
def test_values_of_both_sides(monkeypatch: pytest.MonkeyPatch, grid: int) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    script = runpy.run_path(str(FOLDER / "pixel_loss.py"))
    found = []
    for name in script["IMPLEMENTATIONS"]:
        maps, boxes = script["drawn"](5, grid, torch.device("cpu"))
        learning = [x.double().requires_grad_() for x in maps[:2]]
        loss = script[name](learning + [x.double() for x in maps[2:]], boxes)
        found.append([loss, *torch.autograd.grad(loss, learning)])
    for plain, ours in zip(*found, strict=True):
        assert plain.abs().max() > 0
        torch.testing.assert_close(ours, plain, rtol=1e-8, atol=1e-12)
    figures = script["measure"]("chunks", torch.device("cpu"), 2, 4)
    assert figures.keys() == {"seconds", "bytes", "loss", "gradient"} and figures["seconds"] > 0
