"""The table of inference time against accuracy: names, conditions, limits, file and picture."""

from __future__ import annotations

import json
import runpy
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope
from PIL import Image

from mmssl.visualization.time_accuracy_plot import Point, plot_time_accuracy

SCRIPT = Path(__file__).parents[2] / "tools/inference_time.py"
TINY = """
default_scope = "mmssl"
model = dict(
    type="ImageClassifier",
    backbone=dict(type="CoTNet", arch=dict(depths=(1, 1), planes=(16, 16), stem_channels=16,
                  mixers="cot"), out_indices=(1,), init_cfg=dict(type="Pretrained", checkpoint="no")),
    head=dict(type="LinearHead", num_classes=7),
)
"""


@pytest.fixture(scope="module")
def script() -> dict:
    init_default_scope("mmssl")
    return runpy.run_path(str(SCRIPT))


def test_values_names_and_their_published_figures(script) -> None:
    """Parameters with 1000 classes as published, and the accuracy of the chosen setup."""
    published = {
        "resnet50": 25.56, "resnet101": 44.55, "cotnet50": 22.22, "cotnet101": 38.27,
        "cotnext50": 30.05, "cotnext101": 53.35, "se-cotnetd50": 23.11, "se-cotnetd101": 40.91,
        "se-cotnetd152": 55.78,
    }  # fmt: skip
    assert set(published) == set(script["NETWORKS"])
    for name in ("resnet50", "cotnet50", "se-cotnetd50"):
        what = script["subject"](name, Namespace(setup="default", size=None))
        with torch.device("meta"):
            network = script["Classifier"](what.backbone, what.num_classes)
        count = sum(parameter.numel() for parameter in network.parameters()) / 1e6
        assert count == pytest.approx(published[name], abs=0.006)
    subject = script["subject"]
    default, advanced = (Namespace(setup=setup, size=None) for setup in ("default", "advanced"))
    assert subject("cotnet50", default).accuracy == 79.2
    assert subject("cotnet50", advanced).accuracy == 81.3
    assert subject("se-cotnetd152", default).accuracy is None
    assert subject("se-cotnetd152", advanced)[-3:] == (256, 84.0, 8.1)
    assert subject("resnet50=76.5", advanced).accuracy == 76.5
    other = subject("timm:test_resnet=40.5", default)
    assert (other.name, other.size, other.accuracy) == ("test_resnet", 224, 40.5)
    assert script["Classifier"](other.backbone, 3)(torch.zeros(1, 3, 64, 64)).shape == (1, 3)
    # a figure of another size is not compared with the published time
    assert subject("cotnet50", Namespace(setup="default", size=320)).published is None


def test_raises_for_what_cannot_be_measured(script, tmp_path) -> None:
    args = Namespace(setup="default", size=None)
    (tmp_path / "empty.py").write_text("model = dict()\n")
    for text, message in (
        ("cotnet51", "There is no network 'cotnet51'"),
        (f"{tmp_path}/empty.py", "no model.backbone"),
        ("cotnet50=good", "accuracy in percent, such as cotnet50=79.2"),
        ("cotnet50=792", "accuracy in percent"),
    ):
        with pytest.raises(ValueError, match=message):
            script["subject"](text, args)


def test_values_runs_are_counted_and_limited(script) -> None:
    calls = []
    run_times, cpu = script["run_times"], torch.device("cpu")
    found = run_times(lambda: calls.append(1), cpu, warm_up=3, runs=12, seconds=0)
    assert (len(found), len(calls)) == (12, 15) and min(found) >= 0
    # as soon as the limit is over: the first forward, one to warm up, and the fewest that are timed
    calls.clear()
    found = run_times(lambda: calls.append(1), cpu, warm_up=50, runs=200, seconds=1e-9)
    assert (len(found), len(calls)) == (10, 12)


def test_values_table_file_and_picture(script, tmp_path, monkeypatch, capsys) -> None:
    config = tmp_path / "tiny.py"
    config.write_text(TINY)
    out, plot = tmp_path / "times.json", tmp_path / "times.png"
    arguments = ["--batch", "1", "2", "--size", "32", "--precision", "fp32", "bf16", "--warm-up", "1",
                 "--runs", "3", "--device", "cpu"]  # fmt: skip
    command = [
        "inference_time.py",
        f"{config}=61.5",
        *arguments,
        "--out",
        str(out),
        "--plot",
        str(plot),
    ]
    monkeypatch.setattr(sys, "argv", command)
    script["main"]()
    rows = json.loads(out.read_text())["results"]
    conditions = [(row["batch"], row["precision"]) for row in rows]
    assert conditions == [(1, "fp32"), (1, "bf16"), (2, "fp32"), (2, "bf16")]
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| tiny")]
    cells = [cell.strip() for cell in printed[0].strip("|").split("|")]
    assert cells[:4] == ["tiny", "32", f"{rows[0]['parameters'] / 1e6:.2f}", "61.5"]
    assert cells[4:8] == [f"{row['milliseconds']:.3f}" for row in rows] and cells[8] == "-"
    for row in rows:
        low, high = row["quartiles"]
        assert 0 < low <= row["milliseconds"] <= high and row["runs"] == 3
    with Image.open(plot) as picture:
        assert picture.width > 2 * picture.height  # a panel for each condition


def test_raises_when_nothing_can_be_drawn(tmp_path) -> None:
    with pytest.raises(ValueError, match="no network with a time and an accuracy"):
        plot_time_accuracy({"batch 1": []}, tmp_path / "none.png")
    plot_time_accuracy({"batch 1": [Point("a", "A", 1.0, 70.0)], "batch 2": []}, tmp_path / "a.png")
    assert (tmp_path / "a.png").is_file()
