"""The config of a backbone, read off the names and shapes of its weights in our layout."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmssl.convert.official.backbones import backbone_kind

_DEPTHS: dict[tuple[tuple[int, ...], bool], int] = {
    ((2, 2, 2, 2), False): 18,
    ((3, 4, 6, 3), False): 34,
    ((3, 4, 6, 3), True): 50,
    ((3, 4, 23, 3), True): 101,
    ((3, 8, 36, 3), True): 152,
}
State = Mapping[str, Tensor]


def count_below(state: State, prefix: str) -> int:
    """How many different names follow `prefix` in the keys, as the numbers of blocks do."""
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})


def backbone_config(state: State, prefix: str = "backbone.", *, norm: str = "SyncBN") -> dict:
    """The config of the backbone behind `prefix`.

    What weights do not tell is taken from the published models: heads of 64 channels in a ViT, CvT and
    ViL as EsViT has them, pretraining at 224 px where the windows of a Swin do not say otherwise.

    Args:
        state: A state dict in our layout.
        prefix: Of the backbone's keys.
        norm: Kind of BatchNorm, for networks that have it.

    Raises:
        KeyError: A network of no known family.
        ValueError: A ResNet of no known depth.
    """
    own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    return _CONFIGS[backbone_kind(own, official=False)](own, norm)


def _resnet(state: State, norm: str) -> dict[str, Any]:
    counts = tuple(count_below(state, f"layer{stage}.") for stage in (1, 2, 3, 4))
    bottleneck = "layer1.0.conv3.weight" in state
    depth = _DEPTHS.get((counts, bottleneck))
    if depth is None:
        raise ValueError(
            f"The backbone has {counts} {'bottleneck' if bottleneck else 'basic'} blocks per stage, which is "
            f"no ResNet of depth {sorted(set(_DEPTHS.values()))}."
        )
    config = dict(type="ResNet", depth=depth, out_indices=(3,), norm_cfg=dict(type=norm))
    width = state["layer1.0.conv2.weight"].shape[0] // 64
    return config if width == 1 else config | dict(width=width)


def _swin(state: State, norm: str) -> dict[str, Any]:
    stages = range(count_below(state, "stages."))
    tables = [
        state[f"stages.{stage}.blocks.0.attn.w_msa.relative_position_bias_table"]
        for stage in stages
    ]
    windows = [(math.isqrt(len(table)) + 1) // 2 for table in tables]
    size = 224
    # A smaller window is the whole map of that stage (static rule of EsViT).
    for stage, window in enumerate(windows):
        if window < max(windows):
            size = window * 4 * 2**stage
            break
    dim = state["patch_embed.projection.weight"].shape[0]
    return dict(
        type="Swin",
        embed_dims=dim,
        depths=tuple(count_below(state, f"stages.{stage}.blocks.") for stage in stages),
        num_heads=tuple(table.shape[1] for table in tables),
        window_size=max(windows),
        pretrain_img_size=size,
        mlp_ratio=state["stages.0.blocks.0.ffn.layers.0.0.weight"].shape[0] / dim,
        qkv_bias="stages.0.blocks.0.attn.w_msa.qkv.bias" in state,
        patch_norm="patch_embed.norm.weight" in state,
        out_indices=(stages[-1],),
    )


def _vit(state: State, norm: str) -> dict[str, Any]:
    dim, _, patch, _ = state["patch_embed.proj.weight"].shape
    side = math.isqrt(state["pos_embed"].shape[1] - 1)
    return dict(
        type="VisionTransformer",
        embed_dims=dim,
        depth=count_below(state, "blocks."),
        num_heads=dim // 64,
        patch_size=patch,
        pretrain_img_size=side * patch,
        pos_interp="dino",
    )


def _cvt(state: State, norm: str) -> dict[str, Any]:
    stages = range(count_below(state, "stages."))
    return dict(
        type="CvT",
        embed_dims=tuple(state[f"stages.{stage}.embed.proj.weight"].shape[0] for stage in stages),
        depths=tuple(count_below(state, f"stages.{stage}.blocks.") for stage in stages),
        norm_cfg=dict(type=norm),
    )


def _vil(state: State, norm: str) -> dict[str, Any]:
    layers = range(1, 5)  # a block is two entries, behind that of the embedding
    return dict(
        type="ViL",
        embed_dims=tuple(state[f"layer{layer}.0.proj.weight"].shape[0] for layer in layers),
        depths=tuple((count_below(state, f"layer{layer}.") - 1) // 2 for layer in layers),
    )


_CONFIGS = dict(resnet=_resnet, swin=_swin, vit=_vit, cvt=_cvt, vil=_vil)
