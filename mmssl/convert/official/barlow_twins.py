"""Barlow Twins checkpoints of facebookresearch/barlowtwins: their layout and ours, both ways.

Their `checkpoint.pth` holds `epoch`, `model` and `optimizer`; `model` has, behind `module.`, a ResNet of
torchvision without `fc` as `backbone.*`, `projector.*` and the norm on embeddings `bn.*`. Their
`resnet50.pth` is the backbone alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmssl.convert.key_map import Rename
from mmssl.convert.official.backbone_configs import backbone_config
from mmssl.convert.official.named_parts import NamedParts, stack_config

LAYOUT = NamedParts(
    backbones=(("backbone.", "backbone."),),
    stacks=(("projector.", "neck."),),
    rules=(Rename("bn.{rest}", "norm.{rest}"),),
)


def model_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The `model` config of a state dict in our layout; what weights do not tell, as published.

    Args:
        state: Keys of the algorithm, e.g. from `LAYOUT.from_official`.

    Raises:
        KeyError: A backbone of no known family.
        ValueError: A ResNet of no known depth.
    """
    return dict(
        type="BarlowTwins",
        backbone=backbone_config(state),
        neck=stack_config(state, "neck.", "MLPNeck"),
        norm_cfg=dict(type="SyncBN"),
        off_diagonal_weight=0.0051,
    )


def guessed_options(state: Mapping[str, Tensor]) -> list[str]:
    """Dotted names of what `model_config` takes from the published models, for weights do not tell it.

    Args:
        state: Keys of the algorithm.
    """
    return ["off_diagonal_weight"]
