"""PIC checkpoints of bl0/PIC: their layout and ours, both ways.

Their files hold `opt`, `model`, `optimizer`, `scheduler`, `epoch` (windows that are over) and `sampler`.
`model` has, behind `module.`, a ResNet of torchvision with the projector `fc1`, `fc2` (or `fc` alone) as
`encoder.*`, and the class weights `sim_matrix` (images, dim).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmssl.convert.key_map import Rename, behind, rename_keys, taken
from mmssl.convert.official.backbone_configs import backbone_config
from mmssl.convert.official.backbones import backbone_from_official, backbone_to_official
from mmssl.convert.official.moco import neck_config
from mmssl.registry import MODELS

_NECK_OF_ONE = [Rename("fc.{rest:weight|bias}", "layers.0.{rest}")]
_NECK_OF_TWO = [
    Rename("fc1.{rest:weight|bias}", "layers.0.{rest}"),
    Rename("fc2.{rest:weight|bias}", "layers.2.{rest}"),
]
_HEAD = [Rename("sim_matrix", "head.weight")]
_SAMPLED = "head.rows.weight"
# Options of the head that change how its rows are kept and stepped, not what they are.
_OF_ROWS = ("num_negatives", "init_recent", "correction", "shard", "storage", "folder")


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of our `PIC`, with a softmax over all images, from theirs.

    Args:
        state: Their keys, with or without `module.`.

    Raises:
        KeyError: A key that belongs to no part of it.
    """
    plain = {key.removeprefix("module."): value for key, value in state.items()}
    encoder = taken(plain, "encoder.")
    neck = {key: encoder.pop(key) for key in list(encoder) if key.startswith("fc")}
    rules = _NECK_OF_ONE if "fc.weight" in neck else _NECK_OF_TWO
    ours = behind("backbone.", backbone_from_official(encoder)) if encoder else {}
    return ours | behind("neck.", rename_keys(neck, rules)) | rename_keys(plain, _HEAD)


def to_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their state dict (without `module.`) from that of our `PIC` with a softmax over all images.

    Args:
        state: Keys of the algorithm, of a sampled head after `simplified`.

    Raises:
        KeyError: A key that belongs to no part of an official model.
    """
    plain = dict(state)
    backbone, neck = taken(plain, "backbone."), taken(plain, "neck.")
    rules = _NECK_OF_TWO if "layers.2.weight" in neck else _NECK_OF_ONE
    theirs = rename_keys(plain, _HEAD, backward=True)
    encoder = backbone_to_official(backbone) if backbone else {}
    encoder |= rename_keys(neck, rules, backward=True)
    return theirs | behind("encoder.", encoder)


def has_instances(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict of ours has a class weight for every image.

    Args:
        state: Keys of an algorithm.
    """
    return "head.weight" in state or _SAMPLED in state


def simplified(
    state: Mapping[str, Tensor], config: Mapping[str, Any] | None
) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """State dict and config with a softmax over all images, which is what their files hold.

    Of a sampled or sharded head every row is brought up to date first: the steps that it owes are taken.
    What else such a head knows (momenta, recent images) is left out.

    Args:
        state: Keys of our `PIC`.
        config: Its model config.

    Raises:
        ValueError: Rows that owe steps, and no config to tell how they are corrected; or a classifier
            without cosines, which their files cannot tell.
    """
    if config is not None and not config["head"].get("cosine", True):
        raise ValueError(
            "The classifier has plain products (head.cosine=False, as Exemplar-CNN); PIC's files know only "
            "cosines. tools/export_backbone.py writes the backbone."
        )
    if _SAMPLED not in state:
        return dict(state), None if config is None else dict(config)
    if config is None:
        raise ValueError(
            "The class weights owe steps of the optimizer (num_negatives or shard), and the checkpoint "
            "carries no config that tells how they are corrected; name it with --config."
        )
    plain = dict(state)
    sampled = taken(plain, "head.")
    options = dict(type="InstanceClassifier", in_channels=sampled["rows.weight"].shape[1])
    options |= config["head"]
    # in one process all shards are its own
    head = MODELS.build(options | dict(storage="device", folder=None))
    head.load_state_dict(sampled)
    plain["head.weight"] = head.class_weights().clone()
    kept = {key: value for key, value in config["head"].items() if key not in _OF_ROWS}
    return plain, {**config, "head": kept}


def said_by_file(file: Mapping[str, Any]) -> dict[str, Any]:
    """What `opt` of their program tells of the model config, by dotted name.

    Args:
        file: The content of a weights file.
    """
    options = file.get("opt")
    given = options if isinstance(options, Mapping) else getattr(options, "__dict__", {})
    if "contrast_temperature" not in given:
        return {}
    return {"head.temperature": float(given["contrast_temperature"])}


def model_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The `model` config of a state dict in our layout; what weights do not tell, as published.

    Args:
        state: Keys of the algorithm, e.g. from `from_official`.

    Raises:
        KeyError: A backbone of no known family.
        ValueError: A ResNet of no known depth.
    """
    return dict(
        type="PIC",
        backbone=backbone_config(state, norm="BN"),
        neck=neck_config(state),
        head=dict(
            type="InstanceClassifier",
            num_instances=len(state["head.weight"]),
            temperature=0.2,
        ),
    )


def guessed_options(state: Mapping[str, Tensor]) -> list[str]:
    """Dotted names of what `model_config` takes from the published models; see `said_by_file`.

    Args:
        state: Keys of the algorithm.
    """
    return ["head.temperature"]
