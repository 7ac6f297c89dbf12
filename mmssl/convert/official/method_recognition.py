"""Whose a file is: the method of an official file, and of a checkpoint of ours, by the names in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmssl.convert.official import byol, deepcluster_v2, dino, moco, npid
from mmssl.convert.official.backbones import backbone_kind
from mmssl.convert.official.cotnet import DETECTRON_SIGN, SIGN
from mmssl.convert.official.method_files import METHOD_FILES
from mmssl.convert.official.source_file import tensors_of

BACKBONE_ALONE = (
    "The file holds a backbone without the heads of a method, so there is no whole model to convert, and "
    "no need to: in a config PretrainedBackbone(checkpoint=...), in Python load_backbone take such a file "
    "as it is."
)
_CLASSIFIERS_ONLY = (
    "The file has the names of CoTNet's detection repository (detectron2, res2.0.conv2...): a detector, of "
    "which no model of ours is the whole. Its backbone loads as it is by "
    "PretrainedBackbone(checkpoint=...), load_backbone, or tools/export_backbone.py with --from-config."
)
_SIGNS = {
    "densecl": r"encoder_q\.1\.mlp2\..*",
    "moco": r"encoder_q\..*",
    "care": r"(student_encoder|teacher_encoder)\..*",
    "care_linear": r"classifier\.1\.running_mean",
    "pic": r"sim_matrix",
    "pixpro": r"projector(_k)?\.linear1\.weight",
    "infomin": r"head_jig\..*",
    "moco_v3": r"(base|momentum)_encoder\..*",
    "simsiam": r"encoder\.fc\.6\.weight",
    "deepcluster_v2": deepcluster_v2.SIGN,
    "swav": r"projection_head\..*|prototypes\.weight",
    "barlow_twins": r"projector\.[0-9]+\.weight",
    "moby": r"(encoder_k|projector_k|predictor)\..*|queue[12]",
    "dino": r"(head|head_dense)\.last_layer\..*",
    "cotnet": SIGN,
}


def method_of_file(file: Mapping[str, Any], config: Mapping[str, Any] | None = None) -> str:
    """The key of `METHOD_FILES` that an official file belongs to, by the names in it.

    Args:
        file: The content of a weights file.
        config: Its model config, if it is known: whose a file of MoCo's layout is.

    Raises:
        ValueError: It holds a backbone alone, or what no method knows.
    """
    if byol.is_official(file):
        return "byol"
    state = tensors_of(
        file, "student", "teacher", "model", "state_dict", "state_dict_ema", "classifier"
    )
    plain = {key.removeprefix("module."): value for key, value in state.items()}
    for method, sign in _SIGNS.items():
        if any(re.fullmatch(sign, key) for key in plain):
            if method == "dino" and dino.named_by_esvit(plain):
                return "esvit"
            if method == "moco":
                known = str((config or {}).get("type")).lower()
                return known if known in ("moco", "pcl", "hcsc") else moco.method_of(plain)
            return method
    if any(re.fullmatch(DETECTRON_SIGN, key) for key in plain):
        raise ValueError(_CLASSIFIERS_ONLY)
    if npid.bank_buffers(file):
        return "npid"
    if is_backbone(plain):
        raise ValueError(BACKBONE_ALONE)
    held = list(state) or list(file)
    raise ValueError(
        f"The file is of none of {', '.join(METHOD_FILES)}; its first names are {held[:4]}. For the "
        "backbone of another method load_backbone and PretrainedBackbone take most files as they are."
    )


def is_backbone(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict in the official layout holds a backbone of a known family.

    Args:
        state: Without `module.`; other parts may stand beside the backbone.
    """
    for prefix in ("", "backbone.", "encoder."):
        own = {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}
        try:
            backbone_kind(own, official=True)
        except KeyError:
            continue
        return True
    return False


def method_of_state(state: Mapping[str, Tensor], config: Mapping[str, Any] | None) -> str:
    """The key of `METHOD_FILES` for a state dict of ours.

    Args:
        state: Keys of an algorithm.
        config: Its model config, if it is known: who trained a ViT without regions, by its `pos_interp`.

    Raises:
        ValueError: No method of them has such parts.
    """
    fitting = [
        method
        for method, layout in METHOD_FILES.items()
        if method != "esvit"
        and all(any(key.startswith(p) for key in state) for p in layout.parts + layout.lacking)
        and layout.fits(state)
    ]
    if not fitting:
        raise ValueError(
            f"The source is no whole checkpoint of {', '.join(METHOD_FILES)} in our layout; it holds "
            f"{sorted({key.split('.')[0] for key in state})[:8] or 'no state dict'}. Without --to official "
            "the tool reads the authors' layout; tools/export_backbone.py writes a backbone alone."
        )
    by_esvit = any(key.startswith("region_head.") for key in state)
    if config is not None and config["backbone"].get("type") == "VisionTransformer":
        by_esvit |= config["backbone"].get("pos_interp", "esvit") == "esvit"
    if fitting == ["dino"] and by_esvit:
        return "esvit"
    # what is built on a method has its parts and more
    return max(fitting, key=lambda name: len(METHOD_FILES[name].parts + METHOD_FILES[name].lacking))
