"""The ready downstream config of an exported backbone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS as ROOT_MODELS

from mmssl.convert.downstream_backbone import (
    backbone_changes,
    is_plain,
    maps_read,
    stage_channels,
)
from mmssl.convert.export import Export
from mmssl.convert.part_settings import different_settings, neck_settings
from mmssl.engine.config import load_config

MARK = "# Written by tools/export_backbone.py; a new export of this name replaces it."


def _read_channels(name: str, head: dict[str, Any], maps: list[int]) -> Any:
    """Channels of the map, or maps, that a segmentor's head reads."""
    index = head.get("in_index", -1)
    several = isinstance(index, (list, tuple))
    last = max(index) if several else index
    if last >= len(maps):
        raise ValueError(
            f"The inherited config's {name} reads map {last} (from 0) of the backbone, the pretrained one "
            f"has {len(maps)}: pretrain all stages, or choose a config that reads fewer."
        )
    return [maps[i] for i in index] if several else maps[index]


def _head_changes(model: dict[str, Any], channels: list[int], depth: int | None) -> dict[str, Any]:
    """Input channels of necks and heads, where they differ from the inherited config's."""

    def inputs(part: dict[str, Any], wanted: Any) -> dict[str, Any]:
        return {} if part.get("in_channels") in (wanted, None) else dict(in_channels=wanted)

    changes: dict[str, Any] = {}
    maps = [channels[i] for i in maps_read(model["backbone"], len(channels))]
    if "neck" in model:
        changes["neck"] = inputs(model["neck"], maps)
    for name in ("decode_head", "auxiliary_head"):
        if isinstance(model.get(name), dict):
            changes[name] = inputs(model[name], _read_channels(name, model[name], maps))
        elif any(inputs(head, _read_channels(name, head, maps)) for head in model.get(name) or ()):
            raise ValueError(
                f"The inherited config has several {name}s for maps of other channels than the pretrained "
                f"backbone's {maps}; a config that inherits cannot change one in a list. Choose another, or "
                "write the list out."
            )
    shared = (model.get("roi_head") or {}).get("shared_head")
    if shared:
        if depth is None:
            raise ValueError(
                "A C4 detector splits a plain ResNet between backbone and RoI head; this backbone is "
                "another one. Choose an FPN config, for example "
                "configs/benchmarks/coco_detection/mask-rcnn_r50-fpn_8xb2-1x_coco.py."
            )
        heads = {
            name: inputs(model["roi_head"][name], channels[3])
            for name in ("bbox_head", "mask_head")
            if isinstance(model["roi_head"].get(name), dict)
        }
        if shared["depth"] != depth:
            heads["shared_head"] = dict(depth=depth)
        changes["rpn_head"] = {
            **inputs(model["rpn_head"], channels[2]),
            **({} if channels[2] == 1024 else dict(feat_channels=channels[2])),
        }
        changes["roi_head"] = {name: change for name, change in heads.items() if change}
    return {name: change for name, change in changes.items() if change}


def _check_parts(export: Export, leaf: dict[str, Any], changes: dict[str, Any]) -> None:
    """Raise unless the inherited config has the exported FPN and a place for the towers."""
    told = export.metadata.get("parts", {})
    faults = [f"it has no model.{part}" for part in told if not isinstance(leaf.get(part), dict)]
    if "neck" in told and not faults:
        neck = {**leaf["neck"], **changes.get("neck", {})}
        built = ROOT_MODELS.build(ConfigDict(neck, _scope_="mmdet"))
        faults = different_settings("neck", told["neck"]["settings"], neck_settings(built))
    if faults:
        raise ValueError(
            f"The inherited config does not take {' and '.join(told)} of the export: {'; '.join(faults)}. "
            "Name the config of the detector that was pretrained for with --config."
        )


def _input_changes(metadata: dict[str, Any], preprocessor: dict[str, Any]) -> dict[str, Any]:
    """Mean and deviation of the pretraining's images, where the inherited config's are others.

    mmdet and mmseg read images as BGR; an export is of RGB. A preprocessor without a mean of its own (around
    several branches, or none) is left to `input_faults`, which sees it built.
    """
    if preprocessor.get("mean") is None:
        return {}
    wanted = {name: metadata[name] for name in ("mean", "std") if metadata[name] is not None}
    if wanted:
        wanted["bgr_to_rgb"] = True
    return {
        name: value
        for name, value in wanted.items()
        if not np.allclose(preprocessor.get(name) or 0.0, value, rtol=0, atol=0.05)
    }


def _imports(export: Export, inherited: Config) -> list[str]:
    """What the ready config has to import, beside its own, for a network of somebody's or of ours."""
    build = export.metadata["build"]
    needed = export.metadata["custom_imports"] if "plugins" in build or not is_plain(export) else []
    there = inherited.get("custom_imports", {}).get("imports", [])
    there = [there] if isinstance(there, str) else list(there)
    missing = [name for name in needed if name not in there]
    return there + missing if missing else []


def write_downstream_config(export: Export, transfer_config: str | Path) -> Path:
    """Write `<export>.py`: a transfer config with the exported backbone as its start.

    It inherits `transfer_config`, sets `load_from`, and adapts depth, channels, and mean and deviation of the
    images where those of the pretraining differ from the inherited ones.

    Args:
        export: What `export_backbone` wrote for mmdet or mmseg.
        transfer_config: The config to inherit, one of `configs/benchmarks/`.

    Returns:
        The path of the config: the export's, with the suffix `.py`.

    Raises:
        FileNotFoundError: There is no such config.
        ValueError: The export is for a library without configs, the backbone or the FPN does not fit, or a
            config of somebody else's has the name already.
    """
    if not isinstance(export.metadata["build"], dict):
        raise ValueError(
            f"A config needs an export to mmdet or mmseg, not {export.metadata['to']}."
        )
    transfer_config = Path(transfer_config)
    inherited = load_config(transfer_config)
    leaf = inherited["model"].to_dict()
    depth = export.metadata["build"].get("depth") if is_plain(export) else None
    model = _head_changes(leaf, stage_channels(export), depth)
    _check_parts(export, leaf, model)
    backbone = backbone_changes(export, leaf["backbone"])
    if backbone:
        model = dict(backbone=backbone, **model)
    images = _input_changes(export.metadata, leaf.get("data_preprocessor") or {})
    if images:
        model = dict(data_preprocessor=images, **model)
    if leaf.get("pretrained"):  # mmseg's name for weights that load_from replaces
        model["pretrained"] = None

    path = export.path.with_suffix(".py")
    if path.exists() and MARK not in path.read_text(encoding="utf-8"):
        raise ValueError(
            f"{path} exists and was not written by this tool; it stays as it is. Export to another "
            "name, or move it away."
        )
    base = os.path.relpath(transfer_config.resolve(), path.resolve().parent)
    lines = [
        f'"""Fine-tunes {export.path.name}: {export.metadata["method"]}, {export.metadata["branch"]} '
        f'network, epoch {export.metadata["epoch"]}."""',
        MARK,
        "",
        f"_base_ = {base!r}",
        "",
        f"load_from = {str(export.path.resolve())!r}",
    ]
    imports = _imports(export, inherited)
    if imports:
        lines.append(f"custom_imports = dict(imports={imports!r})")
    if model:
        lines.append(Config(dict(model=model)).pretty_text.strip())
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
