"""CvT checkpoints of EsViT: their layout and ours, both ways.

Teacher and student keys of an EsViT file stand behind `module.`, because the network holds BatchNorm.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mmssl.convert.key_map import Rename, rename_keys


def cvt_rules(theirs: str = "", ours: str = "", *, last_stage: int = 3) -> list[Rename]:
    """Rules for a `CvT` behind the given prefixes; its final norm is that of our last stage."""
    their_block = "stage{stage:[0-9]+}.1.layers.{block:[0-9]+}"
    our_block = "stages.{stage}.blocks.{block}"
    pairs = {
        "stage{stage:[0-9]+}.0.{part:proj|norm}.{rest}": "stages.{stage}.embed.{part}.{rest}",
        f"{their_block}.0.norm.{{rest}}": f"{our_block}.norm1.{{rest}}",
        f"{their_block}.0.fn.qkv.{{part:dw|bn|pw}}.{{rest}}": f"{our_block}.attn.qkv.{{part}}.{{rest}}",
        f"{their_block}.0.fn.proj_out.{{rest}}": f"{our_block}.attn.proj.{{rest}}",
        f"{their_block}.1.norm.{{rest}}": f"{our_block}.norm2.{{rest}}",
        f"{their_block}.1.fn.net.0.{{rest}}": f"{our_block}.ffn.fc1.{{rest}}",
        f"{their_block}.1.fn.net.2.{{rest}}": f"{our_block}.ffn.fc2.{{rest}}",
        "norm.{rest}": f"norm{last_stage}.{{rest}}",
    }
    return [Rename(theirs + a, ours + b) for a, b in pairs.items()]


def cvt_from_official(state: Mapping[str, Tensor], *, last_stage: int = 3) -> dict[str, Tensor]:
    """The state dict of our `CvT` from theirs (a backbone alone).

    Raises:
        KeyError: A key that belongs to no part of a CvT.
    """
    return rename_keys(state, cvt_rules(last_stage=last_stage))


def cvt_to_official(state: Mapping[str, Tensor], *, last_stage: int = 3) -> dict[str, Tensor]:
    """Their state dict from that of our `CvT`.

    Raises:
        KeyError: A key that belongs to no part of a CvT.
    """
    return rename_keys(state, cvt_rules(last_stage=last_stage), backward=True)
