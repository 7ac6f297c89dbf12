"""What records say beside figures, and that they are JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmssl.engine.training_record import norm_modes, subset_record
from mmssl.evaluation.json_record import json_text, plain
from mmssl.evaluation.provenance import interpolations, provenance
from mmssl.registry import TRANSFORMS, build_module

ROOT = Path(__file__).resolve().parents[2]


def view_set(*transforms: dict):
    views = [dict(num=1, transforms=list(transforms))]
    return build_module(TRANSFORMS, dict(type="MultiView", boxes=None, views=views))


def test_values_interpolation_with_defaults() -> None:
    crop = dict(type="RandomResizedCrop", size=8)
    resize = dict(type="Resize", size=8, interpolation="bicubic")
    assert interpolations(view_set(crop)) == ["bilinear"]
    assert interpolations(view_set(dict(type="CenterCrop", size=8))) == []
    found = provenance(Config(dict(a=1)), [view_set(crop), view_set(resize), None])
    assert found["interpolation"] == ["bicubic", "bilinear"]
    assert found["backend"] == ["cv2"]
    assert found["versions"]["torch"] == torch.__version__


def test_values_hash_is_that_of_the_settings() -> None:
    first, other, lr = (
        provenance(Config(dict(work_dir=place, lr=rate)), [])["config_sha256"]
        for place, rate in (("a", 1), ("b", 1), ("a", 2))
    )
    assert first == other != lr


def test_values_records_are_json() -> None:
    """NaN is no JSON: what has no figure is null."""
    record = dict(a=float("nan"), b=[np.float32(1.5), torch.tensor(2)], c=Path("x"), d=None, e=True)
    text = json_text(record)
    assert json.loads(text, parse_constant=lambda word: pytest.fail(word)) == dict(
        a=None, b=[1.5, 2], c="x", d=None, e=True
    )
    assert plain(float("inf")) is None


def test_values_norm_modes() -> None:
    """In the words of result.json; the model is left as it was."""
    model = nn.ModuleDict(dict(backbone=nn.Sequential(nn.BatchNorm2d(2)), head=nn.BatchNorm1d(2)))
    model.eval()
    assert norm_modes(model, model["backbone"]) == [
        "BatchNorm2d, batch statistics, parameters trained"
    ]
    assert not any(layer.training for layer in model.modules())
    model.requires_grad_(False)
    assert norm_modes(model, model["backbone"]) == [
        "BatchNorm2d, batch statistics, parameters fixed"
    ]


def test_values_subset_by_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "1percent.txt"
    file.write_text("n01_1.JPEG\n")
    found = subset_record(str(file))
    assert found is not None and len(found["sha256"]) == 64 and found["official"] is None
    monkeypatch.setattr(
        "mmssl.engine.training_record.OFFICIAL_SPLITS", {found["sha256"]: "a known list"}
    )
    assert subset_record(str(file)) == found | dict(official="a known list")
    assert subset_record(None) is None


def test_values_paths_in_messages_exist() -> None:
    """What a message or docstring of the package sends a reader to is there."""
    named = {
        (path, found)
        for path in (ROOT / "mmssl").rglob("*.py")
        for found in re.findall(
            r"\b(?:configs|tools|docs)/[\w./-]+\.(?:py|md|sh)\b", path.read_text()
        )
    }
    assert len(named) > 20
    absent = [f"{path.name}: {found}" for path, found in named if not (ROOT / found).exists()]
    assert not absent
