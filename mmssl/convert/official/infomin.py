"""InfoMin checkpoints of HobbitLong/PyContrast: their layout and ours, both ways.

Their file holds `model`, `model_ema`, `contrast` (the queue) and more. `model` has, behind `module.`, a
ResNet of torchvision without `fc` as `encoder.*`, `head.*` and the jigsaw's `head_jig.fc1.*` and
`head_jig.fc2.*`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmssl.convert.key_map import Rename, behind
from mmssl.convert.official.backbone_configs import backbone_config
from mmssl.convert.official.moco import neck_config
from mmssl.convert.official.named_parts import NamedParts
from mmssl.convert.official.twin_updates import twin_updates

_ONLINE = NamedParts(
    backbones=(("encoder.", "backbone."),),
    stacks=(("head.", "neck."), ("head_jig.fc1.", "jigsaw_head.fc1.")),
    rules=(Rename("head_jig.fc2.{rest:weight|bias}", "jigsaw_head.fc2.{rest:weight|bias}"),),
)


def from_official(
    state: Mapping[str, Tensor],
    *,
    ema: Mapping[str, Tensor] | None = None,
    num_updates: int = 1,
) -> dict[str, Tensor]:
    """The state dict of our `InfoMin` from theirs, but for the queue.

    Args:
        state: Their keys, with or without `module.`.
        ema: Those of the momentum encoder, whose jigsaw head nothing uses.
        num_updates: Momentum updates that it has behind it, at least 1.

    Raises:
        KeyError: A key that belongs to no part.
        ValueError: `num_updates` below 1.
    """
    ours = _ONLINE.from_official(state)
    if ema is None:
        return ours
    updates = twin_updates(num_updates)
    twin = _ONLINE.from_official(ema)
    kept = {key: value for key, value in twin.items() if not key.startswith("jigsaw_head.")}
    return ours | behind("twin.", kept) | updates


def to_official(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Their `model` and, where there is a twin, `model_ema` (without `module.`) from our state dict.

    The jigsaw head of their momentum encoder, which nothing uses, is the online one. The queue is left out.

    Raises:
        KeyError: A key that belongs to no part.
    """
    twin = {key.removeprefix("twin."): v for key, v in state.items() if key.startswith("twin.")}
    twin.pop("num_updates", None)
    online = {k: v for k, v in state.items() if not k.startswith(("twin.", "queue."))}
    theirs = dict(model=_ONLINE.to_official(online))
    if twin:
        jigsaw = {k: v for k, v in online.items() if k.startswith("jigsaw_head.")}
        theirs["model_ema"] = _ONLINE.to_official(twin | jigsaw)
    return theirs


def model_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The `model` config of a state dict in our layout; what weights do not tell, as published.

    Args:
        state: Keys of the algorithm, e.g. from `from_official`.

    Raises:
        KeyError: A backbone of no known family.
        ValueError: A ResNet of no known depth.
    """
    dim = state["jigsaw_head.fc2.weight"].shape[0]
    return dict(
        type="InfoMin",
        backbone=backbone_config(state, norm="BN"),
        neck=neck_config(state),
        jigsaw_head=dict(
            hid_channels=state["jigsaw_head.fc1.layers.0.weight"].shape[0],
            num_patches=state["jigsaw_head.fc2.weight"].shape[1] // dim,
        ),
        queue_length=65536,
        temperature=0.15,
        momentum=0.999,
    )


def guessed_options(state: Mapping[str, Tensor]) -> list[str]:
    """Dotted names of what `model_config` takes from the published models, for weights do not tell it.

    Args:
        state: Keys of the algorithm.
    """
    return ["queue_length", "temperature", "momentum"]
