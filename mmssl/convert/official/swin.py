"""Swins of Microsoft (Swin, EsViT, MoBY): names and order of channels, theirs and ours, both ways.

What stands around the backbone in a file is in `dino.py` and `moby.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mmssl.convert.key_map import Rename, rename_keys

# Recomputed from the window: never a parameter.
_DERIVED = [r"(.*\.)?relative_position_index", r"(.*\.)?attn_mask"]
# Of the four neighbours that a merging joins: ours come row by row, theirs column by column.
_NEIGHBOURS = [0, 2, 1, 3]


def swin_rules(theirs: str = "", ours: str = "", *, last_stage: int = 3) -> list[Rename]:
    """Rules for a Swin behind the given prefixes; its final norm is that of our last stage."""
    block = "{stage:[0-9]+}.blocks.{block:[0-9]+}"
    pairs = {
        "patch_embed.proj.{rest}": "patch_embed.projection.{rest}",
        "patch_embed.norm.{rest}": "patch_embed.norm.{rest}",
        f"layers.{block}.{{norm:norm1|norm2}}.{{rest}}": f"stages.{block}.{{norm:norm1|norm2}}.{{rest}}",
        f"layers.{block}.attn.{{rest}}": f"stages.{block}.attn.w_msa.{{rest}}",
        f"layers.{block}.mlp.fc1.{{rest}}": f"stages.{block}.ffn.layers.0.0.{{rest}}",
        f"layers.{block}.mlp.fc2.{{rest}}": f"stages.{block}.ffn.layers.1.{{rest}}",
        "layers.{stage:[0-9]+}.downsample.{rest}": "stages.{stage:[0-9]+}.downsample.{rest}",
        "norm.{rest}": f"norm{last_stage}.{{rest}}",
    }
    return [Rename(theirs + a, ours + b) for a, b in pairs.items()]


def swin_from_official(state: Mapping[str, Tensor], *, last_stage: int = 3) -> dict[str, Tensor]:
    """The state dict of our `Swin` from theirs (a backbone alone).

    Tables of indices and masks are left out: they follow from the window.

    Raises:
        KeyError: A key that belongs to no part of a Swin.
    """
    ours = rename_keys(state, swin_rules(last_stage=last_stage), dropped=_DERIVED)
    return {key: _joined(value) if ".downsample." in key else value for key, value in ours.items()}


def swin_to_official(state: Mapping[str, Tensor], *, last_stage: int = 3) -> dict[str, Tensor]:
    """Their state dict from that of our `Swin`.

    Raises:
        KeyError: A key that belongs to no part of a Swin.
    """
    plain = {key: _split(value) if ".downsample." in key else value for key, value in state.items()}
    return rename_keys(plain, swin_rules(last_stage=last_stage), backward=True)


def _joined(value: Tensor) -> Tensor:
    """Last axis from (neighbour, channel), columns first, to (channel, neighbour), rows first."""
    parts = value.unflatten(-1, (4, -1))[..., _NEIGHBOURS, :]
    return parts.transpose(-1, -2).flatten(-2).contiguous()


def _split(value: Tensor) -> Tensor:
    """The inverse of `_joined`; the order of neighbours is its own inverse."""
    parts = value.unflatten(-1, (-1, 4)).transpose(-1, -2)
    return parts[..., _NEIGHBOURS, :].flatten(-2).contiguous()
