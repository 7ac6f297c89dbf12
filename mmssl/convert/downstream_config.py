"""The ready downstream config of an exported backbone."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS as ROOT_MODELS

from mmssl.convert.export import Export
from mmssl.convert.part_settings import different_settings, neck_settings
from mmssl.engine.config import load_config
from mmssl.models.backbones import ResNet, Swin
from mmssl.registry import MODELS

# What makes a CoTNet another network, and its defaults; the rest is the detector's to say.
_COTNET = dict(arch="50", in_channels=3, fusion="se", mixer=None)
_OF_NETWORK = {
    "mmssl.CoTNet": (*_COTNET, "out_indices"),
    "mmssl.LRNet": (
        *("depth", "in_channels", "out_indices", "kernel_size"),
        *("widths", "shares", "similarity", "prior"),
    ),
    "mmssl.ResNet": ("depth", "width", "stem", "plugins", "out_indices"),
}
MARK = "# Written by tools/export_backbone.py; a new export of this name replaces it."


def _stage_channels(backbone_config: dict[str, Any], export: Export) -> list[int]:
    """Channels of every map that the downstream backbone returns, by stage."""
    if isinstance(export.backbone, Swin):
        return export.backbone.out_channels
    if isinstance(export.backbone, ResNet):
        full = ResNet(export.backbone.depth, export.backbone.width)
        return full.out_channels
    return MODELS.build({**backbone_config}).out_channels


def _maps(leaf: dict[str, Any], num_maps: int) -> list[int]:
    """Which of the exported backbone's maps the inherited config reads; C4 heads go by stage."""
    stages = leaf.get("out_indices", range(num_maps))
    return [stage for stage in stages if stage < num_maps]


def _swin_changes(ours: dict[str, Any], leaf: dict[str, Any]) -> dict[str, Any]:
    """What makes the Swin of the inherited config the exported one; drop path stays the config's."""
    stages = [len(build["depths"]) for build in (ours, leaf)]
    if stages[0] != stages[1]:
        raise ValueError(
            f"The inherited config's Swin has {stages[1]} stages, the pretrained one {stages[0]}: "
            "pretrain all stages, or choose a config that names no Swin (it takes the whole export)."
        )
    wanted = ("embed_dims", "depths", "num_heads", "window_size", "mlp_ratio", "qkv_bias")
    theirs = dict(mlp_ratio=4, qkv_bias=True) | leaf
    theirs |= {name: tuple(theirs[name]) for name in ("depths", "num_heads")}
    changes = {name: ours[name] for name in wanted if ours[name] != theirs[name]}
    if (leaf.get("norm_cfg") or {}).get("eps", 1e-5) != ours["norm_cfg"]["eps"]:
        changes["norm_cfg"] = ours["norm_cfg"]
    return changes


def _cotnet_changes(ours: dict[str, Any], leaf: dict[str, Any]) -> dict[str, Any]:
    """What makes the CoTNet of the inherited config the exported one."""
    read, last = leaf.get("out_indices", (3,))[-1] + 1, ours.get("out_indices", (3,))[-1] + 1
    if read > last:
        raise ValueError(
            f"The inherited config's backbone has {read} stages, the pretrained one {last}: pretrain all "
            "stages, or choose a config that reads fewer."
        )
    changes = {key: ours.get(key, usual) for key, usual in _COTNET.items()}
    changes = {k: v for k, v in changes.items() if v != leaf.get(k, _COTNET[k])}
    if isinstance(changes.get("arch"), dict):
        changes["arch"] = dict(_delete_=True, **changes["arch"])  # of a name, or of other entries
    return changes


def _dilated(leaf: dict[str, Any]) -> int | None:
    """The output stride of a dilated ResNet or CoTNet; None for one that subsamples to the end."""
    if leaf.get("output_stride"):
        return leaf["output_stride"]
    strides = leaf.get("strides") if "ResN" in leaf["type"] else None
    if strides is None or 1 not in strides[1:]:
        return None
    total = [4 * math.prod(strides[: stage + 1]) for stage in range(len(strides))]
    if total != [min(4 * 2**stage, total[-1]) for stage in range(len(strides))]:
        raise ValueError(
            f"The inherited config's backbone has strides={tuple(strides)}; the exported one can only "
            "keep the stride of an early stage in all later ones. Choose another config."
        )
    return total[-1]


def _dense(ours: dict[str, Any], stride: int) -> dict[str, Any]:
    """Options under which a network of ours subsamples by `stride` and dilates what follows."""
    kind = ours["type"]
    if ours.get("stem") == "cifar":  # never above 8
        return {}
    if kind == "mmssl.LRNet":
        full = [4 * 2**stage for stage in range(4)]
        return dict(
            strides=tuple(2 if 4 < total <= stride else 1 for total in full),
            dilations=tuple(max(total // stride, 1) for total in full),
        )
    options: dict[str, Any] = dict(output_stride=stride)
    return options | (dict(dilate_mixer=True) if kind == "mmssl.CoTNet" else {})


def _settings_of_leaf(ours: dict[str, Any], leaf: dict[str, Any], to: str) -> dict[str, Any]:
    """What the inherited config decides for its own backbone and means for another one in its place.

    That is how to fine-tune (norms, frozen stages), and the strides that the heads are made for.
    """
    theirs = "ResN" in leaf["type"] and not leaf["type"].startswith("mmssl.")
    # mmdet's ResNets have this default, mmseg's have not
    settings: dict[str, Any] = dict(norm_eval=True) if theirs and to == "mmdet" else {}
    settings |= {name: leaf[name] for name in ("norm_eval", "frozen_stages") if name in leaf}
    settings["norm_cfg"] = leaf.get("norm_cfg") or dict(type="BN")
    stride = _dilated(leaf)
    return settings if stride is None else settings | _dense(ours, stride)


def _backbone_changes(export: Export, leaf: dict[str, Any]) -> dict[str, Any]:
    """What `model.backbone` of the inherited config must change to be the exported network."""
    ours = export.metadata["build"]
    own = leaf["type"].split(".")[-1]
    if (
        ours["type"].endswith(".ResNet")
        and not ours["type"].startswith("mmssl.")
        and own == "ResNet"
    ):
        num_stages = leaf.get("num_stages", 4)
        if num_stages > ours["num_stages"]:
            raise ValueError(
                f"The inherited config's backbone has {num_stages} stages, the pretrained one "
                f"{ours['num_stages']}: choose a config with fewer stages (C4)."
            )
        return {} if leaf["depth"] == ours["depth"] else dict(depth=ours["depth"])
    if ours["type"].endswith(".SwinTransformer") and own == "SwinTransformer":
        return _swin_changes(ours, leaf)
    if ours["type"] == leaf["type"] == "mmssl.CoTNet":
        return _cotnet_changes(ours, leaf)
    changes = {key: value for key, value in ours.items() if value is not None}
    if ours["type"] in _OF_NETWORK:
        changes = {k: v for k, v in changes.items() if k in ("type", *_OF_NETWORK[ours["type"]])}
        changes |= _settings_of_leaf(ours, leaf, export.metadata["to"])
    stages: Any = export.backbone.out_indices
    maps = _maps(leaf, len(stages))
    if len(maps) < len(stages):
        changes["out_indices"] = tuple(stages[i] for i in maps)
    return dict(_delete_=True, **changes)


def _head_changes(model: dict[str, Any], channels: list[int], depth: int | None) -> dict[str, Any]:
    """Input channels of necks and heads, where they differ from the inherited config's."""

    def inputs(part: dict[str, Any], wanted: Any) -> dict[str, Any]:
        return {} if part.get("in_channels") in (wanted, None) else dict(in_channels=wanted)

    changes: dict[str, Any] = {}
    maps = [channels[i] for i in _maps(model["backbone"], len(channels))]
    if "neck" in model:
        changes["neck"] = inputs(model["neck"], maps)
    for name in ("decode_head", "auxiliary_head"):
        if isinstance(model.get(name), dict):
            index = model[name].get("in_index", -1)
            several = isinstance(index, (list, tuple))
            wanted = [maps[i] for i in index] if several else maps[index]
            changes[name] = inputs(model[name], wanted)
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


def write_downstream_config(export: Export, transfer_config: str | Path) -> Path:
    """Write `<export>.py`: a transfer config with the exported backbone as its start.

    It inherits `transfer_config`, sets `load_from`, and adapts depth and channels where the pretrained
    backbone differs from the inherited one.

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
    leaf = load_config(transfer_config)["model"].to_dict()
    channels = _stage_channels(export.metadata["build"], export)
    plain = not export.metadata["build"]["type"].startswith("mmssl.")
    depth = export.metadata["build"].get("depth") if plain else None
    model = _head_changes(leaf, channels, depth)
    _check_parts(export, leaf, model)
    backbone = _backbone_changes(export, leaf["backbone"])
    if backbone:
        model = dict(backbone=backbone, **model)

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
    if model:
        lines.append(Config(dict(model=model)).pretty_text.strip())
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
