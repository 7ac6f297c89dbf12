"""MoCo, PCL and HCSC checkpoints: the authors' layout, which the three share, and ours, both ways.

Their files hold `epoch`, `arch`, `state_dict` and `optimizer`; `state_dict` has, behind `module.`, a ResNet
of torchvision with an `fc` of one layer (v1) or two (v2) as `encoder_q.*` and once more as `encoder_k.*`, and
`queue` (dim, K) with `queue_ptr`. HCSC adds `queue_index`. A PCL file differs from MoCo's by the length of
the queue only. Prototypes are in none of them: their programs cluster anew before every epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from mmssl.convert.key_map import Rename, behind, rename_keys, taken
from mmssl.convert.official.backbone_configs import backbone_config
from mmssl.convert.official.backbones import backbone_from_official, backbone_to_official
from mmssl.convert.official.twin_updates import NUM_UPDATES, twin_updates

Method = Literal["moco", "pcl", "hcsc"]

_ENCODERS = (("encoder_q.", ""), ("encoder_k.", "twin."))
_NECK_OF_ONE = [Rename("{rest:weight|bias}", "layers.0.{rest}")]
_NECK_OF_TWO = [Rename("{layer:0|2}.{rest:weight|bias}", "layers.{layer}.{rest}")]
_PCL_QUEUE = 16384
_PROTOTYPES: dict[str, tuple[int, ...]] = {
    "pcl": (25000, 50000, 100000),
    "hcsc": (3000, 2000, 1000),
}
_TYPES = {"moco": "MoCo", "pcl": "PCL", "hcsc": "HCSC"}


def neck_rules(neck: Mapping[str, Tensor]) -> list[Rename]:
    """Rules from their `fc` (without that prefix) to the layers of our neck, in either layout.

    Args:
        neck: One Linear, or Linear-ReLU-Linear.
    """
    matrices = sum(key.endswith("weight") for key in neck)
    return _NECK_OF_ONE if matrices == 1 else _NECK_OF_TWO


def neck_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The config of a neck without norms, read off its weights.

    Args:
        state: Keys of the algorithm in our layout.
    """
    matrices = [v for k, v in state.items() if k.startswith("neck.") and v.ndim == 2]
    config = dict(type="MLPNeck", out_channels=matrices[-1].shape[0], num_layers=len(matrices))
    return config | (dict(hid_channels=matrices[0].shape[0]) if len(matrices) > 1 else {})


def from_official(state: Mapping[str, Tensor], *, num_updates: int = 1) -> dict[str, Tensor]:
    """The state dict of our `MoCo` from theirs; that of our `PCL` and `HCSC` but for the prototypes.

    Args:
        state: Their keys, with or without `module.`.
        num_updates: Momentum updates that the key encoder has behind it. Not 0: our runner takes 0 for
            "not trained yet" and would overwrite the key encoder by a copy of the online one.

    Raises:
        KeyError: A key that belongs to no part of them.
        ValueError: `num_updates` below 1.
    """
    updates = twin_updates(num_updates)
    plain = {key.removeprefix("module."): value for key, value in state.items()}
    ours: dict[str, Tensor] = {}
    for theirs, mine in _ENCODERS:
        encoder = taken(plain, theirs)
        if encoder:
            neck = taken(encoder, "fc.")
            ours |= behind(f"{mine}backbone.", backbone_from_official(encoder))
            ours |= behind(f"{mine}neck.", rename_keys(neck, neck_rules(neck)))
    if any(key.startswith("twin.") for key in ours):
        ours |= updates
    if "queue" in plain:
        ours["queue.features"] = plain.pop("queue").T.contiguous()
    if "queue_ptr" in plain:
        ours["queue.pointer"] = plain.pop("queue_ptr").reshape(())
    if "queue_index" in plain:
        ours["queue.index"] = plain.pop("queue_index").long()
    # what is left belongs to no part
    return ours | rename_keys(plain, [])


def to_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their state dict (without `module.`) from that of our `MoCo`, `PCL` or `HCSC`, without prototypes.

    The count of momentum updates has no place there. A key without an image (`queue.index` of -1) is
    numbered by its row, as theirs start.

    Raises:
        KeyError: A key that belongs to no part of an official model.
    """
    plain = {key: value for key, value in state.items() if key != NUM_UPDATES}
    theirs: dict[str, Tensor] = {}
    queue = taken(plain, "queue.")
    if "features" in queue:
        theirs["queue"] = queue.pop("features").T.contiguous()
    if "pointer" in queue:
        theirs["queue_ptr"] = queue.pop("pointer").reshape(1)
    if "index" in queue:
        index = queue.pop("index")
        rows = torch.arange(len(index), device=index.device)
        theirs["queue_index"] = torch.where(index < 0, rows, index)
    for name, mine in _ENCODERS:
        backbone, neck = taken(plain, f"{mine}backbone."), taken(plain, f"{mine}neck.")
        if backbone:
            theirs |= behind(name, backbone_to_official(backbone))
        theirs |= behind(f"{name}fc.", rename_keys(neck, neck_rules(neck), backward=True))
    return theirs | rename_keys(behind("queue.", queue) | plain, [])


def architecture(state: Mapping[str, Tensor]) -> str:
    """torchvision's name of the backbone, which their files note as `arch`.

    Args:
        state: Keys of the algorithm in our layout.

    Raises:
        ValueError: No ResNet.
    """
    config = backbone_config(state)
    if config["type"] != "ResNet":
        raise ValueError(
            f"Their programs train networks of torchvision; the backbone is a {config['type']}."
        )
    width = config.get("width", 1)
    return f"wide_resnet{config['depth']}_{width}" if width > 1 else f"resnet{config['depth']}"


def method_of(state: Mapping[str, Tensor]) -> Method:
    """Whose an official state dict is: HCSC by its index of the queue, PCL by the length of the queue.

    The length is a guess: it is an option of MoCo's and PCL's programs, 65536 and 16384 as published.

    Args:
        state: Their keys, without `module.`.
    """
    if "queue_index" in state:
        return "hcsc"
    queue = state.get("queue")
    return "pcl" if queue is not None and queue.shape[1] == _PCL_QUEUE else "moco"


def model_config(state: Mapping[str, Tensor], *, method: Method = "moco") -> dict[str, Any]:
    """The `model` config of a state dict in our layout; what weights do not tell, as published.

    Args:
        state: Keys of the algorithm, e.g. from `from_official`.
        method: Whose it is.

    Raises:
        KeyError: A backbone of no known family.
        ValueError: A ResNet of no known depth.
    """
    neck = neck_config(state)
    config: dict[str, Any] = dict(
        type=_TYPES[method],
        backbone=backbone_config(state, norm="BN"),
        neck=neck,
        queue_length=len(state["queue.features"]),
        temperature=0.07 if method == "moco" and neck["num_layers"] == 1 else 0.2,
        momentum=0.999,
    )
    if method in _PROTOTYPES:
        config["prototypes"] = dict(type="Prototypes", num_clusters=_PROTOTYPES[method])
    if method == "pcl":  # one option of their program is both
        config["num_negatives"] = config["queue_length"]
    return config


def guessed_options(state: Mapping[str, Tensor], *, method: Method = "moco") -> list[str]:
    """Dotted names of what `model_config` takes from the published models, for weights do not tell it.

    Args:
        state: Keys of the algorithm, e.g. from `from_official`.
        method: Whose it is.
    """
    clusters = ["prototypes.num_clusters"] if method in _PROTOTYPES else []
    return ["temperature", "momentum", *clusters]
