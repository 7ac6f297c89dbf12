"""The benchmark of k-means, at a tiny size: both sides do the same, and the law fits what was measured."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "tools" / "benchmarks" / "kmeans.py"
TINY = ("--images", "1500", "--dim", "8", "--clusters", "30", "9", "--iterations", "4")


@pytest.fixture(autouse=True)
def beside_the_script(monkeypatch) -> None:
    """It imports what benchmarks share."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))


def run(monkeypatch, tmp_path, *options: str) -> dict:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    out = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *TINY, *options, "--out", str(out)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    return json.loads(out.read_text())["figures"]


def test_values_of_both_sides(monkeypatch, tmp_path, capsys) -> None:
    pytest.importorskip("faiss")
    figures = run(monkeypatch, tmp_path)
    ours, theirs = (figures["table"][name] for name in ("ours", "faiss"))
    assert ours["inertia"] == pytest.approx(theirs["inertia"], rel=1e-4)
    assert ours["iterations"] == theirs["iterations"]
    assert figures["ratios"]["seconds"] == pytest.approx(
        sum(ours["seconds"]) / sum(theirs["seconds"])
    )
    assert "ours / faiss: time" in capsys.readouterr().out


def test_values_bytes_per_image(monkeypatch) -> None:
    """Without the processes of their own: a law through three points, stated for more images."""
    script = runpy.run_path(str(SCRIPT))
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--memory", "--images", "1000"])
    args = script["parse_args"]()

    def measured(where, args, images):
        return dict(memory=5000 + (16 if where == "file" else 48) * images, disk=32 * images)

    monkeypatch.setitem(script["memory_law"].__globals__, "run", measured)
    law = script["memory_law"](args)["features in file: memory"]
    assert law["sizes"] == [1000, 2000, 4000]
    assert (law["per_image"], law["constant"]) == (pytest.approx(16), pytest.approx(5000))


def test_values_the_features_are_the_same_for_both(monkeypatch) -> None:
    fill = runpy.run_path(str(SCRIPT))["fill"]
    first, second = torch.empty(300, 8), torch.empty(300, 8)
    fill(first, 1.0)
    fill(second, 1.0)
    assert torch.equal(first, second)
    torch.testing.assert_close(first.norm(dim=1), torch.ones(300))


def test_values_memory_counts_what_is_allocated_inside() -> None:
    """In a process of its own: an old one hands out memory again that it has had for long."""
    code = f"""
import runpy, time, torch
with runpy.run_path({str(SCRIPT.with_name("paired.py"))!r})["AnonymousPeak"]() as memory:
    block = torch.ones(100_000_000, dtype=torch.uint8)
    time.sleep(0.2)  # it looks now and then
    del block
print(memory.bytes)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 95e6 < int(done.stdout) < 130e6
