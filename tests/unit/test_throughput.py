"""The throughput benchmark: counts that are known, forwards that are counted, and its file."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "tools" / "benchmarks" / "throughput.py"
TINY = """
default_scope = "mmssl"
model = dict(backbone=dict(type="Swin", embed_dims=8, depths=(1, 1), num_heads=(1, 2),
                           window_size=2, pretrain_img_size=16, out_indices=(1,)))
"""


@pytest.fixture(scope="module")
def script() -> dict:
    return runpy.run_path(str(SCRIPT))


@pytest.mark.parametrize(
    ("name", "giga"),
    [("resnet50", 4.09), ("vit-s-16", 4.60), ("swin-t-w7", 4.49), ("swin-t-w14", 4.89)],
)
def test_values_multiply_adds(script: dict, name: str, giga: float) -> None:
    """The published figures at 224 pixels; counting leaves no tensor without data behind."""
    config = script["network_config"](name)
    assert script["multiply_adds"](config, 224) / 1e9 == pytest.approx(giga, abs=0.006)


def test_values_parameters_of_the_names(script: dict) -> None:
    """Millions, as EsViT's table of architectures counts them; each takes images of 224 pixels."""
    from mmssl.registry import MODELS

    published = {
        "resnet50": 23.51, "vit-s-16": 21.67, "swin-t-w7": 27.52, "swin-t-w14": 27.57,
        "swin-s-w7": 48.84, "swin-s-w14": 48.97, "swin-b-w7": 86.74, "swin-b-w14": 86.92,
        "vil": 27.57, "cvt": 29.30,
    }  # fmt: skip
    assert set(published) == set(script["NETWORKS"])
    for name, millions in published.items():
        with torch.device("meta"):
            network = MODELS.build(script["network_config"](name))
        count = sum(parameter.numel() for parameter in network.parameters()) / 1e6
        assert count == pytest.approx(millions, abs=0.006), name


def test_values_multiply_adds_of_hybrids(script: dict) -> None:
    """Counted by hand: projections and feed-forward part 12 C^2, and what each network has beside them."""
    depths, strides = (2, 2, 6, 2), (4, 8, 16, 32)
    cvt, before = 0, 3
    for depth, stride, dim, kernel in zip(
        depths, strides, (64, 192, 384, 768), (7, 3, 3, 3), strict=True
    ):
        # a convolution of 3 x 3 in front of the projections, keys of one window of 7 x 7
        block = 12 * dim**2 + 9 * dim + 2 * 49 * dim
        cvt += (224 // stride) ** 2 * (kernel**2 * before * dim + depth * block)
        before = dim
    assert script["multiply_adds"](script["network_config"]("cvt"), 224) == cvt
    vil, before = 0, 3
    for stage, (depth, stride, dim, patch, extra) in enumerate(
        zip(depths, strides, (96, 192, 384, 768), (4, 2, 2, 2), (1, 1, 1, 0), strict=True)
    ):
        cells = (224 // stride) ** 2
        tokens = cells + extra
        # nine chunks of 7 x 7 and the global token in the first two stages, everything in the others
        pairs = cells * (9 * 49 + 1) + tokens if stage < 2 else tokens**2
        vil += cells * patch**2 * before * dim + depth * (tokens * 12 * dim**2 + 2 * dim * pairs)
        before = dim
    assert script["multiply_adds"](script["network_config"]("vil"), 224) == vil


def test_equivalence_counting_leaves_caches_usable(script: dict, tmp_path: Path) -> None:
    path = tmp_path / "tiny.py"
    path.write_text(TINY)
    config = script["network_config"](str(path))
    count = script["multiply_adds"](config, 16)
    from mmssl.registry import MODELS

    network = MODELS.build(config)
    assert network(torch.zeros(1, 3, 16, 16))[0].isfinite().all()
    assert script["multiply_adds"](config, 16) == count > 0


def test_values_forwards(script: dict) -> None:
    calls: list[int] = []
    seconds = script["seconds_of"](
        lambda: calls.append(1), torch.device("cpu"), warm_up=3, forwards=4
    )
    assert len(calls) == 7 and seconds >= 0


def test_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    path, out = tmp_path / "tiny.py", tmp_path / "figures.json"
    path.write_text(TINY)
    arguments = ["--networks", str(path), "--batch", "2", "--size", "16", "--warm-up", "1"]
    arguments += ["--forwards", "2", "--device", "cpu", "--amp", "bf16", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    record = json.loads(out.read_text())
    (figures,) = record["results"].values()
    assert figures["images_per_second"] > 0 and figures["multiply_adds"] > 0
    assert record["machine"]["torch"] == torch.__version__
    assert "images/s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "message"),
    [("swin-x", "no network 'swin-x'"), ("absent.py", "absent.py does not exist")],
)
def test_raises_one_sentence(name: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--networks", name, "--device", "cpu"])
    with pytest.raises(SystemExit, match=message):
        runpy.run_path(str(SCRIPT), run_name="__main__")
