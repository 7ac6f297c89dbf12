"""The config of a CoTNet, read off the names and shapes of its weights in our layout."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from torch import Tensor

from mmssl.models.backbones.cotnet_archs import ARCHS, CoTNetArch

State = Mapping[str, Tensor]


def cotnet_facts(state: State, norm: str) -> dict[str, Any]:
    """What the weights tell. A structure that is published has its name, blur included; others have entries.

    `fusion` is None where two of them have the same weights; `cotnet_guesses` has what to take then.

    Args:
        state: Of the backbone alone.
        norm: Kind of BatchNorm.
    """
    arch = _arch(state)
    named = {replace(one, blur=False): name for name, one in ARCHS.items()}
    config: dict[str, Any] = dict(
        type="CoTNet",
        arch=named.get(arch) or _entries(arch),
        out_indices=(len(arch.depths) - 1,),
        norm_cfg=dict(type=norm),
    )
    fusion = _fusion(state)
    in_channels = state["conv1.0.weight" if arch.stem == "deep" else "conv1.weight"].shape[1]
    if in_channels != 3:
        config["in_channels"] = in_channels
    return config if fusion == "se" else config | dict(fusion=fusion)


def cotnet_guesses(facts: dict[str, Any]) -> dict[str, Any]:
    """Options that the weights do not tell, by dotted name, as in the published models.

    Another guess than that of stochastic depth makes another network: how stages are subsampled, and which
    fusion one without gate has. A structure that is published is taken for the published network (`arch`).

    Args:
        facts: Of `cotnet_facts`.
    """
    guesses: dict[str, Any] = dict(drop_path_rate=0.15 if facts["arch"] == "d152" else 0.1)
    if isinstance(facts["arch"], dict):
        guesses["arch.blur"] = False
    else:
        guesses["arch"] = facts["arch"]
    if facts.get("fusion", "se") is None:
        guesses["fusion"] = "sum"
    return guesses


def _entries(arch: CoTNetArch) -> dict[str, Any]:
    """What differs from CoTNet-50."""
    usual = asdict(CoTNetArch())
    return {name: value for name, value in asdict(arch).items() if value != usual[name]}


def _arch(state: State) -> CoTNetArch:
    depths, planes, widths, mixers = [], [], [], []
    for stage in range(1, 1 + _count(state, r"layer(\d+)\.")):
        count = _count(state, rf"layer{stage}\.(\d+)\.")
        depths.append(count)
        planes.append(state[f"layer{stage}.0.conv3.weight"].shape[0] // 4)
        widths.append(state[f"layer{stage}.0.conv1.weight"].shape[0])
        mixers.append(
            _turns([_mixer(state, f"layer{stage}.{block}.conv2.") for block in range(count)])
        )
    grouped = "coxt" in mixers
    keys = next((v for k, v in state.items() if k.endswith("conv_k.0.weight")), None)
    deep = "conv1.0.weight" in state
    return CoTNetArch(
        tuple(depths),
        mixers[0] if len(set(mixers)) == 1 else tuple(mixers),
        planes=tuple(planes),
        base_width=64 * widths[-1] // planes[-1] // (2 if grouped else 1),
        cardinality=2 if grouped else 1,
        stem="deep" if deep else "conv7",
        stem_channels=state["bn1.weight"].shape[0],
        # of any stage: the first has no shortcut if the stem has its channels
        avg_down=any(key.endswith(".0.downsample.2.weight") for key in state),
        key_kernel_size=1 if keys is None else keys.shape[-1],
    )


def _count(state: State, pattern: str) -> int:
    return len({found[1] for key in state if (found := re.match(pattern, key))})


def _mixer(state: State, prefix: str) -> Any:
    if prefix + "conv.weight" in state:
        return "se"
    if prefix + "conv_q.0.weight" in state:
        return "sasa"
    keys = state.get(prefix + "key_embed.0.weight")
    if keys is None:
        return "conv"
    return "coxt" if keys.shape[0] == 8 * keys.shape[1] else "cot"


def _turns(mixers: list[Any]) -> Any:
    """One name if all blocks have it, two if they take turns, else the name of each."""
    if len(set(mixers)) == 1:
        return mixers[0]
    turns = tuple(mixers[:2])
    taken = [turns[block % 2] for block in range(len(mixers))]
    return turns if taken == mixers else tuple(mixers)


def _fusion(state: State) -> str | None:
    """Of the CoT layers; None for `sum` and `dynamic`, which have the same weights."""
    parts = {key.split(".")[3] for key in state if re.match(r"layer\d+\.\d+\.conv2\.", key)}
    if "key_embed" not in parts or "se" in parts:
        return "se"
    return None if "embed" in parts else "static"
