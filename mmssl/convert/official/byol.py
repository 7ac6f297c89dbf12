"""BYOL checkpoints of deepmind-research: arrays by Haiku's names, to ours and back.

Their pickle holds `step`, `rng` and `experiment_state`, in which `online_params`, `target_params`,
`online_state` and `target_state` are dictionaries of modules, each of arrays: kernels (height, width, in,
out), matrices (in, out), scales and offsets of norms with axes of size 1. A running average is there as
`hidden`, the sum, and `average`, the same freed of its start at zero; the latter is what evaluation reads,
and ours. Not taken: the classifier that is trained alongside, the target's predictor, which nothing reads,
and `hidden`.

Their convolutions and the pool pad as TensorFlow does, so the network is `ResNet(padding='same')`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from mmssl.convert.key_map import Rename, behind, rename_keys
from mmssl.convert.official.backbone_configs import backbone_config
from mmssl.convert.official.named_parts import ends_without_scale, whole_stack_config
from mmssl.convert.official.twin_updates import NUM_UPDATES, twin_updates

_DECAY = 0.9
_BRANCHES = (("online", ""), ("target", "twin."))
_ROOT = re.compile(r"res_net[0-9]+/~/")
_STAGES, _LAYERS = range(4), range(3)
_MODULES = [
    Rename("initial_conv.{leaf}", "backbone.conv1.{leaf}"),
    Rename("initial_batchnorm.{leaf}", "backbone.bn1.{leaf}"),
    *(
        Rename(
            f"block_group_{stage}/~/block_{{block}}/~/{theirs}.{{leaf:[a-z_]+}}",
            f"backbone.layer{stage + 1}.{{block}}.{ours}.{{leaf}}",
        )
        for stage in _STAGES
        for theirs, ours in (
            *((f"conv_{n}", f"conv{n + 1}") for n in _LAYERS),
            *((f"batchnorm_{n}", f"bn{n + 1}") for n in _LAYERS),
            ("shortcut_conv", "downsample.0"),
            ("shortcut_batchnorm", "downsample.1"),
        )
    ),
    *(
        Rename(f"{theirs}/{layer}.{{leaf}}", f"{ours}.layers.{number}.{{leaf}}")
        for theirs, ours in (("projector", "neck"), ("predictor", "head"))
        for layer, number in (("linear", 0), ("batch_norm", 1), ("linear_1", 3))
    ),
]
_LEAVES = [
    Rename("{module}|w", "{module}.weight"),
    Rename("{module}|b", "{module}.bias"),
    Rename("{module}|scale", "{module}.weight"),
    Rename("{module}|offset", "{module}.bias"),
    Rename("{module}/~/mean_ema|average", "{module}.running_mean"),
    Rename("{module}/~/var_ema|average", "{module}.running_var"),
    Rename("{module}/~/mean_ema|counter", "{module}.num_batches_tracked"),
]
_DROPPED = (r"classifier\|.*", r".*_ema\|hidden", r".*var_ema\|counter")
_NO_TARGET = (r"predictor/.*",)
_PLAIN, _NORM = dict(weight="w", bias="b"), dict(weight="scale", bias="offset")


def is_official(file: Mapping[str, Any]) -> bool:
    """Whether a file has the entries of theirs.

    Args:
        file: The content of a weights file.
    """
    return "online_params" in _trees(file)


def _trees(file: Mapping[str, Any]) -> Mapping[str, Any]:
    state = file.get("experiment_state")
    return state if isinstance(state, Mapping) else file


def from_official(file: Mapping[str, Any], *, num_updates: int = 1) -> dict[str, Tensor]:
    """The state dict of our `BYOL` from their file.

    Args:
        file: `step` and `experiment_state`, or the entries of the latter; leaves are tensors.
        num_updates: Momentum updates that the twin has behind it, where there is no `step`.

    Raises:
        KeyError: An array that belongs to no part of the model.
        ValueError: Parts of the model are missing, or `num_updates` is below 1.
    """
    updates = twin_updates(num_updates)
    trees = _trees(file)
    ours: dict[str, Tensor] = {}
    for branch, prefix in _BRANCHES:
        dropped = _DROPPED if branch == "online" else _DROPPED + _NO_TARGET
        for part in ("params", "state"):
            tree = trees.get(f"{branch}_{part}")
            if not isinstance(tree, Mapping):
                raise ValueError(
                    f"A checkpoint of BYOL holds {branch}_{part}, modules by name with their arrays; this "
                    f"one holds {list(trees)[:6]}."
                )
            flat = {_ROOT.sub("", key): value for key, value in _flat(tree)}
            renamed = rename_keys(rename_keys(flat, _LEAVES, dropped=dropped), _MODULES)
            ours |= behind(prefix, {key: _to_torch(key, value) for key, value in renamed.items()})
    ours |= twin_updates(max(int(file["step"]), 1)) if "step" in file else updates
    return ours


def to_official(state: Mapping[str, Tensor]) -> dict[str, dict[str, dict[str, Tensor]]]:
    """Their four dictionaries from the state dict of our `BYOL`.

    There is no classifier in them, and no predictor in the target's.

    Args:
        state: Keys of the algorithm.

    Raises:
        KeyError: A key that belongs to no part of their model.
        ValueError: No ResNet of bottlenecks.
    """
    config = backbone_config(state)
    if config["type"] != "ResNet" or config["depth"] < 50:
        raise ValueError(
            f"Their files hold a ResNet of bottlenecks; the backbone is {config}. (In their smaller ones the "
            "first block has a projection, which ours has not.)"
        )
    root = f"res_net{config['depth']}/~/"
    trees: dict[str, dict[str, dict[str, Tensor]]] = {}
    for branch, prefix in _BRANCHES:
        own = {
            key.removeprefix(prefix): value
            for key, value in state.items()
            if key.startswith("twin.") == bool(prefix) and key != NUM_UPDATES
        }
        trees[f"{branch}_params"], trees[f"{branch}_state"] = _branch_to_official(own, root)
    return trees


def _branch_to_official(
    state: Mapping[str, Tensor], root: str
) -> tuple[dict[str, dict[str, Tensor]], dict[str, dict[str, Tensor]]]:
    """Parameters and averages of one network by their modules; `root` stands before those of the ResNet."""
    params: dict[str, dict[str, Tensor]] = {}
    averages: dict[str, dict[str, Tensor]] = {}
    for key, name in rename_keys({key: key for key in state}, _MODULES, backward=True).items():
        module, leaf = key.rsplit(".", 1)
        if not module.startswith(("projector", "predictor")):
            module = root + module
        value = _to_haiku(name, state[name])
        if leaf in ("weight", "bias"):
            params.setdefault(module, {})[(_NORM if "batch" in module else _PLAIN)[leaf]] = value
        elif leaf != "num_batches_tracked":
            count = state[f"{name.rsplit('.', 1)[0]}.num_batches_tracked"]
            average = dict(average=value, hidden=value * (1 - _DECAY**count), counter=count)
            averages[f"{module}/~/{leaf.removeprefix('running_')}_ema"] = average
    return params, averages


def _flat(tree: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """(`module|leaf`, array) of two levels."""
    for module, leaves in tree.items():
        for leaf, value in leaves.items():
            yield f"{module}|{leaf}", value


def _to_torch(key: str, value: Tensor) -> Tensor:
    """The array of our entry `key` in torch's order of axes."""
    if key.endswith("num_batches_tracked"):
        return value.reshape(()).long()
    if value.ndim == 4 and ("conv" in key or "downsample.0" in key):
        return value.permute(3, 2, 0, 1).contiguous()
    if value.ndim == 2 and ".layers.1." not in key:
        return value.T.contiguous()
    return value.reshape(-1)


def _to_haiku(key: str, value: Tensor) -> Tensor:
    """The inverse of `_to_torch`."""
    if value.ndim == 4:
        return value.permute(2, 3, 1, 0).contiguous()
    if value.ndim == 2:
        return value.T.contiguous()
    if ".layers.1." in key:
        return value.reshape(1, -1)
    return value.reshape(1, 1, 1, -1) if key.startswith("backbone.") else value


def model_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The `model` config of a state dict in our layout; what weights do not tell, as published.

    Args:
        state: Keys of the algorithm.

    Raises:
        KeyError: A backbone of no known family.
        ValueError: A ResNet of no known depth.
    """
    return dict(
        type="BYOL",
        backbone=backbone_config(state),
        neck=whole_stack_config(state, "neck.", "MLPNeck"),
        head=whole_stack_config(state, "head.", "MLPPredictor"),
        momentum=dict(type="Cosine", start=0.996, end=1.0),
    )


def official_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """`model_config` with the padding of their network.

    Args:
        state: Keys of the algorithm, from `from_official`.

    Raises:
        KeyError: A backbone of no known family.
        ValueError: A ResNet of no known depth.
    """
    config = model_config(state)
    config["backbone"]["padding"] = "same"
    return config


def guessed_options(state: Mapping[str, Tensor]) -> list[str]:
    """Names in `model_config` that weights do not tell.

    Args:
        state: Keys of the algorithm.
    """
    return ["momentum"]


def is_byol(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict of ours with a projector, a predictor and a twin is BYOL's.

    Args:
        state: Keys of an algorithm.
    """
    queued = any(key.startswith("queue") for key in state)
    return not queued and not ends_without_scale(state, "neck.")
