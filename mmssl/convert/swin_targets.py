"""The Swin of mmdet, mmseg and timm that an exported one of ours becomes.

mmdet and mmseg shift every odd block and never shrink a window; ours follows the static rule of its
pretraining (`Swin`). Same weights, so, but other features where the two differ (at 224 pixels: the last
stage, with windows of 14 the last two). That is right for detection and wrong for a proof: the features
are compared with theirs after its blocks were given the windows and shifts of pretraining.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import timm
from mmengine.registry import MODELS as ROOT_MODELS
from timm.models.swin_transformer import SwinTransformer as TimmSwin
from torch import Tensor, nn

from mmssl.convert.name_layouts import DERIVED
from mmssl.convert.position_tables import fit_position_table
from mmssl.models.backbones import Swin

# Of the families' Swin-T recipes in detection; pretraining has its own, and none in a teacher.
TRANSFER_DROP_PATH = 0.2
# timm's names by channels, blocks and heads.
TIMM_NAMES = {
    (96, (2, 2, 6, 2), (3, 6, 12, 24)): "swin_tiny_patch4_window7_224",
    (96, (2, 2, 18, 2), (3, 6, 12, 24)): "swin_small_patch4_window7_224",
    (128, (2, 2, 18, 2), (4, 8, 16, 32)): "swin_base_patch4_window7_224",
    (192, (2, 2, 18, 2), (6, 12, 24, 48)): "swin_large_patch4_window7_224",
}


def _structure(backbone: Swin) -> dict[str, Any]:
    """Arguments under the names of mmdet and ours, read from the network."""
    block = backbone.stages[0].blocks[0]
    dim = backbone.patch_embed.projection.out_channels
    ratio = block.ffn.layers[0][0].out_features / dim
    return dict(
        embed_dims=dim,
        depths=tuple(len(stage.blocks) for stage in backbone.stages),
        num_heads=tuple(stage.blocks[0].attn.w_msa.num_heads for stage in backbone.stages),
        window_size=backbone.window_size,
        mlp_ratio=int(ratio) if ratio == int(ratio) else ratio,
        qkv_bias=block.attn.w_msa.qkv.bias is not None,
    )


def _norm_eps(backbone: Swin) -> float:
    return backbone.stages[0].blocks[0].norm1.eps


def _has_patch_norm(backbone: Swin) -> bool:
    return isinstance(backbone.patch_embed.norm, nn.LayerNorm)


def mm_swin_config(backbone: Swin, library: str) -> dict[str, Any] | None:
    """The `model.backbone` of mmdet or mmseg; `None` if their class cannot express the network.

    Without a norm behind the patch embedding theirs has none in the mergings either, and mmdet takes
    whole numbers as `mlp_ratio` only.
    """
    structure = _structure(backbone)
    whole = isinstance(structure["mlp_ratio"], int)
    if not _has_patch_norm(backbone) or (library == "mmdet" and not whole):
        return None
    return dict(
        type=f"{library}.SwinTransformer",
        **structure,
        strides=(4, 2, 2, 2)[: len(backbone.stages)],
        out_indices=tuple(range(len(backbone.stages))),
        patch_norm=True,
        norm_cfg=dict(type="LN", eps=_norm_eps(backbone)),
        drop_path_rate=TRANSFER_DROP_PATH,
    )


def _pretraining_network(build: dict[str, Any], backbone: Swin) -> tuple[nn.Module, list[str]]:
    """Their network with the windows and shifts of `backbone`, and in words what that changed."""
    network = ROOT_MODELS.build({**build})
    changes = []
    for number, stage in enumerate(backbone.stages):
        ours = [block.attn.w_msa for block in stage.blocks]
        if ours[0].window != build["window_size"]:
            donor = ROOT_MODELS.build({**build, "window_size": ours[0].window})
            network.stages[number].blocks = donor.stages[number].blocks
            changes.append(
                f"stage {number + 1} has window {ours[0].window} for {build['window_size']}"
            )
        blocks = [block.attn for block in network.stages[number].blocks]
        if [block.shift_size for block in blocks] != [one.shift for one in ours]:
            changes.append(f"stage {number + 1} does not shift")
        for block, one in zip(blocks, ours, strict=True):
            block.shift_size = one.shift
    network.eval()  # whose own `eval` returns nothing
    return network, changes


def mm_swin_target(
    backbone: Swin, build: dict[str, Any]
) -> tuple[nn.Module, Callable, Callable, str]:
    """What the export to mmdet or mmseg needs, with the library installed.

    Args:
        backbone: The pretrained one, with all maps.
        build: Of `mm_swin_config`.

    Returns:
        Their network; its maps for images, computed with the windows and shifts of pretraining; our
        state dict -> theirs; and how the compared network differs from theirs ("" if it does not).
    """
    network = ROOT_MODELS.build({**build})
    proof, changes = _pretraining_network(build, backbone)
    pretrained = backbone.state_dict()
    note = f"{build['type']} as pretrained: {', '.join(changes)}" if changes else ""

    def features(images: Tensor) -> tuple[Tensor, ...]:
        # from the file, but for tables that were resized: those belong to the smaller window
        weights = network.state_dict()
        for name, tensor in proof.state_dict().items():
            if weights[name].shape != tensor.shape:
                weights[name] = tensor if DERIVED.fullmatch(name) else pretrained[name]
        proof.load_state_dict(weights)
        return tuple(proof(images))

    def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        theirs = network.state_dict()
        written = {name: t for name, t in theirs.items() if DERIVED.fullmatch(name)}
        for name, tensor in state.items():
            shape = theirs[name].shape if name in theirs else tensor.shape
            fitted = tensor if tensor.shape == shape else fit_position_table(tensor, shape)
            written[name] = tensor if fitted is None else fitted
        return written

    return network, features, convert, note


def _check_timm_is_equal(backbone: Swin) -> None:
    if not _has_patch_norm(backbone):
        raise ValueError(
            "timm's Swin always has a norm behind its patch embedding, this backbone has none "
            "(patch_norm=False). Export it to mmdet or mmseg."
        )
    size = backbone.pretrain_img_size
    for number, stage in enumerate(backbone.stages):
        side, attention = size / 4 / 2**number, stage.blocks[-1].attn.w_msa
        if side != int(side) or (attention.shift and side % attention.window):
            raise ValueError(
                f"timm's Swin is equal to ours where no map is padded. At the {size} pixels of "
                f"pretraining stage {number + 1} has side {side:g} and windows of "
                f"{attention.window}. Export it to mmdet or mmseg, which pad as ours."
            )


def timm_swin(backbone: Swin) -> tuple[nn.Module, str]:
    """timm's network for a pretrained one, at random weights, and the call that builds it.

    Raises:
        ValueError: timm's network would differ from `backbone` at the size of its pretraining.
    """
    _check_timm_is_equal(backbone)
    arguments = _structure(backbone)
    arguments["embed_dim"] = arguments.pop("embed_dims")
    shape = (arguments["embed_dim"], arguments["depths"], arguments["num_heads"])
    arguments["img_size"] = backbone.pretrain_img_size
    defaults: dict[str, Any] = dict(img_size=224, window_size=7, mlp_ratio=4, qkv_bias=True)
    if shape in TIMM_NAMES:
        defaults |= dict(zip(("embed_dim", "depths", "num_heads"), shape, strict=True))
    changed = {name: v for name, v in arguments.items() if defaults.get(name) != v}
    eps = _norm_eps(backbone)
    norm_layer = partial(nn.LayerNorm, eps=eps)
    if shape in TIMM_NAMES:
        call = f"timm.create_model({TIMM_NAMES[shape]!r}"
        network = timm.create_model(
            TIMM_NAMES[shape], num_classes=0, norm_layer=norm_layer, **changed
        )
    else:
        call = "timm.models.swin_transformer.SwinTransformer("
        network = TimmSwin(num_classes=0, norm_layer=norm_layer, **changed)
    words = [f"{name}={value!r}" for name, value in {"num_classes": 0, **changed}.items()]
    words.append(f"norm_layer=functools.partial(torch.nn.LayerNorm, eps={eps:g})")
    separator = "" if call.endswith("(") else ", "
    return network, f"{call}{separator}{', '.join(words)})"


def timm_swin_features(network: nn.Module, backbone: Swin) -> Callable:
    """Images -> the last map of timm's Swin behind its norm, as a tuple of one."""
    size = backbone.pretrain_img_size

    def features(images: Tensor) -> tuple[Tensor, ...]:
        if tuple(images.shape[2:]) != (size, size):
            raise ValueError(
                f"timm's Swin is built for images of {size} x {size}, the size of pretraining; got "
                f"{tuple(images.shape[2:])}. Leave image_size out."
            )
        last = len(backbone.stages) - 1
        return tuple(
            network.forward_intermediates(
                images, indices=[last], norm=True, output_fmt="NCHW", intermediates_only=True
            )
        )

    return features
