"""tools/pixel_pairs.py and tools/pixel_similarity.py on drawn images: pictures, numbers, errors."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmssl.registry import MODELS, TRANSFORMS
from mmssl.visualization.pixel_pairs import positive_pairs, read_pair
from mmssl.visualization.view_sheet import SheetRow
from tests.helpers.pictures import write_folder

TOOLS = Path(__file__).parents[2] / "tools"
CONFIG = """
default_scope = "mmssl"
model = dict(
    type="PixPro",
    backbone=dict(type="Swin", embed_dims=8, depths=(1, 1), num_heads=(1, 2), window_size=4,
                  pretrain_img_size=32, out_indices=(0, 1)),
    neck=dict(hid_channels=16, out_channels=8),
    head=dict(),
    pos_ratio=1.1,
    data_preprocessor=dict(type="ViewPreprocessor"),
)
views = dict(type="MultiView", boxes=BOXES, views=[dict(num=2, transforms=[
    dict(type="RandomResizedCrop", size=(24, 32), scale=(0.3, 1.0)), dict(type="HorizontalFlip")])])
train_dataloader = dict(dataset=dict(type="ImageFolder", root="photos", views=views))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, configs with and without boxes, and checkpoints with and without a config."""
    root = tmp_path_factory.mktemp("pixels")
    write_folder(root / "photos", 5)
    (root / "empty").mkdir()
    (root / "broken.jpg").write_bytes(b"no picture")
    (root / "config.py").write_text(CONFIG.replace("BOXES", '"unit"'))
    (root / "blind.py").write_text(CONFIG.replace("BOXES", "None"))
    config = Config.fromfile(str(root / "config.py"))
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    meta = dict(cfg=config.pretty_text)
    state = model.state_dict()
    torch.save(dict(state_dict=state, meta=meta), root / "run.pth")
    torch.save(dict(state_dict=state), root / "bare.pth")
    other = {name: value for name, value in state.items() if "head" not in name}
    torch.save(dict(state_dict=other, meta=meta), root / "other.pth")
    return root


def run(monkeypatch: pytest.MonkeyPatch, tool: str, *arguments: str) -> None:
    path = str(TOOLS / tool)
    monkeypatch.setattr(sys, "argv", [path, *arguments])
    runpy.run_path(path, run_name="__main__")


def test_values_pairs(place: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Stride of the backbone (8) and ratio of the config; images spread over those of the training."""
    monkeypatch.chdir(place)
    run(monkeypatch, "pixel_pairs.py", "config.py", "--num", "2", "--seed", "3", "--epoch", "1")
    views = TRANSFORMS.build(Config.fromfile("config.py").views)
    counts = []
    for position in (0, 2):
        row = SheetRow(f"photos/{position:03d}.jpg", position)
        pair = read_pair(views, row, seed=3, epoch=1)
        counts.append(int(positive_pairs(pair, ((3, 4), (3, 4)), 1.1).sum()))
    assert sum(counts) > 20
    text = capsys.readouterr().out
    assert f"2 images, {sum(counts) / 2:.1f} positive pairs each" in text
    assert "cells of 8 px: the backbone's last map; pos_ratio 1.1" in text
    with Image.open("pairs.png") as sheet:
        width, height = sheet.size
    run(monkeypatch, "pixel_pairs.py", "config.py", "--images", "photos/001.jpg", "--stride", "16",
        "--pos-ratio", "0.5", "--out", "one.png", "--lines", "3")  # fmt: skip
    assert (
        "1 images" in (text := capsys.readouterr().out) and "16 px: as asked; pos_ratio 0.5" in text
    )
    with Image.open("one.png") as sheet:
        assert sheet.size == (width, (height - 8) // 2)


def test_values_pairs_of_a_pyramid_are_those_of_a_level(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """The loss of such a run never sees cells of the backbone's last map alone."""
    pytest.importorskip("mmdet")
    monkeypatch.chdir(place)
    pyramid = """head=dict(),
    pyramid=dict(type="DetectorPyramid", levels=(4, 5), neck=dict(
        type="mmdet.FPN", in_channels=[8, 16], out_channels=8, num_outs=3)),"""
    text = CONFIG.replace("BOXES", '"unit"').replace("head=dict(),", pyramid)
    (tmp_path / "fpn.py").write_text(text)
    out = str(tmp_path / "out.png")
    run(monkeypatch, "pixel_pairs.py", str(tmp_path / "fpn.py"), "--num", "1", "--out", out)
    text = capsys.readouterr().out
    assert "cells of 4 px: the finest level; --stride draws another of P4 4, P5 8; pos_" in text


def test_values_similarity(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row per query of each image, a column per step; and with the twin, its pictures."""
    monkeypatch.chdir(place)
    common = ["--images", "photos", "--size", "32", "--device", "cpu"]
    run(monkeypatch, "pixel_similarity.py", "run.pth", *common, "--num", "2", "--num-queries", "3")
    with Image.open("similarity.png") as sheet:
        assert sheet.size == (20 + 6 * 150 - 6, 20 + 32 + 2 * (22 + 3 * 150 + 6) + 40)
    run(monkeypatch, "pixel_similarity.py", "run.pth", *common, "--index", "1", "--query", "0", "3",
        "--query", "2", "2", "--out", "asked.png")  # fmt: skip
    with Image.open("asked.png") as sheet:
        assert sheet.size == (20 + 6 * 150 - 6, 20 + 32 + 22 + 2 * 150 + 6 + 40)
    # weights of a config: the backbone alone; a random start of the whole method, and of another map
    run(monkeypatch, "pixel_similarity.py", "bare.pth", *common, "--config", "config.py", "--num", "1",
        "--out", "bare.png")  # fmt: skip
    with Image.open("bare.png") as sheet:
        assert sheet.width == 20 + 4 * 150 - 6
    for level, columns in (("-1", 6), ("0", 4)):
        run(monkeypatch, "pixel_similarity.py", "none", *common, "--config", "config.py", "--num", "1",
            "--level", level, "--out", "none.png")  # fmt: skip
        with Image.open("none.png") as sheet:
            assert sheet.width == 20 + columns * 150 - 6


@pytest.mark.parametrize("named_by", ["checkpoint", "config", "config_of_a_backbone"])
def test_values_similarity_pairs_are_those_of_the_loss(
    named_by: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ratio and space of the boxes are the run's: PixContrast in pixels here, PixPro in fractions."""
    monkeypatch.chdir(place)
    text = CONFIG.replace('"PixPro"', '"PixContrast"').replace("    head=dict(),\n", "")
    text = text.replace("BOXES", '"pixel"').replace("pos_ratio=1.1", "pos_ratio=0.9")
    (tmp_path / "contrast.py").write_text(text)
    config = Config.fromfile(str(tmp_path / "contrast.py"))
    state = MODELS.build(config.model).state_dict()
    torch.save(dict(state_dict=state, meta=dict(cfg=config.pretty_text)), tmp_path / "run.pth")
    asked = {
        "checkpoint": [str(tmp_path / "run.pth")],
        "config": ["none", "--config", str(tmp_path / "contrast.py")],
        "config_of_a_backbone": ["bare.pth", "--config", str(tmp_path / "contrast.py")],
    }
    found = []

    def recorded(pair, grids, radius):
        found.append((radius, bool(pair.boxes.max() > 2)))
        return positive_pairs(pair, grids, radius)

    monkeypatch.setattr("mmssl.visualization.pixel_pairs.positive_pairs", recorded)
    common = ["--images", "photos", "--size", "32", "--device", "cpu", "--num", "1"]
    out = str(tmp_path / "out.png")
    run(monkeypatch, "pixel_similarity.py", *asked[named_by], *common, "--out", out)
    run(monkeypatch, "pixel_similarity.py", "run.pth", *common, "--out", out)
    assert found == [(0.9, True), (1.1, False)]


def test_values_similarity_without_views_in_the_config(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A converted file carries the network alone: as released."""
    config = Config.fromfile(str(place / "config.py"))
    state = torch.load(place / "run.pth", weights_only=True)["state_dict"]
    meta = dict(cfg=f"model = {config.model.to_dict()!r}\n")
    torch.save(dict(state_dict=state, meta=meta), tmp_path / "converted.pth")
    spaces = []

    def recorded(views, *arguments, **options):
        spaces.append(views.boxes)
        return read_pair(views, *arguments, **options)

    monkeypatch.setattr("mmssl.visualization.pixel_pairs.read_pair", recorded)
    image, out = str(place / "photos/001.jpg"), str(tmp_path / "out.png")
    run(monkeypatch, "pixel_similarity.py", str(tmp_path / "converted.pth"), "--device", "cpu",
        "--images", image, "--size", "32", "--out", out)  # fmt: skip
    assert spaces == ["unit"]


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("pixel_pairs.py", ["blind.py"], "record no crop boxes"),
        ("pixel_pairs.py", ["absent.py"], "absent.py"),
        ("pixel_pairs.py", ["config.py", "--images", "absent"], "absent does not exist"),
        ("pixel_pairs.py", ["config.py", "--images", "empty"], "empty"),
        ("pixel_pairs.py", ["config.py", "--images", "broken.jpg"], "broken.jpg cannot be read"),
        ("pixel_pairs.py", ["config.py", "--index", "5"], "--index 5: there are 5 images"),
        ("pixel_pairs.py", ["config.py", "--images", "photos", "empty"], "one folder, or files"),
        ("pixel_similarity.py", ["run.pth", "--images", "absent"], "absent does not exist"),
        ("pixel_similarity.py", ["absent.pth", "--images", "photos"], "absent.pth"),
        ("pixel_similarity.py", ["bare.pth", "--images", "photos"], "carries no config.*--config"),
        ("pixel_similarity.py", ["other.pth", "--images", "photos"], "do not fit the network"),
        ("pixel_similarity.py", ["none", "--images", "photos"], "random start needs --config"),
        (
            "pixel_similarity.py",
            ["run.pth", "--images", "photos", "--size", "32", "--query", "4", "0"],
            r"no cell \(4, 0\): the map has 4 x 4",
        ),
        (
            "pixel_similarity.py",
            ["run.pth", "--images", "photos", "--size", "32", "--level", "2"],
            "Level 2 was asked for",
        ),
    ],
)
def test_raises_one_sentence(
    place: Path, tool: str, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit, match=f"^error: (?s:.*){message}"):
        run(monkeypatch, tool, *arguments)
