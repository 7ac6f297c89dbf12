"""The backbones of DINO, EsViT and MoBY checkpoints: which one a state dict holds, and its way to ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from mmssl.convert.key_map import Rename, rename_keys
from mmssl.convert.official.esvit import swin_from_official, swin_to_official
from mmssl.convert.official.vit import vit_from_official, vit_to_official

State = Mapping[str, Tensor]
_RESNET = [Rename("{part:conv1|bn1|layer[1-4]}.{rest}", "{part:conv1|bn1|layer[1-4]}.{rest}")]


class Kind(NamedTuple):
    """How to tell a family of networks, and how to rename it.

    Attributes:
        theirs: Pattern of a name that only this family has in the official layout.
        ours: The same for our layout.
        from_official: Their state dict to ours.
        to_official: The way back.
    """

    theirs: str
    ours: str
    from_official: Callable[[State], dict[str, Tensor]]
    to_official: Callable[[State], dict[str, Tensor]]


def _last_stage(state: State, name: str) -> int:
    numbers = [int(match[1]) for key in state if (match := re.match(rf"{name}\.(\d+)\.", key))]
    return max(numbers)


KINDS = {
    "swin": Kind(
        r"layers\.0\.blocks\..*",
        r"stages\.0\.blocks\..*",
        lambda state: swin_from_official(state, last_stage=_last_stage(state, "layers")),
        lambda state: swin_to_official(state, last_stage=_last_stage(state, "stages")),
    ),
    "vit": Kind(r"cls_token", r"cls_token", vit_from_official, vit_to_official),
    "resnet": Kind(
        r"layer1\.0\.conv1\.weight",
        r"layer1\.0\.conv1\.weight",
        lambda state: rename_keys(state, _RESNET, dropped=[r"fc\..*"]),
        lambda state: rename_keys(state, _RESNET, backward=True),
    ),
}


def backbone_kind(state: State, *, official: bool) -> str:
    """Name of the family that a state dict belongs to, by one of its keys.

    Args:
        state: The backbone alone, without prefix.
        official: Whether the names are theirs.

    Raises:
        KeyError: No family that is known.
    """
    for name, kind in KINDS.items():
        pattern = re.compile(kind.theirs if official else kind.ours)
        if any(pattern.fullmatch(key) for key in state):
            return name
    raise KeyError(
        f"The backbone is none of {', '.join(KINDS)}; its first names are {list(state)[:4]}."
    )


def backbone_from_official(state: State) -> dict[str, Tensor]:
    """Our names of an official backbone of any known family.

    Raises:
        KeyError: An unknown family, or a name that is no part of it.
    """
    return KINDS[backbone_kind(state, official=True)].from_official(state)


def backbone_to_official(state: State) -> dict[str, Tensor]:
    """The official names of one of our backbones.

    Raises:
        KeyError: An unknown family, or a name that is no part of it.
    """
    return KINDS[backbone_kind(state, official=False)].to_official(state)
