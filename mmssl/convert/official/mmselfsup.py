"""Checkpoints of mmselfsup (0.x and 1.x) and mmpretrain (1.x): their names to ours.

Their files hold `meta` and `state_dict`. In 1.x that has `backbone.*`, `neck.*` and `head.*` of the online
branch, and the momentum copy of the first two inside an averaging module: `target_net.module.0.*` and
`.1.*` (BYOL), `encoder_k.module.*` (MoCo, DenseCL), `momentum_encoder.module.*` (MoCo v3), whose `steps`
counts its updates. 0.x has the copies without `module.`, and the online branch as `online_net.*`,
`encoder_q.*` or `base_encoder.*` too. Names are the same in both programs. Each layer becomes the same layer
of ours; what their configs mean in another way, `said_by_config` translates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mmssl.convert.config_text import read_config_text
from mmssl.convert.key_map import Rename, behind, rename_keys
from mmssl.convert.official.backbones import backbone_from_official
from mmssl.convert.official.twin_updates import NUM_UPDATES, twin_updates

_PARTS = (
    (re.compile(r"(backbone|(online_net|encoder_q|base_encoder)\.0)\."), "backbone."),
    (re.compile(r"(neck|(online_net|encoder_q|base_encoder)\.1)\."), "neck."),
    (
        re.compile(r"(target_net|encoder_k|momentum_encoder)\.(module\.)?0\."),
        "twin.backbone.",
    ),
    (re.compile(r"(target_net|encoder_k|momentum_encoder)\.(module\.)?1\."), "twin.neck."),
    (re.compile(r"head\.predictor\."), "head."),
)
_STEPS = re.compile(r"(target_net|encoder_k|momentum_encoder)\.steps")
_MOST_LAYERS = 8
_LEAF = "{rest:weight|bias|running_mean|running_var|num_batches_tracked}"
# Linear, norm, ReLU in turn; the last Linear may have a norm
_STACK = [
    *(
        Rename(f"{theirs}{number}.{_LEAF}", f"layers.{3 * number + place}.{{rest}}")
        for number in range(_MOST_LAYERS)
        for place, theirs in enumerate(("fc", "bn"))
    ),
    Rename("mlp.{layer:0|2}." + _LEAF, "layers.{layer}.{rest}"),
    Rename("projection_neck.{layer:[0-9]}." + _LEAF, "layers.{layer}.{rest}"),
    Rename("fc." + _LEAF, "layers.0.{rest}"),
]
_DENSE_NECK = [
    Rename("mlp.{layer:0|2}." + _LEAF, "mlp.layers.{layer}.{rest}"),
    Rename("mlp2.{layer:0|2}." + _LEAF, "cell_mlp.{layer}.{rest}"),
]
# SwAV's neck holds its norm a second time, by itself
_SECOND_NAME = r"(norm|bn)\..*"
_REST = [
    Rename("queue", "queue.features"),
    Rename("queue_ptr", "queue.pointer"),
    Rename("queue2", "dense_queue.features"),
    Rename("queue2_ptr", "dense_queue.pointer"),
    Rename("head.bn." + _LEAF, "norm.{rest}"),
    Rename("memory_bank.feature_bank", "bank.features"),
    *(
        Rename(f"{place}prototypes.weight", "head.prototypes.weight")
        for place in ("head.loss_module.", "head.loss.", "head.", "loss.")
    ),
]
_DROPPED = (r"data_preprocessor\..*", r"memory_bank\.multinomial\..*")
# tried in order: what is built on a method has its names and more
_SIGNS = {
    "densecl": r"encoder_k\.module\.1\.mlp2\..*",
    "moco": r"encoder_k\.(module\.)?1\.(fc|mlp\.0)\..*",
    "byol": r"target_net\.(module\.)?[01]\..*",
    "moco_v3": r"momentum_encoder\.(module\.)?[01]\..*",
    "swav": r"neck\.projection_neck\..*",
    "barlow_twins": r"head\.bn\.running_mean",
    "simsiam": r"head\.predictor\.fc1\.bias",  # the others' predictors end without one
    "npid": r"memory_bank\.feature_bank",
}
_NECK = re.compile(r"neck\.(fc[0-9]?|mlp\.0|projection_neck\.0)\..*")
_TYPES = dict(
    BarlowTwins="barlow_twins",
    BYOL="byol",
    DenseCL="densecl",
    MoCo="moco",
    MoCoV3="moco_v3",
    NPID="npid",
    SimCLR="simclr",
    SimSiam="simsiam",
    SwAV="swav",
)
# our option: where their config may have it
_OPTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "barlow_twins": {
        "off_diagonal_weight": ("head.loss.off_diag_weight", "loss.off_diag_weight", "head.lambd")
    },
    "byol": {"momentum": ("base_momentum",)},
    "densecl": {
        "temperature": ("head.temperature",),
        "dense_weight": ("loss_lambda",),
        "momentum": ("momentum",),
        "neck.num_grid": ("neck.num_grid",),
    },
    "moco": {"temperature": ("head.temperature",), "momentum": ("momentum",)},
    "moco_v3": {"temperature": ("head.temperature",), "momentum": ("base_momentum",)},
    "npid": {
        "num_negatives": ("neg_num",),
        "temperature": ("head.temperature",),
        "bank_momentum": ("memory_bank.momentum",),
    },
    "simclr": {"temperature": ("head.temperature",)},
    "simsiam": {},
    "swav": {
        "temperature": ("head.loss.temperature", "loss.temperature", "head.temperature"),
        "epsilon": ("head.loss.epsilon", "loss.epsilon", "head.epsilon"),
    },
}
_COSINE = ("byol", "moco_v3")


def family_method(file: Mapping[str, Any]) -> str | None:
    """The method of a file with their names, by our name of it; `None` if the names are not theirs.

    The config in the file tells where there is one. DenseCL of 0.x has the names of its authors' files and is
    left to these.

    Args:
        file: With `state_dict`, or one; keys may have `module.` before all.
    """
    state = file["state_dict"] if isinstance(file.get("state_dict"), Mapping) else file
    plain = [key.removeprefix("module.") for key in state]
    if any(key.startswith("encoder_k.1.mlp2.") for key in plain):
        return None
    has_neck = any(_NECK.fullmatch(key) for key in plain)
    named = _TYPES.get(str(_config_of(file).get("type")).split(".")[-1])
    if has_neck and named is not None:
        return named
    for method, sign in _SIGNS.items():
        if any(re.fullmatch(sign, key) for key in plain):
            return method
    # a head that no sign knew is of a method that is not here, or lacks its twin
    return "simclr" if has_neck and not any(key.startswith("head.") for key in plain) else None


def _config_of(file: Mapping[str, Any]) -> Mapping[str, Any]:
    """The `model` of the config that a file carries; empty where there is none, or none that is plain."""
    meta = file.get("meta")
    text = (meta.get("cfg") or meta.get("config")) if isinstance(meta, Mapping) else None
    try:
        model = read_config_text(text).get("model") if isinstance(text, str) else {}
    except ValueError:
        return {}
    return model if isinstance(model, Mapping) else {}


def from_mmselfsup(state: Mapping[str, Tensor], *, num_updates: int = 1) -> dict[str, Tensor]:
    """The state dict of our algorithm from theirs, whichever of `family_method` it is.

    Args:
        state: Their keys, with or without `module.`. Where 0.x has the online branch twice, these are the
            same tensors.
        num_updates: Momentum updates that the twin has behind it, where the file does not count them.

    Raises:
        KeyError: A key that belongs to no part of such a model.
        ValueError: `num_updates` below 1.
    """
    updates = twin_updates(num_updates)
    parts: dict[str, dict[str, Tensor]] = {ours: {} for _, ours in _PARTS}
    rest: dict[str, Tensor] = {}
    for key, value in state.items():
        name = key.removeprefix("module.")
        if _STEPS.fullmatch(name):
            updates = {NUM_UPDATES: value.clamp(min=1)}
            continue
        found = ((pattern.match(name), ours) for pattern, ours in _PARTS)
        place = next(((match.end(), ours) for match, ours in found if match), None)
        if place is None:
            rest[name] = value
        else:
            parts[place[1]].setdefault(name[place[0] :], value)
    ours: dict[str, Tensor] = {}
    for prefix, part in parts.items():
        if part and prefix.endswith("backbone."):
            ours |= behind(prefix, backbone_from_official(part))
        elif part:
            ours |= behind(prefix, _stack(part))
    if any(key.startswith("twin.") for key in ours):
        ours |= updates
    return ours | _memories(rename_keys(rest, _REST, dropped=_DROPPED))


def _stack(part: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our names of a neck or a predictor."""
    if any(key.startswith("mlp2.") for key in part):
        return rename_keys(part, _DENSE_NECK)
    twice = any(key.startswith("projection_neck.") for key in part)
    return rename_keys(part, _STACK, dropped=[_SECOND_NAME] if twice else [])


def _memories(rest: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same with queues and the bank as ours are: keys in rows, a pointer without dimensions."""
    for name, value in rest.items():
        if name.endswith("queue.features"):
            rest[name] = value.T.contiguous()
        elif name.endswith(".pointer"):
            rest[name] = value.reshape(())
    if "bank.features" in rest:
        # theirs has no noise-contrastive loss
        rest["normalizer"] = torch.zeros(())
    return rest


def said_by_config(file: Mapping[str, Any], method: str) -> dict[str, Any]:
    """What the config that their checkpoint carries says of our model config, by dotted name.

    Their momentum is the weight of the new value in the later programs and that of the old one in the
    earlier: below a half it is the former. Ours is always that of the old value; a base momentum rises to 1
    over the run. The memory bank's is that of the new feature everywhere.

    Args:
        file: With `meta`, whose `cfg` (0.x: `config`) is the text of a config.
        method: As from `family_method`.

    Returns:
        Nothing where there is no config, or none that is plain.
    """
    model = _config_of(file)
    said = {}
    for name, places in _OPTIONS[method].items():
        values = [value for value in (_at(model, place) for place in places) if value is not None]
        if values:
            said[name] = values[0]
    if "bank_momentum" in said:
        said["bank_momentum"] = _rest_of_one(said["bank_momentum"])
    if "momentum" in said:
        given = float(said["momentum"])
        kept = given if given > 0.5 else _rest_of_one(given)
        said["momentum"] = dict(type="Cosine", start=kept, end=1.0) if method in _COSINE else kept
    return said


def _rest_of_one(value: float) -> float:
    """1 - value, as it would be written down."""
    return float(f"{1 - value:.6g}")


def _at(model: Any, place: str) -> Any:
    """The value at a dotted name of nested dictionaries, or `None`."""
    for key in place.split("."):
        model = model.get(key) if isinstance(model, Mapping) else None
    return model
