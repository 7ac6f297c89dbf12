"""The CoTNet family of JDAI-CV/CoTNet: names of a network's tensors there and here, both ways.

In the repository for classification they are ours, beside `fc.*` and perhaps behind `module.`; the repository
for detection (detectron2) has others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from mmssl.convert.key_map import Rename, rename_keys

State = Mapping[str, Tensor]
SIGN = r"layer[0-9]+\.[0-9]+\.conv2\.(key_embed\.0|conv|conv_q\.0|0)\.weight"
"""A name that a network with any of the mixers has, and no ResNet."""

DETECTRON_SIGN = r"(.+\.)?res[2-5]\.[0-9]+\.conv2\.(key_embed\.0|conv)\.weight"
"""The same in the names of the authors' detection repository, beside a detector's other parts."""

_SAME = [Rename("{part:conv1|bn1|layer[0-9]+}.{rest}", "{part}.{rest}")]
_OF_DETECTRON = "res2.0.conv1.weight"


def detectron_rules(names: Iterable[str]) -> list[Rename]:
    """Rules from the names of the authors' detection repository.

    Args:
        names: Of a network, theirs or ours. They tell whether the stem has three convolutions and whether
            shortcuts average, as in SE-CoTNetD; both decide what a number in a name means.
    """
    names = list(names)
    deep_stem = any(re.fullmatch(r"(stem\.)?conv1\.0\.weight", name) for name in names)
    averages = any(re.search(r"\.(shortcut\.1|downsample\.2)\.", name) for name in names)
    shortcut = {
        "shortcut.norm.{rest}": "downsample.1.{rest}",
        "shortcut.{rest:weight}": "downsample.0.{rest}",
    }
    if averages:
        shortcut = {
            "shortcut.1.norm.{rest}": "downsample.2.{rest}",
            "shortcut.1.{rest:weight}": "downsample.1.{rest}",
        }
    pairs = {
        "stem.conv1.norm.{rest}": "bn1.{rest}",
        "stem.conv1.{rest:weight}": "conv1.{rest}",
    }
    if deep_stem:
        pairs = {
            "stem.conv1.7.{rest}": "bn1.{rest}",
            "stem.conv1.{layer:[0-9]+}.{rest}": "conv1.{layer}.{rest}",
        }
    block = shortcut | {
        "conv1.norm.{rest}": "bn1.{rest}",
        "conv1.{rest:weight}": "conv1.{rest}",
        "conv3.norm.{rest}": "bn3.{rest}",
        "conv3.{rest:weight}": "conv3.{rest}",
        "conv2.{part:key_embed|embed|se}.0.norm.{rest}": "conv2.{part}.1.{rest}",
        "conv2.{part:key_embed|embed|se}.0.{rest:weight|bias}": "conv2.{part}.0.{rest}",
        "conv2.embed.2.{rest}": "conv2.embed.3.{rest}",
        "conv2.embed.3.{rest}": "conv2.embed.4.{rest}",
        "conv2.se.2.{rest}": "conv2.se.3.{rest}",
        "conv2.{part:conv1x1|bn|conv|bn0|fc1|bn1|fc2}.{rest}": "conv2.{part}.{rest}",
    }
    for stage in range(1, 5):
        ours, theirs = f"layer{stage}.{{block:[0-9]+}}.", f"res{stage + 1}.{{block:[0-9]+}}."
        pairs |= {theirs + a: ours + b for a, b in block.items()}
    return [Rename(theirs, ours) for theirs, ours in pairs.items()]


def cotnet_from_official(state: State) -> dict[str, Tensor]:
    """The state dict of our `CoTNet` from theirs, without the classifier.

    Args:
        state: Of a network, in the names of either repository, with or without `module.`.

    Raises:
        KeyError: A key that belongs to no part of a CoTNet.
    """
    plain = {key.removeprefix("module."): value for key, value in state.items()}
    if _OF_DETECTRON in plain:
        return rename_keys(plain, detectron_rules(plain))
    return rename_keys(plain, _SAME, dropped=[r"fc\..*"])


def cotnet_to_official(state: State, *, detectron: bool = False) -> dict[str, Tensor]:
    """Their state dict, without the classifier, from that of our `CoTNet`.

    Args:
        state: Of the backbone.
        detectron: In the names of their detection repository, which knows CoT, CoXt and SE-conv only.

    Raises:
        KeyError: A key that belongs to no part of a CoTNet, or has no name there.
    """
    rules = detectron_rules(state) if detectron else _SAME
    return rename_keys(state, rules, backward=True)
