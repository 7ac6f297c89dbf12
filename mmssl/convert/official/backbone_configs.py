"""The config of a backbone, read off the names and shapes of its weights in our layout."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmssl.convert.official.backbones import backbone_kind
from mmssl.convert.official.cotnet_config import cotnet_facts, cotnet_guesses

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


def backbone_config(
    state: State, prefix: str = "backbone.", *, norm: str = "SyncBN"
) -> dict[str, Any]:
    """The config of the backbone behind `prefix`.

    What weights do not tell (`backbone_guesses`) is as in the published models: heads of 64 channels,
    pretraining at 224 px, stochastic depth 0.1, or 0.2 in a Swin of depths (2, 2, 18, 2), 0.15 in an
    SE-CoTNetD of depths (3, 8, 36, 3); blur in a CoTNet of a structure that was published with it and in no
    other, and the fusion `sum` where it is that or `dynamic`.

    Args:
        state: A state dict in our layout.
        prefix: Of the backbone's keys.
        norm: Kind of BatchNorm, for networks that have it.

    Raises:
        KeyError: A network of no known family.
        ValueError: A ResNet of no known depth.
    """
    facts = _facts(state, prefix, norm)
    config = copy.deepcopy(facts)
    for name, value in _guesses(facts).items():
        *path, last = name.split(".")
        place = config
        for key in path:
            place = place[key]
        place[last] = value
    return config


def backbone_guesses(state: State, prefix: str = "backbone.") -> list[str]:
    """The options in `backbone_config` that the weights do not tell, as dotted names.

    Args:
        state: A state dict in our layout.
        prefix: Of the backbone's keys.

    Raises:
        KeyError: A network of no known family.
        ValueError: A ResNet of no known depth.
    """
    return list(_guesses(_facts(state, prefix, "SyncBN")))


def _facts(state: State, prefix: str, norm: str) -> dict[str, Any]:
    own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    return _FACTS[backbone_kind(own, official=False)](own, norm)


def _guesses(facts: dict[str, Any]) -> dict[str, Any]:
    """Values by dotted name in the config."""
    kind = facts["type"]
    if kind == "ResNet":
        return {}
    if kind == "CoTNet":
        return cotnet_guesses(facts)
    deep = kind == "Swin" and facts["depths"] == (2, 2, 18, 2)
    guesses: dict[str, Any] = dict(
        drop_path_rate=0.2 if deep else 0.1, norm_eps=1e-5 if kind == "CvT" else 1e-6
    )
    if kind == "VisionTransformer":
        guesses |= dict(num_heads=max(facts["embed_dims"] // 64, 1), pos_interp="dino")
    elif kind == "CvT":
        guesses["num_heads"] = tuple(max(dim // 64, 1) for dim in facts["embed_dims"])
        guesses["window_sizes"] = (7,) * len(facts["depths"])
    elif "pretrain_img_size" not in facts:
        guesses["pretrain_img_size"] = 224
    return guesses


def _resnet(state: State, norm: str) -> dict[str, Any]:
    counts = tuple(count_below(state, f"layer{stage}.") for stage in (1, 2, 3, 4))
    bottleneck = "layer1.0.conv3.weight" in state
    depth = _DEPTHS.get((counts, bottleneck))
    if depth is None:
        raise ValueError(
            f"The backbone has {counts} {'bottleneck' if bottleneck else 'basic'} blocks per stage, which is "
            f"no ResNet of depth {sorted(set(_DEPTHS.values()))}."
        )
    config: dict[str, Any] = dict(
        type="ResNet", depth=depth, out_indices=(3,), norm_cfg=dict(type=norm)
    )
    base = state["conv1.weight"].shape[0]
    if base != 64:
        config["base_channels"] = base
    width = state["layer1.0.conv2.weight"].shape[0] // base
    if state["conv1.weight"].shape[-1] == 3:
        config["stem"] = "cifar"
    return config if width == 1 else config | dict(width=width)


def _swin(state: State, norm: str) -> dict[str, Any]:
    stages = range(count_below(state, "stages."))
    tables = [
        state[f"stages.{stage}.blocks.0.attn.w_msa.relative_position_bias_table"]
        for stage in stages
    ]
    windows = [(math.isqrt(len(table)) + 1) // 2 for table in tables]
    # A smaller window is the whole map of that stage (static rule of EsViT).
    sizes = [window * 4 * 2**stage for stage, window in enumerate(windows) if window < max(windows)]
    dim = state["patch_embed.projection.weight"].shape[0]
    facts = dict(
        type="Swin",
        embed_dims=dim,
        depths=tuple(count_below(state, f"stages.{stage}.blocks.") for stage in stages),
        num_heads=tuple(table.shape[1] for table in tables),
        window_size=max(windows),
        mlp_ratio=state["stages.0.blocks.0.ffn.layers.0.0.weight"].shape[0] / dim,
        qkv_bias="stages.0.blocks.0.attn.w_msa.qkv.bias" in state,
        patch_norm="patch_embed.norm.weight" in state,
        out_indices=(stages[-1],),
    )
    return facts | (dict(pretrain_img_size=sizes[0]) if sizes else {})


def _vit(state: State, norm: str) -> dict[str, Any]:
    dim = state["pos_embed"].shape[2]
    conv = "patch_embed.proj.weight" not in state
    patch = 16 if conv else state["patch_embed.proj.weight"].shape[2]
    side = math.isqrt(state["pos_embed"].shape[1] - 1)
    stem = dict(stem="conv", stem_norm_cfg=dict(type=norm)) if conv else {}
    return stem | dict(
        type="VisionTransformer",
        embed_dims=dim,
        depth=count_below(state, "blocks."),
        patch_size=patch,
        pretrain_img_size=side * patch,
        mlp_ratio=state["blocks.0.mlp.fc1.weight"].shape[0] / dim,
        qkv_bias="blocks.0.attn.qkv.bias" in state,
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
    layers = range(1, count_below(state, "layer") + 1)
    tables = [state[f"layer{n}.1.attn.local_relative_position_bias_table"] for n in layers]
    sparse = tuple(f"layer{n}.1.attn.query.weight" in state for n in layers)
    tokens = [state.get(f"layer{n}.0.cls_token") for n in layers]
    patches = tuple(state[f"layer{n}.0.proj.weight"].shape[-1] for n in layers)
    # rows of a table: (4 w - 1)^2 for chunks of side w, (2 r - 1)^2 for a map of side r
    sides = [math.isqrt(len(table)) + 1 for table in tables]
    windows = [side // 4 for side, chunked in zip(sides, sparse, strict=True) if chunked]
    sizes = [
        side // 2 * math.prod(patches[: stage + 1])
        for stage, side in enumerate(sides)
        if not sparse[stage]
    ]
    dims = tuple(state[f"layer{n}.0.proj.weight"].shape[0] for n in layers)
    facts = dict(
        type="ViL",
        embed_dims=dims,
        # a block is two entries, behind that of the embedding
        depths=tuple((count_below(state, f"layer{n}.") - 1) // 2 for n in layers),
        num_heads=tuple(table.shape[1] for table in tables),
        sparse=sparse,
        num_global_tokens=tuple(0 if token is None else token.shape[1] for token in tokens),
        patch_sizes=patches,
        window_sizes=tuple(
            side // 4 if chunked else max(windows, default=7)
            for side, chunked in zip(sides, sparse, strict=True)
        ),
        mlp_ratio=state["layer1.2.mlp.fc1.weight"].shape[0] / dims[0],
        out_indices=(len(dims) - 1,),
    )
    return facts | (dict(pretrain_img_size=sizes[0]) if sizes else {})


_FACTS = dict(cotnet=cotnet_facts, resnet=_resnet, swin=_swin, vit=_vit, cvt=_cvt, vil=_vil)
