"""PixPro checkpoints: the authors' layout and ours, both ways, and the model config they imply.

Their file holds `opt` (the arguments), `model`, `optimizer`, `scheduler` and `epoch`, the released ones only
`model`. It has, behind `module.`, `encoder.*`, `projector.*`, `value_transform.*` (of the propagation module,
without weights for the identity), the momentum copies `encoder_k.*` and `projector_k.*`, and with the
instance branch `projector_instance.*`, its copy `projector_instance_k.*` and `predictor.*`. PixContrast has
the same parts but the propagation module.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmssl.convert.key_map import Rename, behind, rename_keys, taken
from mmssl.convert.official.backbone_configs import backbone_config
from mmssl.convert.official.backbones import backbone_from_official, backbone_to_official
from mmssl.convert.official.twin_updates import NUM_UPDATES, twin_updates

_ENCODERS = (("encoder.", "backbone."), ("encoder_k.", "twin.backbone."))
_MLPS = (
    ("projector.", "neck."),
    ("projector_k.", "twin.neck."),
    ("projector_instance.", "instance_neck."),
    ("projector_instance_k.", "twin.instance_neck."),
    ("predictor.", "instance_head."),
)
_VALUES = ("value_transform.", "head.value_transform.")
_ONE_LAYER = [Rename("{rest:weight|bias}", "layers.0.{rest}")]
_TWO_LAYERS = [
    Rename(f"{theirs}.{{rest}}", f"layers.{ours}.{{rest}}")
    for theirs, ours in (("linear1", 0), ("bn1", 1), ("linear2", 3))
]
_NORM = "layers.1.weight"
_ARGUMENTS = {
    "pixpro_p": "head.gamma",
    "pixpro_clamp_value": "head.clamp",
    "pixpro_pos_ratio": "pos_ratio",
    "pixpro_ins_loss_weight": "instance_weight",
    "pixpro_momentum": "momentum.start",
}
_BASE_BATCH = 256
"""Images of the batch that their `base_learning_rate` is for."""


def from_official(state: Mapping[str, Tensor], *, num_updates: int = 1) -> dict[str, Tensor]:
    """The state dict of our `PixPro` (or `PixContrast`) from theirs.

    Args:
        state: Their keys, with or without `module.`.
        num_updates: Momentum updates that the key encoder has behind it. Not 0: our runner takes 0 for
            "not trained yet" and would overwrite the key encoder by a copy of the online one.

    Raises:
        KeyError: A key that belongs to no part of them.
        ValueError: `num_updates` below 1.
    """
    updates = twin_updates(num_updates)
    plain = {key.removeprefix("module."): value for key, value in state.items()}
    ours: dict[str, Tensor] = {}
    for theirs, mine in _ENCODERS:
        encoder = taken(plain, theirs)
        if encoder:
            ours |= behind(mine, backbone_from_official(encoder))
    for theirs, mine in _MLPS:
        ours |= behind(mine, rename_keys(taken(plain, theirs), _TWO_LAYERS))
    theirs, mine = _VALUES
    values = taken(plain, theirs)
    ours |= behind(mine, rename_keys(values, _ONE_LAYER if "weight" in values else _TWO_LAYERS))
    if any(key.startswith("twin.") for key in ours):
        ours |= updates
    # what is left belongs to no part
    return ours | rename_keys(plain, [])


def to_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their state dict (without `module.`) from that of our `PixPro` or `PixContrast`.

    The count of momentum updates has no place there and is left out.

    Raises:
        KeyError: A key that belongs to no part of an official model, as those of a pyramid.
    """
    plain = {key: value for key, value in state.items() if key != NUM_UPDATES}
    official: dict[str, Tensor] = {}
    for theirs, mine in _ENCODERS:
        backbone = taken(plain, mine)
        if backbone:
            official |= behind(theirs, backbone_to_official(backbone))
    for theirs, mine in _MLPS:
        official |= behind(theirs, rename_keys(taken(plain, mine), _TWO_LAYERS, backward=True))
    theirs, mine = _VALUES
    values = taken(plain, mine)
    rules = _TWO_LAYERS if _NORM in values else _ONE_LAYER
    return (
        official
        | behind(theirs, rename_keys(values, rules, backward=True))
        | rename_keys(plain, [], backward=True)
    )


def has_projector_of_maps(state: Mapping[str, Tensor]) -> bool:
    """Whether the neck of a state dict of ours is made of convolutions, as only those at the pixel are."""
    return state["neck.layers.0.weight"].ndim == 4


def _mlp_config(state: Mapping[str, Tensor], name: str, norm: str) -> dict[str, Any]:
    first, last = state[f"{name}.layers.0.weight"], state[f"{name}.layers.3.weight"]
    return dict(
        type="ConvMLPNeck",
        hid_channels=first.shape[0],
        out_channels=last.shape[0],
        norm_cfg=dict(type=norm),
    )


def model_config(state: Mapping[str, Tensor], *, norm: str = "SyncBN") -> dict[str, Any]:
    """The `model` config of a state dict of `PixPro` in our layout; what weights do not tell, as published.

    Args:
        state: Keys of `PixPro`, e.g. from `from_official`.
        norm: Norm of backbone, projectors and predictor (the propagation module has `BN`, as released).

    Raises:
        KeyError: A backbone of no known family.
        ValueError: A ResNet of no known depth.
    """
    values = _VALUES[1]
    layers = sum(f"{values}layers.{place}.weight" in state for place in (0, 3))
    config: dict[str, Any] = dict(
        type="PixPro",
        backbone=backbone_config(state, norm=norm),
        neck=_mlp_config(state, "neck", norm),
        head=dict(type="PixelPropagation", num_layers=layers, gamma=2.0, clamp=0.0),
        pos_ratio=0.7,
        momentum=dict(type="Cosine", start=0.99, end=1.0),
    )
    if "instance_neck.layers.0.weight" in state:
        config |= dict(instance_neck=_mlp_config(state, "instance_neck", norm), instance_weight=1.0)
        if "instance_head.layers.0.weight" in state:
            config["instance_head"] = _mlp_config(state, "instance_head", norm)
        else:
            config["instance_loss"] = "simclr_star"
    return config


def guessed_options(state: Mapping[str, Tensor]) -> list[str]:
    """Dotted names of what `model_config` takes from the published models, for weights do not tell it.

    Args:
        state: Keys of `PixPro`, e.g. from `from_official`.
    """
    names = ["head.gamma", "head.clamp", "pos_ratio", "momentum.start", "momentum.length"]
    return names + (["instance_weight"] if "instance_neck.layers.0.weight" in state else [])


def said_by_file(file: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted name in the model config that the arguments (`opt`) of their program fix.

    The length of their momentum schedule counts processes, which are no argument: the optimizer's learning
    rate tells their number.

    Args:
        file: The content of their file; the released ones have no arguments.
    """
    given = file.get("opt")
    if isinstance(given, argparse.Namespace):
        given = vars(given)
    if not isinstance(given, Mapping):
        return {}
    said: dict[str, Any] = {
        ours: float(given[theirs]) for theirs, ours in _ARGUMENTS.items() if theirs in given
    }
    if not said.get("instance_weight", 1.0):
        del said["instance_weight"]  # 0: there is no such branch
    length = _momentum_length(given, file.get("optimizer"))
    return said if length is None else said | {"momentum.length": length}


def _momentum_length(given: Mapping[str, Any], optimizer: Any) -> int | None:
    """Steps of their momentum schedule, int(images / processes / batch * epochs), if the file tells."""
    names = ("num_instances", "batch_size", "epochs", "base_learning_rate")
    if not all(given.get(name) for name in names) or not isinstance(optimizer, Mapping):
        return None
    images, batch, epochs, base_rate = (given[name] for name in names)
    rates = {group.get("initial_lr") for group in optimizer.get("param_groups", ())}
    rate = rates.pop() if len(rates) == 1 else None
    processes = 0.0 if rate is None else rate * _BASE_BATCH / (batch * base_rate)
    # a rate that was set by other means gives no whole number
    if round(processes) < 1 or abs(processes - round(processes)) > 1e-3:
        return None
    return int(images / round(processes) / batch * epochs)
