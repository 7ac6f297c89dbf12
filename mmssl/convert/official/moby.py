"""MoBY checkpoints of SwinTransformer/Transformer-SSL: their layout and ours, both ways.

Their file holds `model`, `optimizer`, `lr_scheduler`, `epoch` and more. `model` of a pretraining has
`encoder.*`, `projector.*`, `predictor.*`, the momentum copies `encoder_k.*` and `projector_k.*`, and the
queues with one pointer for both; that of a linear evaluation has the backbone without prefix and `head.*`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmssl.convert.key_map import Rename, behind, rename_keys, taken
from mmssl.convert.official.backbone_configs import backbone_config, backbone_guesses
from mmssl.convert.official.backbones import backbone_from_official, backbone_to_official
from mmssl.convert.official.twin_updates import NUM_UPDATES, twin_updates

_BACKBONES = (("encoder.", "backbone."), ("encoder_k.", "twin.backbone."))
_MLPS = (("projector.", "neck."), ("projector_k.", "twin.neck."), ("predictor.", "head."))
_QUEUES = (("queue1", "queues.0."), ("queue2", "queues.1."))
_CLASSIFIER = [Rename("head.{rest}", "head.fc.{rest}")]


def from_official(state: Mapping[str, Tensor], *, num_updates: int = 1) -> dict[str, Tensor]:
    """The state dict of our `MoBY` from theirs, or that of a linear evaluation.

    Args:
        state: Their keys, with or without `module.`.
        num_updates: Momentum updates that the key encoder has behind it. Not 0: our runner takes 0 for
            "not trained yet" and would overwrite the key encoder by a copy of the online one.

    Returns:
        Keys of `MoBY`; `backbone.*` and `head.fc.*` for a linear evaluation. Masks and tables of indices,
        which follow from the window, are left out.

    Raises:
        KeyError: A key that belongs to neither of them.
        ValueError: `num_updates` below 1.
    """
    updates = twin_updates(num_updates)
    plain = {key.removeprefix("module."): value for key, value in state.items()}
    if not any(key.startswith("encoder.") for key in plain):
        return _linear_from_official(plain)
    ours: dict[str, Tensor] = {}
    for theirs, mine in _BACKBONES:
        backbone = taken(plain, theirs)
        if backbone:
            ours |= behind(mine, backbone_from_official(backbone))
    for theirs, mine in _MLPS:
        part = taken(plain, theirs)
        ours |= behind(mine, rename_keys(part, _mlp_rules(part)))
    pointer = plain.pop("queue_ptr", None)
    for theirs, mine in _QUEUES:
        if theirs in plain:
            ours[f"{mine}features"] = plain.pop(theirs).T.contiguous()
        if pointer is not None:
            ours[f"{mine}pointer"] = pointer.reshape(())
    if any(key.startswith("twin.") for key in ours):
        ours |= updates
    # what is left belongs to no part
    return ours | rename_keys(plain, [])


def to_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their state dict (without `module.`) from that of our `MoBY`, or of a linear evaluation.

    Their masks and tables of indices are not made, and the count of momentum updates has no place there.

    Raises:
        KeyError: A key that belongs to no part of an official model.
    """
    plain = {key: value for key, value in state.items() if key != NUM_UPDATES}
    if any(key.startswith("head.fc.") for key in plain):
        backbone = backbone_to_official(taken(plain, "backbone."))
        return backbone | rename_keys(plain, _CLASSIFIER, backward=True)
    theirs: dict[str, Tensor] = {}
    for name, mine in _QUEUES:
        queue = taken(plain, mine)
        if queue:
            theirs[name] = queue["features"].T.contiguous()
            theirs["queue_ptr"] = queue["pointer"].reshape(1)
    for name, mine in _BACKBONES:
        backbone = taken(plain, mine)
        if backbone:
            theirs |= behind(name, backbone_to_official(backbone))
    for name, mine in _MLPS:
        part = taken(plain, mine)
        theirs |= behind(name, rename_keys(part, _mlp_rules(part), backward=True))
    return theirs | rename_keys(plain, [])


def _linear_from_official(plain: dict[str, Tensor]) -> dict[str, Tensor]:
    head = taken(plain, "head.")
    classifier = rename_keys(behind("head.", head), _CLASSIFIER)
    return behind("backbone.", backbone_from_official(plain)) | classifier


def _mlp_rules(state: Mapping[str, Tensor]) -> list[Rename]:
    """Rules for one MLP of any depth, in either layout: theirs starts with an identity layer."""
    hidden = sum(value.ndim == 2 for value in state.values()) - 1  # matrices but the last
    rules = [Rename("linear_out.{rest}", f"layers.{3 * hidden}.{{rest}}")]
    for layer in range(0, 3 * hidden, 3):
        for part in (layer, layer + 1):  # Linear, norm; the ReLU has nothing
            rules.append(Rename(f"linear_hidden.{part + 1}.{{rest}}", f"layers.{part}.{{rest}}"))
    return rules


def model_config(state: Mapping[str, Tensor], *, norm: str = "SyncBN") -> dict[str, Any]:
    """The `model` config of a state dict of `MoBY` in our layout; what weights do not tell, as published.

    Args:
        state: Keys of `MoBY`, e.g. from `from_official`.
        norm: Of the two MLPs.

    Raises:
        KeyError: A backbone of no known family.
    """
    backbone = backbone_config(state)
    if "drop_path_rate" in backbone:
        backbone["drop_path_rate"] = 0.2
    if backbone["type"] == "Swin":
        backbone["norm_eps"] = 1e-5
    mlps = {}
    for name, kind in (("neck", "MLPNeck"), ("head", "MLPPredictor")):
        matrices = [v for k, v in state.items() if k.startswith(f"{name}.") and v.ndim == 2]
        mlps[name] = dict(
            type=kind,
            hid_channels=matrices[0].shape[0],
            out_channels=matrices[-1].shape[0],
            num_layers=len(matrices),
            norm_cfg=dict(type=norm),
        )
    length = len(state["queues.0.features"])
    return dict(type="MoBY", backbone=backbone, **mlps, queue_length=length)


def guessed_options(state: Mapping[str, Tensor]) -> list[str]:
    """Dotted names of what `model_config` takes from the published models, for weights do not tell it.

    Args:
        state: Keys of `MoBY`, e.g. from `from_official`.

    Raises:
        KeyError: A backbone of no known family.
    """
    return [f"backbone.{name}" for name in backbone_guesses(state)]
