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

from mmssl.evaluation.inference_time import measure_inference, run_times, tf32
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


def validated_on(steps: list[dict]) -> str:
    """Lines of a config that validates on one view of each image."""
    views = dict(type="MultiView", views=[dict(num=1, transforms=steps)])
    return f"val_dataloader = dict(dataset=dict(type='ImageFolder', root='x', views={views!r}))\n"


@pytest.mark.parametrize(
    ("steps", "side"),
    [
        ([dict(type="Resize", size=72), dict(type="CenterCrop", size=64)], 64),
        ([dict(type="Resize", size=72), dict(type="CenterCrop", size=[48, 48])], 48),
        ([dict(type="CenterCrop", size=64), dict(type="Resize", size=[32, 32])], 32),
    ],
)
def test_values_a_config_is_measured_at_the_size_of_its_validation(
    steps: list[dict], side: int, script, tmp_path
) -> None:
    config = tmp_path / "config.py"
    config.write_text(TINY + validated_on(steps))
    for size, expected in ((None, side), (40, 40)):
        assert script["subject"](str(config), Namespace(size=size)).size == expected


def test_values_size_of_a_leaf(script) -> None:
    leaf = SCRIPT.parents[1] / "configs/cotnet/se-cotnetd152_8xb64-coslr-350e_in1k-256px.py"
    assert script["subject"](str(leaf), Namespace(size=None)).size == 256


def test_raises_for_what_cannot_be_measured(script, tmp_path) -> None:
    args = Namespace(setup="default", size=None)
    (tmp_path / "empty.py").write_text("model = dict()\n")
    (tmp_path / "tiny.py").write_text(TINY)
    for name, steps in (
        ("resized", [dict(type="CenterCrop", size=64), dict(type="Resize", size=64)]),
        ("oblong", [dict(type="CenterCrop", size=[32, 64])]),
    ):
        (tmp_path / f"{name}.py").write_text(TINY + validated_on(steps))
    for text, message in (
        ("cotnet51", "There is no network 'cotnet51'"),
        (f"{tmp_path}/empty.py", "no model.backbone"),
        (f"{tmp_path}/resized.py", "which square images it validates .* give --size"),
        (f"{tmp_path}/oblong.py", "which square images it validates"),
        (f"{tmp_path}/tiny.py", "which square images it validates"),
        ("cotnet50=good", "accuracy in percent, such as cotnet50=79.2"),
        ("cotnet50=792", "accuracy in percent"),
    ):
        with pytest.raises(ValueError, match=message):
            script["subject"](text, args)


def test_values_runs_are_counted_and_limited() -> None:
    calls: list[int] = []
    cpu = torch.device("cpu")
    found, before = run_times(lambda: calls.append(1), cpu, warm_up=3, runs=12, seconds=0)
    assert (len(found), before, len(calls)) == (12, 3, 15) and min(found) >= 0
    # as soon as the limit is over: the first forward, one to warm up, and the fewest that are timed
    calls.clear()
    found, before = run_times(lambda: calls.append(1), cpu, warm_up=50, runs=200, seconds=1e-9)
    assert (len(found), before, len(calls)) == (10, 2, 12)


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
    output = capsys.readouterr().out
    assert "Timed forwards: 3 of 3 at the fewest, behind 1 of 1." in output
    printed = [line for line in output.splitlines() if line.startswith("| tiny")]
    cells = [cell.strip() for cell in printed[0].strip("|").split("|")]
    assert cells[:4] == ["tiny", "32", f"{rows[0]['parameters'] / 1e6:.2f}", "61.5"]
    assert cells[4:8] == [f"{row['milliseconds']:.3f}" for row in rows] and cells[8] == "-"
    for row in rows:
        low, high = row["quartiles"]
        assert 0 < low <= row["milliseconds"] <= high and row["runs"] == 3
    with Image.open(plot) as picture:
        assert picture.width > 2 * picture.height  # a panel for each condition


def test_values_what_was_measured_survives_a_lack_of_memory(
    script, tmp_path, monkeypatch, capsys
) -> None:
    """120 TB of images are too many; the measurement before is printed, written and drawn."""
    config = tmp_path / "tiny.py"
    config.write_text(TINY)
    out, plot = tmp_path / "times.json", tmp_path / "times.png"
    command = f"inference_time.py {config}=61.5 --batch 1 10000000000 --size 32 --precision fp32"
    command += f" --device cpu --seconds 1e-9 --out {out} --plot {plot}"
    monkeypatch.setattr(sys, "argv", command.split())
    script["main"]()
    first, second = json.loads(out.read_text())["results"]
    assert (first["runs"], first["warm_up"]) == (10, 2) and first["milliseconds"] > 0
    assert second["milliseconds"] is second["quartiles"] is second["runs"] is None
    output = capsys.readouterr().out
    assert f"| {first['milliseconds']:.3f} | - | - |" in output
    assert "10 of 200 at the fewest, behind 2 of 50; --seconds 1e-09 ended some earlier" in output
    assert "1 of 2 measurements ran out of memory" in output
    assert plot.is_file()


def test_raises_for_any_other_error_of_a_measurement() -> None:
    network = torch.nn.Conv2d(4, 4, 3)  # of other images
    with pytest.raises(RuntimeError, match="to have 4 channels"):
        measure_inference(network, 8, batch=1, precision="fp32")
    with pytest.raises(ValueError, match="precision must be one of fp32, .* got 'int8'"):
        measure_inference(network, 8, batch=1, precision="int8")


@pytest.mark.parametrize(
    ("precision", "expected"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_what_is_timed(precision, expected, layout, monkeypatch) -> None:
    """Images of the size, batch and layout, in the precision; a figure is the median for one of them."""
    seen: list[torch.Tensor] = []

    class Network(torch.nn.Conv2d):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images)
            out = super().forward(images)
            assert out.dtype == expected and not out.requires_grad
            return out

    clock = iter([0.0, 0.0] + [0.0, 0.008] + [0.0, 0.002] + [0.0, 0.004])
    monkeypatch.setattr("mmssl.evaluation.inference_time.time.perf_counter", lambda: next(clock))
    found = measure_inference(
        Network(3, 4, 3), 8, batch=2, precision=precision, memory_format=layout, warm_up=2, runs=3
    )
    assert found == (2.0, (1.0, 4.0), 3, 2)
    assert len(seen) == 5 and seen[0].shape == (2, 3, 8, 8)
    assert seen[0].is_contiguous(memory_format=layout)


def test_raises_when_nothing_can_be_drawn(tmp_path) -> None:
    with pytest.raises(ValueError, match="no network with a time and an accuracy"):
        plot_time_accuracy({"batch 1": []}, tmp_path / "none.png")
    plot_time_accuracy({"batch 1": [Point("a", "A", 1.0, 70.0)], "batch 2": []}, tmp_path / "a.png")
    assert (tmp_path / "a.png").is_file()


def test_state_switches_are_as_before() -> None:
    switches = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [switch.allow_tf32 for switch in switches]
    for allowed in (True, False):
        with tf32(allowed):
            assert [switch.allow_tf32 for switch in switches] == [allowed] * 2
    assert [switch.allow_tf32 for switch in switches] == before
