"""DINO and EsViT checkpoints: the authors' layout and ours, both ways.

Their file holds `student` (keys behind `module.`), `teacher` (behind `module.` too where the network has
BatchNorm), `dino_loss` with the centers, `optimizer`, `epoch`, `args` and `fp16_scaler`. Backbones stand
without prefix in EsViT's files (ResNet: `backbone.backbone.`), behind `backbone.` in DINO's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mmssl.convert.key_map import Rename, rename_keys
from mmssl.convert.official.backbone_configs import backbone_config, backbone_guesses
from mmssl.convert.official.backbones import (
    backbone_from_official,
    backbone_kind,
    backbone_to_official,
)
from mmssl.convert.official.run_arguments import said_by_arguments
from mmssl.convert.official.twin_updates import NUM_UPDATES, twin_updates

HEADS = [
    Rename("head.{rest:(mlp|last_layer).*}", "head.{rest}"),
    Rename("head_dense.{rest:(mlp|last_layer).*}", "region_head.{rest}"),
]
_CENTERS = {"center": "center.mean", "center_grid": "region_center.mean"}
_NETWORKS = ("student", "teacher")


def network_from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One network, student or teacher: our names `backbone.*`, `head.*`, `region_head.*`.

    Raises:
        KeyError: A key that belongs to no part of it.
    """
    plain = {key.removeprefix("module."): value for key, value in state.items()}
    heads = {key: plain[key] for key in plain if key.startswith(("head.", "head_dense."))}
    backbone = {
        key.removeprefix("backbone.").removeprefix("backbone."): value
        for key, value in plain.items()
        if key not in heads
    }
    renamed = {f"backbone.{key}": v for key, v in backbone_from_official(backbone).items()}
    return renamed | rename_keys(heads, HEADS)


def network_to_official(
    state: Mapping[str, Tensor], *, by_esvit: bool = False
) -> dict[str, Tensor]:
    """Their names (without `module.`) of `backbone.*`, `head.*` and `region_head.*`.

    Args:
        state: One network of ours.
        by_esvit: Whether a ViT or ResNet without a head for regions, which both programs train, gets the
            names that EsViT's writes.

    Raises:
        KeyError: A key that belongs to no part of it.
    """
    heads = {key: value for key, value in state.items() if not key.startswith("backbone.")}
    backbone = {
        key.removeprefix("backbone."): value for key, value in state.items() if key not in heads
    }
    kind = backbone_kind(backbone, official=False)
    by_esvit = by_esvit or any(key.startswith("region_head.") for key in heads)
    prefix = "backbone." if kind in ("vit", "resnet") and not by_esvit else ""
    if kind == "resnet" and by_esvit:
        prefix = "backbone.backbone."
    renamed = {prefix + key: value for key, value in backbone_to_official(backbone).items()}
    return renamed | rename_keys(heads, HEADS, backward=True)


def from_official(checkpoint: Mapping[str, Any], *, num_updates: int = 1) -> dict[str, Tensor]:
    """The state dict of our `DINO` or `EsViT` from their checkpoint.

    Of a file that holds one network only, student or teacher, this is the model's own, without a twin.

    Args:
        checkpoint: Their file, or one network's state dict (which gives `backbone.*` and heads).
        num_updates: Momentum updates that the teacher has behind it. Not 0: our runner takes 0 for "not
            trained yet" and would overwrite the teacher by a copy of the student.

    Raises:
        KeyError: A key that belongs to no part of a known model.
        ValueError: `num_updates` below 1.
    """
    updates = twin_updates(num_updates)
    present = [name for name in _NETWORKS if name in checkpoint]
    if not present:
        return network_from_official(checkpoint)
    ours: dict[str, Tensor] = {}
    for name, prefix in zip(present, ("", "twin."), strict=False):
        network = network_from_official(checkpoint[name])
        ours |= {prefix + key: value for key, value in network.items()}
    heads = {"center.mean": "head.", "region_center.mean": "region_head."}
    for theirs, mine in _CENTERS.items():
        prototypes = ours.get(f"{heads[mine]}last_layer.weight_g")
        if theirs in checkpoint.get("dino_loss", {}):
            ours[mine] = checkpoint["dino_loss"][theirs]
        elif prototypes is not None:  # a file of networks alone: the center starts anew
            ours[mine] = torch.zeros_like(prototypes).T.contiguous()
    if len(present) == 2:
        ours |= updates
    return ours


def to_official(
    state: Mapping[str, Tensor], *, by_esvit: bool = False
) -> dict[str, dict[str, Tensor]]:
    """Their `student`, `teacher` and `dino_loss` from the state dict of our `DINO` or `EsViT`.

    Prefixes are as their programs write them. The count of momentum updates has no place there.

    Args:
        state: Keys of the algorithm.
        by_esvit: See `network_to_official`.

    Raises:
        KeyError: A key that belongs to no part of an official model.
    """
    plain = {key: value for key, value in state.items() if key != NUM_UPDATES}
    theirs: dict[str, dict[str, Tensor]] = {}
    centers = {name: plain.pop(key) for name, key in _CENTERS.items() if key in plain}
    teacher = {k.removeprefix("twin."): plain.pop(k) for k in list(plain) if k.startswith("twin.")}
    for name, network in (("student", plain), ("teacher", teacher)):
        if network:
            official = network_to_official(network, by_esvit=by_esvit)
            with_norm = any(key.endswith("running_mean") for key in official)
            prefix = "module." if name == "student" or with_norm else ""
            theirs[name] = {prefix + key: value for key, value in official.items()}
    if centers:
        theirs["dino_loss"] = centers
    return theirs


def model_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The `model` config of a state dict in our layout: `EsViT` if it has a head for regions, else `DINO`.

    Prototypes count as trained in length where theirs are not all 1.

    Args:
        state: Keys of the algorithm, e.g. from `from_official`.

    Raises:
        KeyError: A backbone of no known family.
    """
    heads = ["head"] + ["region_head"] * ("region_head.last_layer.weight_v" in state)
    config: dict[str, Any] = dict(
        type="EsViT" if len(heads) == 2 else "DINO", backbone=backbone_config(state)
    )
    if len(heads) == 2 and config["backbone"]["type"] == "VisionTransformer":
        config["backbone"]["pos_interp"] = "esvit"
    return config | {name: _head_config(state, f"{name}.") for name in heads}


def _head_config(state: Mapping[str, Tensor], prefix: str) -> dict[str, Any]:
    prototypes, bottleneck = state[f"{prefix}last_layer.weight_v"].shape
    lengths = state[f"{prefix}last_layer.weight_g"]
    layers = [k for k, v in state.items() if k.startswith(f"{prefix}mlp.") and v.ndim == 2]
    use_bn = f"{prefix}mlp.1.running_mean" in state
    return dict(
        type="DINOHead",
        out_channels=prototypes,
        hid_channels=state[layers[0]].shape[0] if len(layers) > 1 else 2048,
        bottleneck_channels=bottleneck,
        num_layers=len(layers),
        use_bn=use_bn,
        norm_cfg=dict(type="SyncBN") if use_bn else None,
        norm_last_layer=lengths.is_meta or bool((lengths == 1).all()),
    )


def guessed_options(state: Mapping[str, Tensor]) -> list[str]:
    """Dotted names of what `model_config` takes from the published models, for weights do not tell it.

    Args:
        state: Keys of the algorithm, e.g. from `from_official`.

    Raises:
        KeyError: A backbone of no known family.
    """
    names = [f"backbone.{name}" for name in backbone_guesses(state)]
    if "region_head.last_layer.weight_v" in state and "backbone.pos_interp" in names:
        names.remove("backbone.pos_interp")  # only EsViT has regions
    for head in ("head", "region_head"):
        # prototypes of length 1: fixed, or free and not trained yet
        if (
            f"{head}.last_layer.weight_v" in state
            and (_head_config(state, f"{head}.")["norm_last_layer"])
        ):
            names.append(f"{head}.norm_last_layer")
    return names


def named_by_esvit(network: Mapping[str, Any]) -> bool:
    """Whether the names of one official network are those that EsViT's program writes, not DINO's.

    Args:
        network: Their `student` or `teacher`, with or without `module.`.
    """
    plain = [key.removeprefix("module.") for key in network]
    if any(key.startswith(("head_dense.", "backbone.backbone.")) for key in plain):
        return True
    return not any(key.startswith("backbone.") for key in plain)


def said_by_file(checkpoint: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """What a file tells of its model beyond the shapes of weights: by their names, and in `args`.

    Args:
        checkpoint: Their file, with `student` or `teacher`.
        config: What `model_config` made of its weights.

    Returns:
        Values by dotted name in the model config.
    """
    said: dict[str, Any] = {}
    if config["backbone"]["type"] == "VisionTransformer":
        network = next(checkpoint[name] for name in _NETWORKS if name in checkpoint)
        said["backbone.pos_interp"] = "esvit" if named_by_esvit(network) else "dino"
    return said | said_by_arguments(checkpoint.get("args"), config)
