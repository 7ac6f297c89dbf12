"""SwAV checkpoints of facebookresearch/swav: their layout and ours, both ways.

Their files are a state dict, or hold `epoch`, `state_dict` and `optimizer`; behind `module.` it has a ResNet
of torchvision's names, `projection_head.*` and `prototypes.weight`. Queues are in files of their own, one for
each process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmssl.convert.key_map import Rename
from mmssl.convert.official.backbone_configs import backbone_config
from mmssl.convert.official.named_parts import NamedParts, stack_config

LAYOUT = NamedParts(
    backbones=(("", "backbone."),),
    stacks=(("projection_head.", "neck."),),
    rules=(Rename("prototypes.{rest:weight}", "head.prototypes.{rest:weight}"),),
    dropped=(r"queues\..*", "filled"),
)


def model_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The `model` config of a state dict in our layout; what weights do not tell, as published.

    Their program divides red by a deviation of 0.228 where others have 0.229.

    Args:
        state: Keys of the algorithm, e.g. from `LAYOUT.from_official`.

    Raises:
        KeyError: A backbone of no known family.
        ValueError: A ResNet of no known depth.
    """
    return dict(
        type="SwAV",
        data_preprocessor=dict(type="ViewPreprocessor", std=[58.14, 57.12, 57.375]),
        backbone=backbone_config(state),
        neck=stack_config(state, "neck.", "MLPNeck") | dict(norm_cfg=dict(type="SyncBN")),
        head=dict(num_prototypes=len(state["head.prototypes.weight"])),
        temperature=0.1,
        epsilon=0.05,
    )


def guessed_options(state: Mapping[str, Tensor]) -> list[str]:
    """Dotted names of what `model_config` takes from the published models, for weights do not tell it.

    Args:
        state: Keys of the algorithm.
    """
    return ["temperature", "epsilon"]
