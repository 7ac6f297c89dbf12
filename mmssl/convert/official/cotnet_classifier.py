"""Supervised CoTNets of JDAI-CV/CoTNet as whole models: their files and our `ImageClassifier`, both ways.

A file is a state dict, or of training: a dictionary with `state_dict`, `state_dict_ema` (the averaged
weights, whose accuracy is the published one), `epoch`, `arch`, ..., perhaps behind `module.`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmssl.convert.key_map import Rename, behind, rename_keys, taken
from mmssl.convert.official.backbone_configs import backbone_config, backbone_guesses
from mmssl.convert.official.cotnet import SIGN, cotnet_from_official, cotnet_to_official
from mmssl.convert.official.twin_updates import NUM_UPDATES, twin_updates

State = Mapping[str, Tensor]

_FC = [Rename("{rest:weight|bias}", "fc.{rest}")]
_CONSTRUCTOR = re.compile(r"(?P<kind>cotnet|cotnext|se_cotnetd_)(?P<depth>\d+)(_2x48d|_L)?")
_NETWORKS = {"state_dict": "", "state_dict_ema": "twin."}


def from_official(file: Mapping[str, Any], *, num_updates: int = 1) -> dict[str, Tensor]:
    """The state dict of our `ImageClassifier` from a file of theirs; averaged weights are its twin.

    Args:
        file: The content of a weights file.
        num_updates: Updates that the averaged weights have behind them; not 0, which a runner takes for a
            twin that is not trained yet.

    Raises:
        KeyError: A key that belongs to no part of a CoTNet.
        ValueError: `num_updates` below 1, no tensors, or a network without its classifier.
    """
    updates = twin_updates(num_updates)
    networks = {name: file[name] for name in _NETWORKS if isinstance(file.get(name), Mapping)}
    if not networks:
        held = file["model"] if isinstance(file.get("model"), Mapping) else file
        networks["state_dict"] = {k: v for k, v in held.items() if isinstance(v, Tensor)}
    if (
        "state_dict" not in networks
    ):  # averaged weights alone are the network, as one without average
        networks = dict(state_dict=networks["state_dict_ema"])
    ours: dict[str, Tensor] = {}
    for name, network in networks.items():
        plain = {key.removeprefix("module."): value for key, value in network.items()}
        classifier = taken(plain, "fc.")
        if not classifier:
            raise ValueError(
                f"{name} of the file holds no classifier fc.* but {list(network)[:3] or 'no tensor'}, so it "
                "is no whole model. For a backbone use tools/export_backbone.py, load_backbone or "
                "PretrainedBackbone, which take such a file as it is."
            )
        ours |= behind(f"{_NETWORKS[name]}backbone.", cotnet_from_official(plain))
        ours |= behind(f"{_NETWORKS[name]}head.", rename_keys(classifier, _FC))
    if any(key.startswith("twin.") for key in ours):
        ours |= updates
    return ours


def to_official(state: State) -> dict[str, Any]:
    """Entries of their file from the state dict of our `ImageClassifier`; counts have no place there.

    Raises:
        KeyError: A key that belongs to no part of their network.
    """
    plain = {key: value for key, value in state.items() if key != NUM_UPDATES}
    file: dict[str, Any] = {}
    for name, prefix in reversed(_NETWORKS.items()):
        backbone, head = taken(plain, f"{prefix}backbone."), taken(plain, f"{prefix}head.")
        if backbone:
            file[name] = cotnet_to_official(backbone)
            file[name] |= behind("fc.", rename_keys(head, _FC, backward=True))
    rename_keys(plain, [])  # what is left belongs to no part
    return file


def is_cotnet(state: State) -> bool:
    """Whether a state dict of ours holds a backbone of this family."""
    return any(re.fullmatch(rf"backbone\.{SIGN}", key) for key in state)


def model_config(state: State) -> dict[str, Any]:
    """The `model` config of a classifier in our layout; what weights do not tell, as published.

    Args:
        state: Keys of the algorithm, e.g. from `from_official`.

    Raises:
        KeyError: A backbone of no known family.
    """
    config = dict(
        type="ImageClassifier",
        frozen=False,
        backbone=backbone_config(state, norm="BN"),
        head=dict(
            type="LinearHead", num_classes=len(state["head.fc.weight"]), dropout=0.25, init_std=None
        ),
        label_smoothing=0.1,
        batch_mix=dict(type="BatchMix", mixup_alpha=0.8, cutmix_alpha=1.0),
    )
    return config | (dict(momentum=0.9999) if NUM_UPDATES in state else {})


def said_by_file(file: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a model config that the name in a file of training fixes, as `model_config` has it.

    A name of another network than the weights' says nothing.

    Args:
        file: The content of a weights file.
        config: The model config by the weights.
    """
    named = _CONSTRUCTOR.fullmatch(str(file.get("arch")))
    if named is None:
        return {}
    prefix = {"cotnet": "", "cotnext": "x", "se_cotnetd_": "d"}[named["kind"]]
    arch = prefix + named["depth"]
    return {"backbone.arch": arch} if arch == config["backbone"]["arch"] else {}


def guessed_options(state: State) -> list[str]:
    """Dotted names of what `model_config` takes from the published models, for weights do not tell it.

    Args:
        state: Keys of the algorithm, e.g. from `from_official`.
    """
    backbone = [f"backbone.{name}" for name in backbone_guesses(state)]
    recipe = ["head.dropout", "label_smoothing", "batch_mix"]
    return backbone + recipe + (["momentum"] if NUM_UPDATES in state else [])
