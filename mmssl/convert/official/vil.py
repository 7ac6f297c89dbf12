"""ViL checkpoints of EsViT: their layout and ours, both ways.

Their global tokens have projections of their own in name only: with shared weights, as published, the same
tensor stands under two names.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor

from mmssl.convert.key_map import Rename, rename_keys

# Recomputed from the sides of windows and maps: never a parameter.
_DERIVED = [r"(.*\.)?relative_position_index"]
_SHARED = re.compile(r"(.*\.attn\.)(query|kv|proj)(?:_global)(\.(?:weight|bias))")
_BIASES = "local_relative_position_bias_table|g2l_relative_position_bias|g2g_relative_position_bias"
_NAMES = (
    "layer{stage:[0-9]+}.0.cls_token",
    "layer{stage:[0-9]+}.0.{part:proj|norm_embed}.{rest:weight|bias}",
    "layer{stage:[0-9]+}.{block:[0-9]+}.norm.{rest:weight|bias}",
    "layer{stage:[0-9]+}.{block:[0-9]+}.attn.{part:query|kv|qkv|proj}.{rest:weight|bias}",
    f"layer{{stage:[0-9]+}}.{{block:[0-9]+}}.attn.{{table:{_BIASES}}}",
    "layer{stage:[0-9]+}.{block:[0-9]+}.mlp.{part:fc1|fc2}.{rest:weight|bias}",
)


def vil_rules(theirs: str = "", ours: str = "", *, last_stage: int = 3) -> list[Rename]:
    """Rules for a `ViL` behind the given prefixes, after `without_copies`; no other key passes.

    Its final norm is that of our last stage.
    """
    rules = [Rename(theirs + name, ours + name) for name in _NAMES]
    return [*rules, Rename(f"{theirs}norm.{{rest}}", f"{ours}norm{last_stage}.{{rest}}")]


def without_copies(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict in their layout without tables of indices and without second names of shared tensors.

    Where the two names hold different weights, those of the global tokens win, as they do when the
    official network loads such a file into shared modules; a warning says so.

    Args:
        state: Tensors by their key, behind any prefix.
    """
    kept, differing = {}, []
    for key, value in state.items():
        match = _SHARED.fullmatch(key)
        if match is None:
            if not any(re.fullmatch(pattern, key) for pattern in _DERIVED):
                kept[key] = value
            continue
        first = "".join(match.groups())
        if first in kept and not _same(kept[first], value):
            differing.append(key)
        kept[first] = value
    if differing:
        warnings.warn(
            f"{len(differing)} projections of global tokens differ from those of local tokens "
            f"({differing[0]} ...). Our ViL shares them, as EsViT's does (SHARE_W), and keeps the former.",
            stacklevel=2,
        )
    return kept


def with_copies(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict in their layout with the second names of shared tensors, behind any prefix."""
    full = {}
    for key, value in state.items():
        full[key] = value
        parts = re.fullmatch(r"(.*\.attn\.)(query|kv|proj)(\.(?:weight|bias))", key)
        if parts is None:
            continue
        before, name, after = parts.groups()
        # full attention has a `proj` too, but neither `query` nor global projections
        if f"{before}query.weight" in state and f"{before}g2g_relative_position_bias" in state:
            full[f"{before}{name}_global{after}"] = value
    return full


def vil_from_official(state: Mapping[str, Tensor], *, last_stage: int = 3) -> dict[str, Tensor]:
    """The state dict of our `ViL` from theirs (a backbone alone).

    Tables of indices are left out: they follow from the sides of windows and maps.

    Raises:
        KeyError: A key that belongs to no part of a ViL.
    """
    return rename_keys(without_copies(state), vil_rules(last_stage=last_stage))


def vil_to_official(state: Mapping[str, Tensor], *, last_stage: int = 3) -> dict[str, Tensor]:
    """Their state dict from that of our `ViL`, shared tensors under both names.

    Raises:
        KeyError: A key that belongs to no part of a ViL.
    """
    return with_copies(rename_keys(state, vil_rules(last_stage=last_stage), backward=True))


def _same(one: Tensor, other: Tensor) -> bool:
    return one is other or one.is_meta or torch.equal(one, other)
