"""ViT checkpoints of DINO, EsViT and MoCo v3: their names are ours (and timm's), nothing is reordered.

What a checkpoint holds around the network (prefixes, `head`, `head_dense`) is the method's business.
"""

from __future__ import annotations

from collections.abc import Mapping

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


def vit_rules(theirs: str = "", ours: str = "") -> list[Rename]:
    """Rules for a `VisionTransformer` behind the given prefixes; they let no other key pass."""
    return [Rename(theirs + name, ours + name) for name in _NAMES]


def vit_from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of our `VisionTransformer` from theirs (a backbone alone).

    Raises:
        KeyError: A key that belongs to no part of a Vision Transformer.
    """
    return rename_keys(state, vit_rules())


def vit_to_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their state dict from that of our `VisionTransformer`.

    Raises:
        KeyError: A key that belongs to no part of a Vision Transformer.
    """
    return rename_keys(state, vit_rules(), backward=True)
