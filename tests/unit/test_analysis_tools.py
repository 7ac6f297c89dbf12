"""tools/{correspondence,attention_entropy,label_free}.py on drawn images: figures, files, errors."""

from __future__ import annotations

import json
import runpy
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmssl.evaluation import alpha_req, effective_rank, feature_std, lidar, uniformity
from mmssl.evaluation.correspondence import correspondence_views, measure_correspondence
from mmssl.evaluation.evaluate import build_backbone
from mmssl.evaluation.features import evaluation_loader
from mmssl.evaluation.label_free import label_free_measures, measure_label_free

TOOLS = Path(__file__).parents[2] / "tools"
CONFIG = """
default_scope = "mmssl"
model = dict(
    type="BYOL",
    backbone=dict(type="Swin", embed_dims=8, depths=(1, 1), num_heads=(1, 2), window_size=4,
                  pretrain_img_size=32, out_indices=(1,)),
    data_preprocessor=dict(type="ViewPreprocessor"),
)
"""
COMMON = ["--size", "32", "--num-workers", "0", "--device", "cpu"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images, a config, and a checkpoint with two branches that carries the config."""
    root, rng = tmp_path_factory.mktemp("analysis"), np.random.default_rng(0)
    (root / "photos").mkdir()
    for number in range(5):
        pixels = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((40, 44)).save(root / f"photos/{number}.png")
    (root / "config.py").write_text(CONFIG)
    config = Config.fromfile(str(root / "config.py"))
    state = {}
    for seed, prefix in ((1, "backbone."), (2, "twin.backbone.")):
        backbone = build_backbone(config, None, seed=seed)[0]
        state |= {prefix + key: value for key, value in backbone.state_dict().items()}
    torch.save(dict(state_dict=state, meta=dict(cfg=config.pretty_text)), root / "run.pth")
    return root


def run(monkeypatch: pytest.MonkeyPatch, tool: str, *arguments: str) -> None:
    path = str(TOOLS / tool)
    monkeypatch.setattr(sys, "argv", [path, *arguments])
    runpy.run_path(path, run_name="__main__")


def test_values_correspondence(place: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """The figures of the function, for the branch asked for; a sheet of two pairs."""
    photos, out, plot = str(place / "photos"), place / "c.json", place / "c.png"
    run(monkeypatch, "correspondence.py", str(place / "run.pth"), "--images", photos, *COMMON,
        "--branch", "twin", "--plot", str(plot), "--num-plots", "2", "--other-image",
        "--out", str(out))  # fmt: skip
    record = json.loads(out.read_text())
    backbone, preprocessor, _ = build_backbone(None, str(place / "run.pth"), branch="twin")
    dataset = dict(type="ImageFolder", root=photos, views=correspondence_views(32))
    expected = measure_correspondence(
        backbone, evaluation_loader(dataset), preprocessor=preprocessor
    )
    assert record["result"]["error"] == expected.error
    assert record["result"]["num_images"] == 5
    assert record["weights"]["branch"] == "twin" and len(record["weights"]["sha256"]) == 64
    text = capsys.readouterr().out
    assert f"{expected.accuracy:.4f}" in text and "4 x 4 regions of 8 x 8 px" in text
    with Image.open(plot) as sheet:
        assert sheet.size == (2 * (32 + 5 + 32), 2 * 64 + 8)


def test_values_attention_entropy(place: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    out, masks = place / "a.json", place / "a.png"
    run(monkeypatch, "attention_entropy.py", "none", "--config", str(place / "config.py"),
        "--images", str(place / "photos"), *COMMON, "--masks", str(masks), "--num-masks", "1",
        "--query", "0", "3", "--out", str(out), "--num-images", "3")  # fmt: skip
    result = json.loads(out.read_text())["result"]
    assert result["num_images"] == 3 and result["largest"] == 4
    assert all(3.5 < bits <= 4 for bits in result["entropy"])  # untrained: nearly even
    lines = capsys.readouterr().out.splitlines()
    heads = [line.split() for line in lines if line.startswith("  head")]
    assert sorted(int(words[1]) for words in heads) == [0, 1]
    assert float(heads[0][2]) >= float(heads[1][2])
    assert Image.open(masks).height == 128 + 16


def test_values_label_free(place: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """The figures of the function for a file and a random start, in the order of the command line."""
    photos, out, run_file = str(place / "photos"), place / "l.json", str(place / "run.pth")
    run(monkeypatch, "label_free.py", run_file, "none", "--config", str(place / "config.py"),
        "--images", photos, *COMMON, "--num-views", "3", "--num-view-images", "4",
        "--out", str(out))  # fmt: skip
    record = json.loads(out.read_text())
    backbone, preprocessor, _ = build_backbone(None, run_file)
    expected = measure_label_free(
        backbone, photos, size=32, num_view_images=4, num_views=3, preprocessor=preprocessor,
        num_workers=0,
    )  # fmt: skip
    assert list(record["results"]) == [run_file, "none"]
    assert record["results"][run_file] == asdict(expected)
    assert (expected.num_images, expected.num_view_images, expected.num_views) == (5, 4, 3)
    assert expected.alpha_req is None and expected.dim == 16
    assert 0 < expected.alignment < 4
    text = capsys.readouterr().out
    assert "5 central crops, 3 views of 4 images, 32 px" in text
    assert "RankMe is bounded by the 5 images: it needs more than 16 (--num-images)." in text
    assert "LiDAR is bounded by the 4 images" in text
    rows = {line.split()[0]: line for line in text.splitlines() if "*" in line}
    best = max(record["results"], key=lambda name: record["results"][name]["effective_rank"])
    assert f"{record['results'][best]['effective_rank']:.4g}*" in rows[best]


def test_raises_an_image_that_cannot_be_read(place: Path, tmp_path: Path) -> None:
    """Another in its place would be compared with views of it."""
    for photo in (place / "photos").iterdir():
        (tmp_path / photo.name).write_bytes(photo.read_bytes())
    (tmp_path / "1.png").write_bytes(b"no picture")
    backbone = build_backbone(None, str(place / "run.pth"))[0]
    with pytest.raises(Exception, match=r"1\.png"):
        measure_label_free(backbone, str(tmp_path), size=32, num_views=2, num_workers=0)


def test_values_label_free_measures() -> None:
    """Each is the function of its name; views that are all alike have no distance."""
    random = torch.Generator().manual_seed(0)
    features = torch.randn(140, 120, generator=random)
    views = torch.randn(20, 1, 120, generator=random).expand(-1, 3, -1)
    found = label_free_measures(features, views)
    assert found.effective_rank == effective_rank(features)
    assert found.alpha_req == alpha_req(features)
    assert (found.lidar, found.alignment) == (lidar(views), 0.0)
    assert found.uniformity == uniformity(features)
    assert found.feature_std == pytest.approx(120**0.5 * feature_std(features))
    assert 0.9 < found.feature_std < 1.1
    # a hundred centred images have 99 directions
    assert label_free_measures(features[:100], views).alpha_req is None
    assert label_free_measures(features[:101], views).alpha_req is not None
    with pytest.raises(ValueError, match="must have one size"):
        label_free_measures(features, views[..., :5])


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("correspondence.py", ["none", "--images", "photos"], "needs a config"),
        ("correspondence.py", ["run.pth", "--images", "absent"], "absent does not exist"),
        (
            "label_free.py",
            ["run.pth", "--images", "photos", "--num-views", "1"],
            "num_views >= 2, got 1",
        ),
        ("label_free.py", ["none", "--images", "photos"], "needs a config"),
        (
            "label_free.py",
            ["run.pth", "--images", "photos", "--num-images", "1"],
            "at least 2, got 1 of photos",
        ),
        ("correspondence.py", ["absent.pth", "--images", "photos"], "absent.pth"),
        (
            "correspondence.py",
            ["run.pth", "--images", "photos", "--size", "16"],
            "grid of 2 x 2 regions",
        ),
        (
            "attention_entropy.py",
            ["none", "--config", "resnet.py", "--images", "photos"],
            "ResNet does not tell its attention",
        ),
        (
            "attention_entropy.py",
            ["run.pth", "--images", "photos", "--masks", "m.png", "--mass", "2"],
            r"mass must lie in \(0, 1\]",
        ),
    ],
)
def test_raises_one_sentence(
    place: Path, tool: str, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = 'default_scope = "mmssl"\nmodel = dict(backbone=dict(type="ResNet", depth=18))\n'
    (place / "resnet.py").write_text(text)
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit, match=f"^error: .*{message}"):
        run(monkeypatch, tool, *COMMON, *arguments)
