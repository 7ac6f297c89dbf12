"""What the `args` in a file of DINO or EsViT say of its model, beyond the shapes of the weights."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import Any

# Both programs know these by name: channels and heads.
_VITS = {
    "vit_tiny": (192, 3), "vit_small": (384, 6), "vit_base": (768, 12),
    "deit_tiny": (192, 3), "deit_small": (384, 6),
}  # fmt: skip
_SWIN_FILE = re.compile(r"swin_(?P<size>\w+?)_patch4_window(?P<window>\d+)_(?P<pixels>\d+)\.ya?ml")


def said_by_arguments(args: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a model config that the arguments of the official program fix.

    Arguments that contradict the weights (another architecture, another window) say nothing.

    Args:
        args: An `argparse.Namespace` or a dictionary; anything else says nothing.
        config: The model config as far as weights tell it, with guesses for the rest.

    Returns:
        Values by dotted name in the model config.
    """
    given = vars(args) if isinstance(args, argparse.Namespace) else args
    if not isinstance(given, Mapping):
        return {}
    backbone = config["backbone"]
    said = {f"backbone.{k}": v for k, v in _backbone(given, backbone).items()}
    if "norm_last_layer" in given:
        heads = [name for name in ("head", "region_head") if name in config]
        said |= {f"{head}.norm_last_layer": bool(given["norm_last_layer"]) for head in heads}
    if "momentum_teacher" in given:
        start = float(given["momentum_teacher"])
        said["momentum"] = dict(type="Cosine", start=start, end=1.0)
    return said | _temperature(given)


def _backbone(given: Mapping[str, Any], backbone: Mapping[str, Any]) -> dict[str, Any]:
    if backbone["type"] == "VisionTransformer":
        said = _vit(given, backbone)
    elif backbone["type"] == "Swin":
        said = _swin(given, backbone)
    else:
        said = {}
    if backbone["type"] != "ResNet" and given.get("drop_path_rate") is not None:
        said["drop_path_rate"] = float(given["drop_path_rate"])
    return said


def _vit(given: Mapping[str, Any], backbone: Mapping[str, Any]) -> dict[str, Any]:
    dim, heads = _VITS.get(str(given.get("arch")), (None, None))
    if dim != backbone["embed_dims"]:
        return {}
    # where the program has no option for stochastic depth, it is a constant there
    return dict(num_heads=heads, norm_eps=1e-6, drop_path_rate=0.1)


def _swin(given: Mapping[str, Any], backbone: Mapping[str, Any]) -> dict[str, Any]:
    name = str(given.get("cfg") or "").replace("\\", "/").rsplit("/", 1)[-1]
    file = _SWIN_FILE.fullmatch(name)
    if file is None or int(file["window"]) != backbone["window_size"]:
        return {}
    said: dict[str, Any] = dict(
        norm_eps=1e-6,
        drop_path_rate=0.1 if file["size"] == "tiny" else 0.2,
        pretrain_img_size=int(file["pixels"]),
    )
    # names and values in turn, which replace those of the file
    options = list(given.get("opts") or [])
    for option, value in zip(options[::2], options[1::2], strict=False):
        if str(option).endswith("DROP_PATH_RATE"):
            said["drop_path_rate"] = float(value)
        elif str(option).endswith("IMAGE_SIZE"):
            said.pop("pretrain_img_size", None)
    return said


def _temperature(given: Mapping[str, Any]) -> dict[str, Any]:
    names = ("warmup_teacher_temp", "teacher_temp", "warmup_teacher_temp_epochs")
    if any(name not in given for name in names):
        return {}
    start, end, epochs = float(given[names[0]]), float(given[names[1]]), int(given[names[2]])
    if epochs == 0 or start == end:
        return dict(teacher_temperature=end)
    warmup = dict(type="LinearWarmup", start=start, end=end, num_steps=epochs)
    return dict(teacher_temperature=warmup)
