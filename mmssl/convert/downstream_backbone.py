"""How the backbone of a downstream config becomes an exported one."""

from __future__ import annotations

import math
from typing import Any

from mmssl.convert.export import Export
from mmssl.models.backbones import ResNet
from mmssl.models.backbones.cotnet_archs import cotnet_arch

# What makes a CoTNet another network, and its defaults; the rest is the detector's to say.
_COTNET = dict(arch="50", in_channels=3, fusion="se", mixer=None)
_OF_NETWORK = {
    "mmssl.CoTNet": (*_COTNET, "out_indices"),
    "mmssl.LRNet": (
        *("depth", "in_channels", "out_indices", "kernel_size"),
        *("widths", "shares", "similarity", "prior"),
    ),
    "mmssl.ResNet": (
        *("depth", "width", "stem", "plugins", "out_indices"),
        *("base_channels", "padding"),
    ),
    "ResNet": ("depth", "num_stages", "style", "plugins", "out_indices"),
}
_RESNETS = ("ResN", "Res2Net", "RegNet")  # in the names of the libraries' own, with BatchNorm
_BATCH_NORMS = ("BN", "BN2d", "SyncBN")
_NORM_TUNING = ("type", "requires_grad", "momentum")  # the rest of a BatchNorm is the network's


def stage_channels(export: Export) -> list[int]:
    """Channels of every map that the downstream backbone can return, by stage.

    Of a ResNet that the library has itself they are four whatever was pretrained: a C4 detector has the last
    stage in its head.
    """
    if isinstance(export.backbone, ResNet) and is_plain(export):
        return ResNet(export.backbone.depth).out_channels
    channels: Any = export.backbone.out_channels
    return channels


def is_plain(export: Export) -> bool:
    """Whether the library has the network itself, rather than taking ours."""
    return not export.metadata["build"]["type"].startswith("mmssl.")


def maps_read(leaf: dict[str, Any], num_maps: int) -> list[int]:
    """Which of the exported backbone's maps the inherited config reads; C4 heads go by stage."""
    stages = leaf.get("out_indices", range(num_maps))
    return [stage for stage in stages if stage < num_maps]


def _need_stages(theirs: int, ours: int, way_out: str) -> None:
    if theirs > ours:
        raise ValueError(
            f"The inherited config's backbone has {theirs} stages, the pretrained one {ours}: pretrain all "
            f"stages, or choose {way_out}."
        )


def _resnet_changes(ours: dict[str, Any], leaf: dict[str, Any]) -> dict[str, Any]:
    """What makes the library's ResNet of the inherited config the exported one."""
    num_stages = leaf.get("num_stages", 4)
    _need_stages(num_stages, ours["num_stages"], "a config with fewer stages (C4)")
    changes: dict[str, Any] = {} if leaf["depth"] == ours["depth"] else dict(depth=ours["depth"])
    if leaf.get("style", ours["style"]) != ours["style"]:  # where a block has its stride
        changes["style"] = ours["style"]
    if "plugins" in ours:
        changes["plugins"] = _of_stages(ours["plugins"], num_stages)
    return changes


def _of_stages(plugins: list[dict[str, Any]], num_stages: int) -> list[dict[str, Any]]:
    """Plugins of a ResNet with fewer stages, whose last ones may be elsewhere: there must be none."""
    lost = [plugin["cfg"]["type"] for plugin in plugins if any(plugin["stages"][num_stages:])]
    if lost:
        raise ValueError(
            f"The inherited config's backbone has {num_stages} stages, but the pretrained one has plugins in "
            f"later ones ({', '.join(lost)}), which a C4 detector's head cannot take. Choose an FPN config, "
            "for example configs/benchmarks/coco_detection/mask-rcnn_r50-fpn_8xb2-1x_coco.py."
        )
    return [dict(plugin, stages=plugin["stages"][:num_stages]) for plugin in plugins]


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
    _need_stages(read, last, "a config that reads fewer")
    stems = [cotnet_arch(build.get("arch", "50")).stem for build in (ours, leaf)]
    if leaf.get("strides") is not None and stems[0] != stems[1]:
        raise ValueError(
            f"The inherited config's CoTNet has strides={tuple(leaf['strides'])} behind the stem "
            f"{stems[1]!r}, the pretrained one has the stem {stems[0]!r}, of another stride. Choose a config "
            "without strides, or one with output_stride."
        )
    changes = {key: ours.get(key, usual) for key, usual in _COTNET.items()}
    changes = {k: v for k, v in changes.items() if v != leaf.get(k, _COTNET[k])}
    norm, theirs = _own_norm(ours), _own_norm(leaf)
    if norm != theirs:
        kept = {k: v for k, v in (leaf.get("norm_cfg") or {}).items() if k not in theirs}
        changes["norm_cfg"] = dict(_delete_=True, **dict(type="BN") | kept | norm)
    if isinstance(changes.get("arch"), dict):
        changes["arch"] = dict(_delete_=True, **changes["arch"])  # of a name, or of other entries
    return changes


def _dilated(leaf: dict[str, Any]) -> int | None:
    """The output stride of a dilated ResNet, CoTNet or LRNet; None for one that subsamples to the end."""
    if leaf.get("output_stride"):
        return leaf["output_stride"]
    own = leaf["type"] in ("mmssl.CoTNet", "mmssl.LRNet")
    strides = leaf.get("strides") if own or _is_resnet(leaf) else None
    if strides is None or 1 not in strides[1:]:
        return None
    deep = leaf["type"] == "mmssl.CoTNet" and cotnet_arch(leaf.get("arch", "50")).stem == "deep"
    stem = 2 if deep else 4
    total = [stem * math.prod(strides[: stage + 1]) for stage in range(len(strides))]
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
    if ours.get("padding") == "same":
        raise ValueError(
            "The inherited config dilates its backbone; the pretrained one pads as TensorFlow does "
            "(padding='same'), and dilated it would be on another grid of places. Choose a config that "
            "subsamples to the end, for example an FPN."
        )
    if kind in ("mmssl.CoTNet", "mmssl.ResNet"):
        options: dict[str, Any] = dict(output_stride=stride)
        return options | (dict(dilate_mixer=True) if kind == "mmssl.CoTNet" else {})
    full = [4 * 2**stage for stage in range(ours.get("num_stages", 4))]
    options = dict(
        strides=tuple(2 if 4 < total <= stride else 1 for total in full),
        dilations=tuple(max(total // stride, 1) for total in full),
    )
    # the library's ResNet: the first block of a stage reads the finer grid of the stage before, as in ours
    return options if kind == "mmssl.LRNet" else options | dict(contract_dilation=True)


def _is_resnet(leaf: dict[str, Any]) -> bool:
    return any(name in leaf["type"] for name in _RESNETS)


def _own_norm(build: dict[str, Any]) -> dict[str, Any]:
    """What of the norms belongs to the network, as their epsilon does, and not to how it is trained."""
    norm = build.get("norm_cfg") or {}
    return {name: value for name, value in norm.items() if name not in _NORM_TUNING}


def _norm_of_leaf(ours: dict[str, Any], leaf: dict[str, Any]) -> dict[str, Any]:
    """Norms of the exported network that are trained as those of the inherited config."""
    mine = ours.get("norm_cfg") or dict(type="BN")
    if mine["type"] not in _BATCH_NORMS:
        return mine
    norm = leaf.get("norm_cfg") or (dict(type="BN") if _is_resnet(leaf) else {})
    if norm.get("type") not in _BATCH_NORMS:
        # the inherited network has none, and its batch may be two images
        norm = dict(type="SyncBN")
    tuning = {name: norm[name] for name in _NORM_TUNING if name in norm}
    return tuning | _own_norm(ours)


def _settings_of_leaf(ours: dict[str, Any], leaf: dict[str, Any], to: str) -> dict[str, Any]:
    """What the inherited config decides for its own backbone and means for another one in its place.

    That is how to fine-tune (norms, frozen stages), and the strides that the heads are made for.
    """
    theirs = _is_resnet(leaf) and not leaf["type"].startswith("mmssl.")
    # mmdet's ResNets have this default, mmseg's have not
    settings: dict[str, Any] = dict(norm_eval=True) if theirs and to == "mmdet" else {}
    settings |= {name: leaf[name] for name in ("norm_eval", "frozen_stages") if name in leaf}
    settings["norm_cfg"] = _norm_of_leaf(ours, leaf)
    stride = _dilated(leaf)
    return settings if stride is None else settings | _dense(ours, stride)


def backbone_changes(export: Export, leaf: dict[str, Any]) -> dict[str, Any]:
    """What `model.backbone` of the inherited config must change to be the exported network.

    Args:
        export: For mmdet or mmseg.
        leaf: The inherited `model.backbone`.

    Raises:
        ValueError: The config wants a network that the exported one cannot be.
    """
    ours = export.metadata["build"]
    kind, own = (build["type"].split(".")[-1] for build in (ours, leaf))
    if leaf.get("plugins") and not ours.get("plugins"):
        raise ValueError(
            "The inherited config's backbone has plugins, which the pretrained one has no weights for. "
            "Choose a config without plugins, or pretrain with them."
        )
    theirs = not leaf["type"].startswith("mmssl.")
    same: dict[str, Any] | None = None
    if is_plain(export) and theirs and kind == own == "ResNet":
        same = _resnet_changes(ours, leaf)
    elif is_plain(export) and kind == own == "SwinTransformer":
        same = _swin_changes(ours, leaf)
    elif ours["type"] == leaf["type"] == "mmssl.CoTNet":
        same = _cotnet_changes(ours, leaf)
    if same is not None:  # weights come from load_from: nothing to download before
        return same | (dict(init_cfg=None) if leaf.get("init_cfg") else {})
    changes = {key: value for key, value in ours.items() if value is not None}
    of_library = is_plain(export) and kind == "ResNet"
    if of_library:  # in the place of ResNetV1c or another kind
        _need_stages(leaf.get("num_stages", 4), ours["num_stages"], "a config with fewer stages")
    structure = _OF_NETWORK.get("ResNet" if of_library else ours["type"])
    if structure is not None:
        changes = {k: v for k, v in changes.items() if k in ("type", *structure)}
        if ours["type"] == leaf["type"]:  # all that is no structure, recomputation for example
            changes |= {k: v for k, v in leaf.items() if k not in (*structure, "type", "init_cfg")}
        changes |= _settings_of_leaf(ours, leaf, export.metadata["to"])
    stages: Any = export.backbone.out_indices
    maps = maps_read(leaf, len(stages))
    if len(maps) < len(stages):
        changes["out_indices"] = tuple(stages[i] for i in maps)
    return dict(_delete_=True, **changes)
