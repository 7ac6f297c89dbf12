"""NPID checkpoints of zhirongw/lemniscate.pytorch: their layout and ours, both ways.

Their file holds `epoch`, `arch`, `state_dict` (torchvision's ResNet whose `fc` is the projection, behind
`module.`), `best_prec1`, `optimizer`, and the bank as `lemniscate`: not its tensors but the module itself,
pickled. So the file is read only when the pickle is trusted; taken of the module are its two buffers,
`memory` (n, dim) and `params` (K, t, Z, momentum; or t, momentum without sampling), whether or not the
authors' code can be imported. We write `lemniscate` as a state dict, which needs no trust.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mmssl.convert.key_map import behind, rename_keys, taken
from mmssl.convert.official.backbone_configs import backbone_config
from mmssl.convert.official.backbones import backbone_from_official, backbone_to_official
from mmssl.convert.official.moco import neck_config, neck_rules

_SAID = ("num_negatives", "criterion", "temperature", "bank_momentum")


def bank_buffers(file: Mapping[str, Any]) -> dict[str, Tensor]:
    """The buffers of the bank in a file: of the pickled module, of its stand-in, or a state dict.

    Args:
        file: The content of a weights file.

    Returns:
        `memory` and, if it is there, `params`; empty without a bank.
    """
    bank = file.get("lemniscate")
    buffers = bank if isinstance(bank, Mapping) else getattr(bank, "__dict__", {}).get("_buffers")
    if not isinstance(buffers, Mapping) or not isinstance(buffers.get("memory"), Tensor):
        return {}
    names = ("memory", "params")
    return {name: buffers[name] for name in names if isinstance(buffers.get(name), Tensor)}


def from_official(file: Mapping[str, Any]) -> dict[str, Tensor]:
    """The state dict of our `NPID` from their file.

    Counters of BatchNorm, which files of torch before 0.4.1 lack, become 0 (nothing reads them).

    Args:
        file: With `state_dict` and `lemniscate`.

    Raises:
        KeyError: A key that belongs to no part of the network.
        ValueError: There is no bank in the file.
    """
    bank = bank_buffers(file)
    network = file.get("state_dict")
    if not bank or not isinstance(network, Mapping):
        raise ValueError(
            "A whole checkpoint of NPID has `state_dict` and the bank `lemniscate`; the file holds "
            f"{list(file)[:6]}. Without the bank its backbone can be used all the same: "
            "PretrainedBackbone(checkpoint=...) and load_backbone take such a file as it is."
        )
    plain = {key.removeprefix("module."): value for key, value in network.items()}
    neck = taken(plain, "fc.")
    backbone = backbone_from_official(plain)
    for key in [key for key in backbone if key.endswith("running_var")]:
        counter = key.removesuffix("running_var") + "num_batches_tracked"
        backbone.setdefault(counter, torch.tensor(0))
    ours = behind("backbone.", backbone)
    ours |= behind("neck.", rename_keys(neck, neck_rules(neck)))
    ours["bank.features"] = bank["memory"]
    params = bank.get("params")
    # theirs is -1 until the first batch
    constant = torch.zeros(()) if params is None or len(params) != 4 else params[2].clone()
    ours["normalizer"] = constant.clamp(min=0.0)
    return ours


def to_official(
    state: Mapping[str, Tensor], *, params: Tensor | None = None
) -> dict[str, dict[str, Tensor]]:
    """Their `state_dict` (behind `module.`) and `lemniscate` from the state dict of our `NPID`.

    `lemniscate` is a state dict, to be loaded into their module.

    Args:
        state: Keys of `NPID`.
        params: Their options, from `params_of`; left out of `lemniscate` by default.

    Raises:
        KeyError: A key that belongs to no part of an official model.
        ValueError: Z was estimated, which has a place in `params` only.
    """
    plain = dict(state)
    bank = {"memory": plain.pop("bank.features")} if "bank.features" in plain else {}
    normalizer = plain.pop("normalizer", None)
    if params is not None:
        bank["params"] = params
    elif normalizer is not None and normalizer > 0:
        raise ValueError(
            f"Their files keep Z ({float(normalizer):.6g} here) beside the number of negatives, the "
            "temperature and the momentum of the bank, and the checkpoint carries no config that would "
            "tell these; name it with --config."
        )
    backbone, neck = taken(plain, "backbone."), taken(plain, "neck.")
    network = backbone_to_official(backbone) if backbone else {}
    network |= behind("fc.", rename_keys(neck, neck_rules(neck), backward=True))
    network |= rename_keys(plain, [])
    return dict(state_dict=behind("module.", network), lemniscate=bank)


def params_of(model: Any, normalizer: Tensor) -> Tensor:
    """Their `params`: (K, t, Z, momentum), or (t, momentum) of a loss over the whole bank.

    Args:
        model: An `NPID`.
        normalizer: () Z, 0 before it was estimated.
    """
    options = [model.temperature, model.bank.momentum]
    if model.num_negatives is None:
        return torch.tensor(options)
    constant = float(normalizer) if normalizer > 0 else -1.0
    return torch.tensor([model.num_negatives, options[0], constant, options[1]])


def said_by_file(file: Mapping[str, Any]) -> dict[str, Any]:
    """What `params` of the bank tells of the model config, by name.

    Z is estimated by the noise-contrastive loss alone, so a file that has one was trained by that.

    Args:
        file: With `lemniscate`.
    """
    params = bank_buffers(file).get("params")
    if params is None or len(params) not in (2, 4):
        return {}
    values = [float(f"{value:.6g}") for value in params.tolist()]  # 0.07 is none of float32
    if len(values) == 2:
        options: list[Any] = [None, "cross_entropy", *values]
    else:
        criterion = "nce" if values[2] > 0 else "cross_entropy"
        options = [int(values[0]), criterion, values[1], values[3]]
    return dict(zip(_SAID, options, strict=True))


def model_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The `model` config of a state dict of `NPID`; what weights do not tell, as in the updated release.

    Args:
        state: Keys of `NPID`, e.g. from `from_official`.

    Raises:
        KeyError: A backbone of no known family.
        ValueError: A ResNet of no known depth.
    """
    return dict(
        type="NPID",
        backbone=backbone_config(state, norm="BN"),
        neck=neck_config(state),
        num_samples=len(state["bank.features"]),
        **dict(zip(_SAID, (65536, "cross_entropy", 0.07, 0.5), strict=True)),
    )


def guessed_options(state: Mapping[str, Tensor]) -> list[str]:
    """Names in `model_config` that weights do not tell; see `said_by_file`.

    Args:
        state: Keys of `NPID`.
    """
    return list(_SAID)
