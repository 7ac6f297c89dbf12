"""tools/prototype_scores.py on a tiny network: its record says what the scores depend on; its errors."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

import mmssl.visualization.clustered_images
from mmssl.convert.checkpoint_file import file_sha256
from mmssl.registry import MODELS

pytestmark = pytest.mark.integration

TOOL = Path(__file__).parents[2] / "tools/prototype_scores.py"
CONFIG = """
default_scope = "mmssl"
resize = dict(type="Resize", size=[32, 32], interpolation="bicubic")
view = dict(type="MultiView", boxes=None, views=[dict(num=1, transforms=[resize])])
model = dict(
    type="MoCo",
    backbone=dict(type="TimmBackbone", name="test_resnet", out_indices=(3,)),
    neck=dict(type="MLPNeck", hid_channels=8, out_channels=4),
    queue_length=8,
)
train_dataloader = dict(batch_size=4, dataset=dict(type="ImageFolder", root="{root}", views=None))
custom_hooks = [dict(type="ClusterHook", views=view, clusterer=dict(type="KMeans", restarts=2))]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight images of two classes, a config and a checkpoint."""
    root = tmp_path_factory.mktemp("scored")
    rng = np.random.default_rng(0)
    for number in range(8):
        path = root / "images" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (32, 32, 3)) * [number % 2, 1, number / 8]
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    (root / "config.py").write_text(CONFIG.format(root=root / "images"))
    config = Config.fromfile(str(root / "config.py"))
    torch.manual_seed(0)
    meta = dict(cfg=config.pretty_text)
    torch.save(
        dict(state_dict=MODELS.build(config.model).state_dict(), meta=meta), root / "run.pth"
    )
    return root


def run_tool(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> None:
    given = [str(folder / "config.py"), str(folder / "run.pth"), *arguments]
    monkeypatch.setattr(sys, "argv", [str(TOOL), *given, "--num-workers=0", "--device=cpu"])
    monkeypatch.syspath_prepend(str(TOOL.parent))
    runpy.run_path(str(TOOL), run_name="__main__")


def test_values_record(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the few images stand for the queue unless it is said."""
    out = tmp_path / "scores.json"
    run_tool(monkeypatch, folder, "--num-clusters", "3", "2", "--seed=5", f"--out={out}")
    record = json.loads(out.read_text())
    expected = dict(
        checkpoint=str(folder / "run.pth"),
        checkpoint_sha256=file_sha256(folder / "run.pth"),
        config=str(folder / "config.py"),
        interpolation=["bicubic"],
        method="MoCo",
        branch="twin",
        data=str(folder / "images"),
        labels=None,
        num_images=8,
        hierarchy=None,
        clusterer=dict(type="KMeans", restarts=2),
        num_clusters=[3, 2],
        num_keys=4,
        seed=5,
    )
    assert {key: record[key] for key in expected} == expected
    assert len(record["config_sha256"]) == 64 and len(record["data_fingerprint"]) == 64


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--num-clusters", "3", "2", "--num-keys=8"], "num_keys=8 of 8 images .*--num-keys"),
        (["--num-clusters", "2", "3"], r"error: .* smaller from the finest on.*--num-clusters"),
        (["--num-clusters", "9", "2"], "9 clusters need at least as many images, got 8"),
        (["--num-clusters", "3", "2", "--hierarchy=foo"], "'foo' is neither"),
        ([], "no model.prototypes: give --num-clusters"),
    ],
)
def test_raises_before_embeddings(
    arguments: list[str], words: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one sentence; the images are not looked at."""
    monkeypatch.setattr(mmssl.visualization.clustered_images, "embed_images", None)
    with pytest.raises(SystemExit, match=words):
        run_tool(monkeypatch, folder, *arguments)


@pytest.mark.parametrize("name", ["--num-clusters", "--num-keys"])
def test_raises_in_the_parser(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        run_tool(monkeypatch, folder, name, "0")
    assert f"{name} must be at least 1, got 0" in capsys.readouterr().err


def test_raises_with_a_traceback_for_a_bug(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        int("x")

    monkeypatch.setattr(mmssl.visualization.clustered_images, "embed_images", broken)
    with pytest.raises(ValueError, match="invalid literal"):
        run_tool(monkeypatch, folder, "--num-clusters", "3", "2")
