"""ViT checkpoints: the names of DINO, EsViT and MoCo v3 are ours (and timm's), mmpretrain has its own.

Nothing is reordered in either.

What a checkpoint holds around the network (prefixes, `head`, `head_dense`) is the method's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmssl.convert.key_map import Rename, rename_keys

_NAMES = (
    "{name:cls_token|pos_embed}",
    "patch_embed.proj.{rest:weight|bias}",
    # the convolutional stem of MoCo v3
    "patch_embed.proj.{layer:[0-9]+}.{rest:weight|bias|running_mean|running_var|num_batches_tracked}",
    "blocks.{block:[0-9]+}.{part:norm1|norm2|attn.qkv|attn.proj|mlp.fc1|mlp.fc2}.{rest:weight|bias}",
    "norm.{rest:weight|bias}",
)
# mmcls, mmselfsup and mmpretrain
_MM_RULES = (
    Rename("{name:cls_token|pos_embed}", "{name}"),
    Rename("patch_embed.projection.{rest:weight|bias}", "patch_embed.proj.{rest}"),
    Rename("layers.{block:[0-9]+}.ln{n:1|2}.{rest:weight|bias}", "blocks.{block}.norm{n}.{rest}"),
    Rename("layers.{block:[0-9]+}.attn.{rest}", "blocks.{block}.attn.{rest}"),
    Rename("layers.{block:[0-9]+}.ffn.layers.0.0.{rest}", "blocks.{block}.mlp.fc1.{rest}"),
    Rename("layers.{block:[0-9]+}.ffn.layers.1.{rest}", "blocks.{block}.mlp.fc2.{rest}"),
    Rename("ln1.{rest:weight|bias}", "norm.{rest}"),
)


def vit_rules(theirs: str = "", ours: str = "") -> list[Rename]:
    """Rules for a `VisionTransformer` behind the given prefixes; they let no other key pass."""
    return [Rename(theirs + name, ours + name) for name in _NAMES]


def vit_from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of our `VisionTransformer` from theirs or mmpretrain's (a backbone alone).

    Raises:
        KeyError: A key that belongs to no part of a Vision Transformer.
    """
    return rename_keys(state, [*vit_rules(), *_MM_RULES])


def vit_to_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their state dict from that of our `VisionTransformer`.

    Raises:
        KeyError: A key that belongs to no part of a Vision Transformer.
    """
    return rename_keys(state, vit_rules(), backward=True)


def vit_to_mmpretrain(state: Mapping[str, Any]) -> dict[str, Any]:
    """The names that mmpretrain's `VisionTransformer` has for the entries of ours.

    Raises:
        KeyError: A key that belongs to no part of its network, such as a convolutional stem's.
    """
    return rename_keys(state, _MM_RULES, backward=True)
