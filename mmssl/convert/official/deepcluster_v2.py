"""DeepCluster-v2 checkpoints of facebookresearch/swav: their layout and ours, both ways.

The layout of SwAV's files (`swav.py`) with several heads of prototypes: `prototypes.prototypes0.weight`, ...
Memories are in files of their own, one for each process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmssl.convert.key_map import Rename
from mmssl.convert.official.backbone_configs import backbone_config
from mmssl.convert.official.named_parts import NamedParts, stack_config

SIGN = r"prototypes\.prototypes[0-9]+\.weight"
_PUBLISHED_IMAGES = 1281167
LAYOUT = NamedParts(
    backbones=(("", "backbone."),),
    stacks=(("projection_head.", "neck."),),
    rules=(
        Rename(
            "prototypes.prototypes{head:[0-9]+}.weight", "heads.{head:[0-9]+}.prototypes.weight"
        ),
    ),
    dropped=(r"memory\..*",),
)


def model_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The `model` config of a state dict in our layout; what weights do not tell, as published.

    Their program divides red by a deviation of 0.228, as SwAV's.

    Args:
        state: Keys of the algorithm, e.g. from `LAYOUT.from_official`.

    Raises:
        KeyError: A backbone of no known family.
        ValueError: A ResNet of no known depth.
    """
    heads = sorted(key for key in state if key.startswith("heads."))
    return dict(
        type="DeepClusterV2",
        data_preprocessor=dict(type="ViewPreprocessor", std=[58.14, 57.12, 57.375]),
        backbone=backbone_config(state),
        neck=stack_config(state, "neck.", "MLPNeck") | dict(norm_cfg=dict(type="SyncBN")),
        num_samples=_PUBLISHED_IMAGES,
        num_prototypes=tuple(len(state[key]) for key in heads),
        temperature=0.1,
    )


def guessed_options(state: Mapping[str, Tensor]) -> list[str]:
    """Dotted names of what `model_config` takes from the published models, for weights do not tell it.

    Args:
        state: Keys of the algorithm.
    """
    return ["num_samples", "temperature"]
