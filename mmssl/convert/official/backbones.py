"""The backbones of checkpoints: which one a state dict holds, and its way to ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from mmssl.convert.key_map import Rename, rename_keys
from mmssl.convert.official.cotnet import SIGN, cotnet_from_official, cotnet_to_official
from mmssl.convert.official.cvt import cvt_from_official, cvt_to_official
from mmssl.convert.official.swin import swin_from_official, swin_to_official
from mmssl.convert.official.vil import vil_from_official, vil_to_official
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


def _last_stage(state: State, pattern: str) -> int:
    return max(int(match[1]) for key in state if (match := re.match(pattern, key)))


def _staged(pattern: str, convert: Callable[..., dict[str, Tensor]]) -> Callable:
    """`convert` with the number of the last stage, which `pattern` finds in the names."""
    return lambda state: convert(state, last_stage=_last_stage(state, pattern))


KINDS = {
    "swin": Kind(
        r"layers\.0\.blocks\..*",
        r"stages\.0\.blocks\.0\.attn\.w_msa\..*",
        _staged(r"layers\.(\d+)\.", swin_from_official),
        _staged(r"stages\.(\d+)\.", swin_to_official),
    ),
    "cvt": Kind(
        r"stage0\.0\.proj\.weight",
        r"stages\.0\.embed\.proj\.weight",
        _staged(r"stage(\d+)\.", cvt_from_official),
        _staged(r"stages\.(\d+)\.", cvt_to_official),
    ),
    "vil": Kind(
        r"layer1\.0\.proj\.weight",
        r"layer1\.0\.proj\.weight",
        lambda state: vil_from_official(state, last_stage=_last_stage(state, r"layer(\d+)\.") - 1),
        lambda state: vil_to_official(state, last_stage=_last_stage(state, r"layer(\d+)\.") - 1),
    ),
    "vit": Kind(r"pos_embed", r"pos_embed", vit_from_official, vit_to_official),
    "cotnet": Kind(
        SIGN, SIGN, cotnet_from_official, cotnet_to_official
    ),  # before ResNet, whose names it has
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
