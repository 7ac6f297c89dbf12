"""A pretrained FPN and towers go into a detector completely, with the settings they were trained with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from mmssl.convert.load_backbone import load_backbone
from mmssl.convert.load_report import LoadReport
from mmssl.convert.part_settings import different_settings, neck_settings, tower_settings

_EXPORT = "python tools/export_backbone.py CHECKPOINT OUT --to mmdet --parts backbone"
_FPN = ["lateral_convs", "fpn_convs"]


def check_is_export(model: nn.Module, content: Mapping[str, Any], path: str | Path) -> None:
    """Refuse a checkpoint of a run whose pretrained pyramid would silently stay behind.

    A network without an FPN, such as a segmenter or a C4 detector, takes the trunk alone and loses nothing.

    Args:
        model: The detector or segmenter.
        content: Of the file.
        path: The file.

    Raises:
        ValueError: It holds a pyramid by the names of pretraining, and the model has an FPN.
    """
    neck = getattr(model, "neck", None)
    if not all(hasattr(neck, name) for name in _FPN):
        return
    state_dict = content.get("state_dict")
    names = state_dict if isinstance(state_dict, Mapping) else content
    if any(str(name).startswith("pyramid.") for name in names):
        raise ValueError(
            f"{path} is the checkpoint of a run that has pretrained an FPN, which reaches a detector by an "
            f"export only: {_EXPORT} neck bbox_head (or without bbox_head, or the backbone alone)."
        )


def _place(model: nn.Module, path: str | Path, part: str, names: list[str]) -> nn.Module:
    """The detector's module of a part, with all children `names`."""
    module = getattr(model, part, None)
    children = dict(module.named_children()) if isinstance(module, nn.Module) else {}
    absent = [f"{part}.{name}" for name in names if name not in children]
    if module is None or absent:
        others = " neck" if part == "bbox_head" else ""
        raise ValueError(
            f"{path} has a pretrained {part}, for which this {type(model).__name__} has no place "
            f"({', '.join(absent)}). Export without it: {_EXPORT}{others}."
        )
    return module


def _refuse(faults: list[str], path: str | Path, part: str) -> None:
    if faults:
        raise ValueError(
            f"The {part} of {path} is not that of this config: {'; '.join(faults)}. Give model.{part} the "
            f"settings of pretraining, or leave it out of the file: {_EXPORT}."
        )


def load_parts(
    model: nn.Module, content: dict[str, Any], told: Mapping[str, Any], path: str | Path
) -> dict[str, LoadReport]:
    """Load the FPN and the towers of an export into a detector of mmdet.

    Args:
        model: The detector.
        content: Of the file.
        told: What the export says of its parts (`parts` of its metadata).
        path: The file.

    Returns:
        The report of each part. Its `fresh` names are those that pretraining had no task for: levels that
        took no part, predictors, a tower that was left out.

    Raises:
        ValueError: The detector has no such part, other settings, or a tensor is missing.
    """
    reports = {}
    if "neck" in told:
        neck = _place(model, path, "neck", _FPN)
        left_out = set(told["neck"]["left_out"])
        _refuse(
            different_settings("neck", told["neck"]["settings"], neck_settings(neck)), path, "neck"
        )
        reports["neck"] = load_backbone(
            neck, content, prefix="neck.", may_lack=left_out, source=path
        )
    if "bbox_head" in told:
        branches = told["bbox_head"]["branches"]
        names = [f"{branch}_convs" for branch in branches]
        head = _place(model, path, "bbox_head", names)
        settings = tower_settings(head, branches)
        _refuse(
            different_settings("bbox_head", told["bbox_head"]["settings"], settings),
            path,
            "bbox_head",
        )
        towers = nn.ModuleDict({name: head.get_submodule(name) for name in names})
        report = load_backbone(towers, content, prefix="bbox_head.", source=path)
        fresh = tuple(n for n in head.state_dict() if n not in report.matched)
        reports["bbox_head"] = replace(report, fresh=fresh)
    return reports
