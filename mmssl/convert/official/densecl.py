"""DenseCL checkpoints of WXinlong/DenseCL: their layout and ours, both ways.

A training checkpoint holds `meta`, `state_dict` and `optimizer`; `state_dict` has no prefix: `encoder_q.0.*`
(a ResNet of torchvision), `encoder_q.1.mlp.*` and `encoder_q.1.mlp2.*` (the projectors of views and of
cells), the same as `encoder_k.*`, the trunk once more as `backbone.*`, and `queue`, `queue2` (dim, K) with a
pointer each. The released files are the trunk alone, without prefix.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmssl.convert.key_map import Rename, behind, rename_keys, taken
from mmssl.convert.official.backbone_configs import backbone_config
from mmssl.convert.official.backbones import backbone_from_official, backbone_to_official
from mmssl.convert.official.twin_updates import NUM_UPDATES, twin_updates

_ENCODERS = (("encoder_q.", ""), ("encoder_k.", "twin."))
_NECK = [
    Rename("mlp.{layer:0|2}.{rest:weight|bias}", "mlp.layers.{layer}.{rest}"),
    Rename("mlp2.{layer:0|2}.{rest:weight|bias}", "cell_mlp.{layer}.{rest}"),
]
_QUEUES = (("queue", "queue."), ("queue2", "dense_queue."))


def from_official(state: Mapping[str, Tensor], *, num_updates: int = 1) -> dict[str, Tensor]:
    """The state dict of our `DenseCL` from theirs.

    Args:
        state: Their keys, with or without `module.`. Of the two copies of the trunk `backbone.*` counts, as
            where their program loads the file.
        num_updates: Momentum updates that the key encoder has behind it. Not 0: our runner takes 0 for
            "not trained yet" and would overwrite the key encoder by a copy of the online one.

    Raises:
        KeyError: A key that belongs to no part of it.
        ValueError: `num_updates` below 1.
    """
    updates = twin_updates(num_updates)
    plain = {key.removeprefix("module."): value for key, value in state.items()}
    shared = taken(plain, "backbone.")
    ours: dict[str, Tensor] = {}
    for theirs, mine in _ENCODERS:
        trunk, neck = taken(plain, f"{theirs}0."), taken(plain, f"{theirs}1.")
        if not mine:
            trunk |= shared
        if trunk:
            ours |= behind(f"{mine}backbone.", backbone_from_official(trunk))
        ours |= behind(f"{mine}neck.", rename_keys(neck, _NECK))
    if any(key.startswith("twin.") for key in ours):
        ours |= updates
    for theirs, mine in _QUEUES:
        if theirs in plain:
            ours[f"{mine}features"] = plain.pop(theirs).T.contiguous()
        if f"{theirs}_ptr" in plain:
            ours[f"{mine}pointer"] = plain.pop(f"{theirs}_ptr").reshape(())
    # what is left belongs to no part
    return ours | rename_keys(plain, [])


def to_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their state dict from that of our `DenseCL`; the count of momentum updates has no place there.

    Args:
        state: Keys of the algorithm in our layout.

    Raises:
        KeyError: A key that belongs to no part of an official model.
    """
    plain = {key: value for key, value in state.items() if key != NUM_UPDATES}
    theirs: dict[str, Tensor] = {}
    for name, mine in _QUEUES:
        if f"{mine}features" in plain:
            theirs[name] = plain.pop(f"{mine}features").T.contiguous()
        if f"{mine}pointer" in plain:
            theirs[f"{name}_ptr"] = plain.pop(f"{mine}pointer").reshape(1)
    for name, mine in _ENCODERS:
        trunk, neck = taken(plain, f"{mine}backbone."), taken(plain, f"{mine}neck.")
        if trunk:
            trunk = backbone_to_official(trunk)
            theirs |= behind(f"{name}0.", trunk)
            theirs |= behind("backbone.", trunk) if not mine else {}
        theirs |= behind(f"{name}1.", rename_keys(neck, _NECK, backward=True))
    return theirs | rename_keys(plain, [])


def model_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The `model` config of a state dict in our layout; what weights do not tell, as published.

    Args:
        state: Keys of the algorithm, e.g. from `from_official`.

    Raises:
        KeyError: A backbone of no known family.
        ValueError: A ResNet of no known depth.
    """
    out_channels, hid_channels = state["neck.mlp.layers.2.weight"].shape
    return dict(
        type="DenseCL",
        backbone=backbone_config(state, norm="BN"),
        neck=dict(
            type="DenseCLNeck",
            hid_channels=hid_channels,
            out_channels=out_channels,
            num_grid=None,
        ),
        queue_length=len(state["queue.features"]),
        temperature=0.2,
        dense_weight=0.5,
        momentum=0.999,
    )


def guessed_options(state: Mapping[str, Tensor]) -> list[str]:
    """Dotted names of what `model_config` takes from the published models, for weights do not tell it.

    Args:
        state: Keys of the algorithm, e.g. from `from_official`.
    """
    return ["neck.num_grid", "temperature", "dense_weight", "momentum"]
