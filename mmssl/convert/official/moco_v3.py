"""MoCo v3 checkpoints of facebookresearch/moco-v3: their layout and ours, both ways.

Their file holds `epoch`, `arch`, `state_dict`, `optimizer` and `scaler`; `state_dict` has, behind
`module.`, a ResNet with its projector as `fc` or a ViT with it as `head`, as `base_encoder.*` and once more
as `momentum_encoder.*`, and `predictor.*`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmssl.convert.official.backbone_configs import backbone_config, backbone_guesses
from mmssl.convert.official.named_parts import (
    NamedParts,
    ends_without_scale,
    stack_config,
)

_CHANNELS = dict(small=384, base=768)


def _parts(projector: str) -> NamedParts:
    return NamedParts(
        backbones=(("base_encoder.", "backbone."), ("momentum_encoder.", "twin.backbone.")),
        stacks=(
            (f"base_encoder.{projector}.", "neck."),
            (f"momentum_encoder.{projector}.", "twin.neck."),
            ("predictor.", "head."),
        ),
    )


_RESNET, _VIT = _parts("fc"), _parts("head")


def from_official(state: Mapping[str, Tensor], *, num_updates: int = 1) -> dict[str, Tensor]:
    """The state dict of our `MoCoV3` from theirs.

    Args:
        state: Their keys, with or without `module.`.
        num_updates: Momentum updates that the momentum encoder has behind it, at least 1.

    Raises:
        KeyError: A key that belongs to no part.
        ValueError: `num_updates` below 1.
    """
    vit = any(key.endswith("base_encoder.cls_token") for key in state)
    return (_VIT if vit else _RESNET).from_official(state, num_updates=num_updates)


def to_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their state dict (without `module.`) from that of our `MoCoV3`.

    Raises:
        KeyError: A key that belongs to no part.
    """
    return (_VIT if "backbone.cls_token" in state else _RESNET).to_official(state)


def architecture(state: Mapping[str, Tensor]) -> str:
    """Their name of the network, which their files note as `arch`.

    Args:
        state: Keys of the algorithm in our layout.

    Raises:
        ValueError: A ViT of no size of theirs, or another family.
    """
    config = backbone_config(state, norm="BN")
    if config["type"] == "ResNet":
        return f"resnet{config['depth']}"
    if config["type"] != "VisionTransformer":
        raise ValueError(f"Their program trains ResNets and ViTs; this is a {config['type']}.")
    sizes = {dim: name for name, dim in _CHANNELS.items()}
    if config["embed_dims"] not in sizes:
        raise ValueError(
            f"Their ViTs have {sorted(sizes)} channels; this one has {config['embed_dims']}."
        )
    conv = "conv_" if config.get("stem") == "conv" else ""
    return f"vit_{conv}{sizes[config['embed_dims']]}"


def model_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The `model` config of a state dict in our layout; what weights do not tell, as published.

    Args:
        state: Keys of the algorithm, e.g. from `from_official`.

    Raises:
        KeyError: A backbone of no known family.
        ValueError: A ResNet of no known depth.
    """
    backbone = backbone_config(state)
    vit = backbone["type"] == "VisionTransformer"
    if vit:
        # also the small one, whose heads have half the usual size
        backbone |= dict(num_heads=12, drop_path_rate=0.0, positions="sincos", weight_init="xavier")
        backbone["frozen_patch_embed"] = backbone.get("stem") != "conv"
    norm = dict(norm_cfg=dict(type="SyncBN"))
    head = stack_config(state, "head.", "MLPPredictor") | norm
    if not any(key.startswith("head.layers.4.") for key in state):
        head["last_norm_cfg"] = None
    return dict(
        type="MoCoV3",
        backbone=backbone,
        neck=stack_config(state, "neck.", "MLPNeck") | norm,
        head=head,
        temperature=0.2 if vit else 1.0,
    )


def guessed_options(state: Mapping[str, Tensor]) -> list[str]:
    """Dotted names of what `model_config` takes from the published models, for weights do not tell it.

    Args:
        state: Keys of the algorithm.
    """
    more = ["positions", "frozen_patch_embed"] if "backbone.cls_token" in state else []
    return ["temperature", *(f"backbone.{name}" for name in [*backbone_guesses(state), *more])]


def is_moco_v3(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict of ours with a projector and a predictor is MoCo v3's.

    Args:
        state: Keys of an algorithm.
    """
    return ends_without_scale(state, "neck.") and any(key.startswith("twin.") for key in state)
