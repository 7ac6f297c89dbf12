"""The picture of the augmentations, and its tool."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from mmssl.datasets import ImageFolder
from mmssl.registry import TRANSFORMS
from mmssl.visualization.view_sheet import SheetRow, find_views, render_view, view_sheet
from tests.helpers.pictures import SMALL_VIEWS, write_folder

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _scope() -> None:
    init_default_scope("mmssl")


def test_a_view_is_the_one_of_training(tmp_path: Path) -> None:
    write_folder(tmp_path, 4)
    folder = ImageFolder(str(tmp_path), SMALL_VIEWS, seed=5)
    sample = folder[2, 3]["inputs"]
    for view in range(3):
        ours, _ = render_view(folder.views, view, folder.image(3), seed=5, epoch=2, index=3)
        assert np.array_equal(ours.transpose(2, 0, 1), sample.images[view])


def test_the_device_path_shows_finished_views(tmp_path: Path) -> None:
    write_folder(tmp_path, 1)
    image = ImageFolder(str(tmp_path)).image(0)
    pair = []
    for path in ("workers", "device"):
        views = TRANSFORMS.build(dict(SMALL_VIEWS, photometric=path))
        pair.append(render_view(views, 0, image, seed=1, epoch=0, index=4)[0].astype(int))
    assert np.abs(pair[0] - pair[1]).mean() < 2


def test_values_of_a_sheet(tmp_path: Path) -> None:
    """One row per image, one column per view and one for the source; the views are in it."""
    paths = write_folder(tmp_path, 2)
    views = TRANSFORMS.build(SMALL_VIEWS)
    rows = [SheetRow(str(path), index) for index, path in enumerate(paths)]
    sheet = view_sheet(rows, views, cell=16 + 6)
    # sources and the two views of 16 px fill a cell, the view of 8 px is half as large
    assert sheet.size == (8 + 3 * 30 + (8 + 6) + 8, 8 + 2 * 46)
    image = ImageFolder(str(tmp_path)).image(1)
    expected, _ = render_view(views, 1, image, seed=0, epoch=0, index=1)
    shown = np.asarray(sheet)[8 + 46 + 16 + 3 :, 8 + 2 * 30 + 3 :][:16, :16]
    # the number of the view covers the upper left corner
    assert np.array_equal(shown[13:, 13:], expected[13:, 13:])


def test_a_sheet_leaves_out_what_cannot_be_read(tmp_path: Path) -> None:
    good = write_folder(tmp_path, 2)
    bad = tmp_path / "broken.jpg"
    bad.write_bytes(b"no picture")
    views = TRANSFORMS.build(SMALL_VIEWS)
    rows = [SheetRow(str(path), number) for number, path in enumerate([*good, bad])]
    assert np.array_equal(view_sheet(rows, views), view_sheet(rows[:2], views))
    with pytest.raises(ValueError, match=r"None of the 1 images can be read, .*broken\.jpg"):
        view_sheet(rows[2:], views)


def test_views_of_configs() -> None:
    config = Config(dict(train_dataloader=dict(dataset=dict(views=SMALL_VIEWS)), x=SMALL_VIEWS))
    assert find_views(config)["views"] == SMALL_VIEWS["views"]
    assert find_views(Config(dict(my_views=SMALL_VIEWS)))["type"] == "MultiView"
    with pytest.raises(ValueError, match="found none"):
        find_views(Config(dict(model=dict(type="CARE"))))


def test_the_tool_writes_a_picture(tmp_path: Path) -> None:
    write_folder(tmp_path / "images", 3)
    out = tmp_path / "views.png"
    command = [sys.executable, str(ROOT / "tools" / "show_views.py")]
    command += [str(ROOT / "configs" / "_base_" / "views" / "care.py")]
    command += ["--images", str(tmp_path / "images"), "--out", str(out), "--num", "2"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert "2 images, 2 views each" in done.stdout
    assert Image.open(out).size == (8 + 3 * 184, 8 + 2 * 200)
