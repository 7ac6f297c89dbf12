"""Swin in timm's layout and ours, both ways.

timm (1.x) names and orders everything as the official code does, except that a merging belongs to the
stage that it leads to, not to the one before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from mmssl.convert.official.swin import swin_from_official, swin_to_official

_MERGING = re.compile(r"layers\.([0-9]+)\.downsample\.")


def timm_name(official: str) -> str:
    """timm's name of what the official code calls `official`.

    Example:
        >>> timm_name("layers.0.downsample.norm.weight"), timm_name("layers.0.blocks.1.norm1.bias")
        ('layers.1.downsample.norm.weight', 'layers.0.blocks.1.norm1.bias')
    """
    return _moved(official, 1)


def _moved(key: str, step: int) -> str:
    return _MERGING.sub(lambda found: f"layers.{int(found[1]) + step}.downsample.", key)


def swin_from_timm(state: Mapping[str, Tensor], *, last_stage: int = 3) -> dict[str, Tensor]:
    """The state dict of our `Swin` from timm's (without its head).

    Raises:
        KeyError: A key that belongs to no part of a Swin.
    """
    official = {_moved(key, -1): value for key, value in state.items()}
    return swin_from_official(official, last_stage=last_stage)


def swin_to_timm(state: Mapping[str, Tensor], *, last_stage: int = 3) -> dict[str, Tensor]:
    """timm's state dict (without a head) from that of our `Swin`.

    Norms of maps before the last have no place in timm and are left out.

    Raises:
        KeyError: A key that belongs to no part of a Swin.
    """
    earlier = tuple(f"norm{stage}." for stage in range(last_stage))
    kept = {key: value for key, value in state.items() if not key.startswith(earlier)}
    official = swin_to_official(kept, last_stage=last_stage)
    return {timm_name(key): value for key, value in official.items()}
