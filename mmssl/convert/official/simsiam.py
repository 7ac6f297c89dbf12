"""SimSiam checkpoints of facebookresearch/simsiam: their layout and ours, both ways.

Their file holds `epoch`, `arch`, `state_dict` and `optimizer`; `state_dict` has, behind `module.`, a ResNet
of torchvision with the projector as its `fc`, as `encoder.*`, and `predictor.*`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmssl.convert.official.backbone_configs import backbone_config
from mmssl.convert.official.named_parts import (
    NamedParts,
    ends_without_scale,
    stack_config,
)

LAYOUT = NamedParts(
    backbones=(("encoder.", "backbone."),),
    stacks=(("encoder.fc.", "neck."), ("predictor.", "head.")),
)


def model_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The `model` config of a state dict in our layout.

    Args:
        state: Keys of the algorithm, e.g. from `LAYOUT.from_official`.

    Raises:
        KeyError: A backbone of no known family.
        ValueError: A ResNet of no known depth.
    """
    norm = dict(norm_cfg=dict(type="SyncBN"))
    return dict(
        type="SimSiam",
        backbone=backbone_config(state),
        neck=stack_config(state, "neck.", "MLPNeck") | norm,
        head=stack_config(state, "head.", "MLPPredictor") | norm,
    )


def is_simsiam(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict of ours with a projector and a predictor is SimSiam's.

    Args:
        state: Keys of an algorithm.
    """
    return ends_without_scale(state, "neck.") and not any(key.startswith("twin.") for key in state)
