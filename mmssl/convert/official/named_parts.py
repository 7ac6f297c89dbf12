"""Checkpoints whose parts differ from ours in the names of the parts only.

A backbone of a family that is known, and stacks of numbered layers (`nn.Sequential`), which our `MLP` numbers
alike; the layouts of MoCo v3, SimSiam, SwAV, DeepCluster-v2, Barlow Twins and InfoMin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mmssl.convert.key_map import Rename, behind, rename_keys, taken
from mmssl.convert.official.backbones import backbone_from_official, backbone_to_official
from mmssl.convert.official.twin_updates import NUM_UPDATES, twin_updates


@dataclass(frozen=True)
class NamedParts:
    """How a method's parts are called by its authors and by us.

    Attributes:
        backbones: Prefixes of backbones, theirs and ours.
        stacks: Prefixes of numbered layers, theirs and ours (without our `layers.`).
        rules: Of what is left over.
        dropped: Our keys that their files have no place for, as regular expressions.
    """

    backbones: tuple[tuple[str, str], ...]
    stacks: tuple[tuple[str, str], ...]
    rules: Sequence[Rename] = ()
    dropped: tuple[str, ...] = ()

    def from_official(
        self, state: Mapping[str, Tensor], *, num_updates: int | None = None
    ) -> dict[str, Tensor]:
        """Our state dict from theirs.

        Args:
            state: Their keys, with or without `module.`.
            num_updates: Momentum updates that the twin has behind it, where there is one. Not 0: our runner
                takes 0 for "not trained yet" and would overwrite the twin by a copy of the online networks.

        Raises:
            KeyError: A key that belongs to no part.
            ValueError: `num_updates` below 1.
        """
        updates = {} if num_updates is None else twin_updates(num_updates)
        plain = {key.removeprefix("module."): value for key, value in state.items()}
        ours: dict[str, Tensor] = {}
        for theirs, mine in self.stacks:
            ours |= behind(f"{mine}layers.", taken(plain, theirs))
        for rule in self.rules:
            for key in [key for key in plain if rule.forward(key)]:
                ours[str(rule.forward(key))] = plain.pop(key)
        for theirs, mine in self.backbones:
            backbone = taken(plain, theirs)
            if backbone:
                ours |= behind(mine, backbone_from_official(backbone))
        if any(key.startswith("twin.") for key in ours):
            ours |= updates
        # what is left belongs to no part
        return ours | rename_keys(plain, [])

    def to_official(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Their state dict (without `module.`) from ours; the count of updates has no place there.

        Raises:
            KeyError: A key that belongs to no part.
        """
        plain = {key: value for key, value in state.items() if key != NUM_UPDATES}
        theirs: dict[str, Tensor] = {}
        for name, mine in self.backbones:
            backbone = taken(plain, mine)
            if backbone:
                theirs |= behind(name, backbone_to_official(backbone))
        for name, mine in self.stacks:
            theirs |= behind(name, taken(plain, f"{mine}layers."))
        return theirs | rename_keys(plain, self.rules, backward=True, dropped=self.dropped)


def stack_config(state: Mapping[str, Tensor], prefix: str, kind: str) -> dict[str, Any]:
    """Type and sizes of the `MLP` whose weights stand behind a prefix.

    Args:
        state: Keys of the algorithm in our layout.
        prefix: Such as `neck.`.
        kind: The registered name.
    """
    matrices = [v for k, v in state.items() if k.startswith(f"{prefix}layers.") and v.ndim == 2]
    return dict(
        type=kind,
        num_layers=len(matrices),
        hid_channels=matrices[0].shape[0],
        out_channels=matrices[-1].shape[0],
    )


def whole_stack_config(state: Mapping[str, Tensor], prefix: str, kind: str) -> dict[str, Any]:
    """`stack_config` with the norms and biases of an `MLP`, as its weights tell them.

    Args:
        state: Keys of the algorithm in our layout.
        prefix: Such as `neck.`.
        kind: The registered name.
    """
    stack = f"{prefix}layers."
    linear = [
        int(key.split(".")[-2]) for key, v in state.items() if key.startswith(stack) and v.ndim == 2
    ]
    norm = dict(type="SyncBN")
    config = stack_config(state, prefix, kind) | dict(
        bias=f"{stack}{min(linear)}.bias" in state,
        last_bias=f"{stack}{max(linear)}.bias" in state,
        norm_cfg=norm if f"{stack}{min(linear) + 1}.running_mean" in state else None,
    )
    last = f"{stack}{max(linear) + 1}."
    has_scale, has_shift = f"{last}weight" in state, f"{last}bias" in state
    less = {} if has_shift else dict(bias=False) if has_scale else dict(affine=False)
    config["last_norm_cfg"] = norm | less if f"{last}running_mean" in state else None
    return config


def ends_without_scale(state: Mapping[str, Tensor], prefix: str) -> bool:
    """Whether the last layer of an `MLP` is a BatchNorm that has neither scale nor shift.

    Args:
        state: Keys of an algorithm in our layout.
        prefix: Of the `MLP`, such as `neck.`.
    """
    stack = f"{prefix}layers."
    numbers = [int(key.removeprefix(stack).split(".")[0]) for key in state if key.startswith(stack)]
    last = f"{stack}{max(numbers, default=0)}."
    return f"{last}running_mean" in state and f"{last}weight" not in state
