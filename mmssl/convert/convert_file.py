"""convert_file: a checkpoint file of a method from its authors' layout to ours, or back."""

from __future__ import annotations

import pprint
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mmssl.convert.checkpoint_file import file_sha256, load_weights_file
from mmssl.convert.key_map import check_complete
from mmssl.convert.official import care, dino, moby
from mmssl.registry import MODELS

State = dict[str, Tensor]


@dataclass(frozen=True)
class Layout:
    """How a method's authors write their files.

    Attributes:
        from_file: Their file and the number of momentum updates -> our state dict.
        to_file: Our state dict -> entries of their file.
        model_config: Our state dict -> config of the model.
        epoch: Their name of the finished epochs.
    """

    from_file: Callable[[Mapping[str, Any], int], State]
    to_file: Callable[[State], dict[str, Any]]
    model_config: Callable[[State], dict[str, Any]]
    epoch: str


def _care_file(state: State) -> dict[str, Any]:
    return dict(model={f"module.{key}": value for key, value in care.to_official(state).items()})


_DINO = Layout(
    lambda file, updates: dino.from_official(file, num_updates=updates),
    dino.to_official,
    dino.model_config,
    "epoch",
)
LAYOUTS = {
    "care": Layout(
        lambda file, updates: care.from_official(_tensors(file, "model"), num_updates=updates),
        _care_file,
        care.model_config,
        "start_epoch",
    ),
    "dino": _DINO,
    "esvit": _DINO,
    "moby": Layout(
        lambda file, updates: moby.from_official(_tensors(file, "model"), num_updates=updates),
        lambda state: dict(model=moby.to_official(state)),
        moby.model_config,
        "epoch",
    ),
}


def convert_file(
    source: str | Path,
    target: str | Path,
    *,
    method: str = "care",
    to: Literal["ours", "official"] = "ours",
    iters_per_epoch: int = 1251,
    trust_pickle: bool = False,
) -> list[str]:
    """Convert a checkpoint of a whole model and prove that nothing was lost.

    Args:
        source: Official file or one of our checkpoints.
        target: Where to write. Towards ours the model config is written beside it, with suffix `.py`.
        method: A key of `LAYOUTS`.
        to: Direction.
        iters_per_epoch: Of the official run: the teacher has made `epoch * iters_per_epoch` updates.
        trust_pickle: Read a file that holds more than tensors and plain containers.

    Returns:
        Lines that say what was done.

    Raises:
        KeyError: A key that belongs to no part of such a model, or a missing one.
        ValueError: An unknown method, a tensor of the wrong shape, or the source is in the layout asked
            for.
    """
    if method not in LAYOUTS:
        raise ValueError(f"method must be one of {', '.join(LAYOUTS)}, got {method!r}.")
    layout = LAYOUTS[method]
    file = load_weights_file(source, trust_pickle=trust_pickle)
    origin = dict(source=Path(source).name, sha256=file_sha256(source))
    target = Path(target)
    if to == "official":
        theirs = layout.to_file(_tensors(file, "state_dict"))
        epoch = int(file.get("meta", {}).get("epoch", 0))
        torch.save({layout.epoch: epoch, **theirs, "meta": origin}, target)
        count = sum(len(state) for state in theirs.values())
        return [f"{count} tensors -> {target} (official layout, epoch {epoch})"]
    if "state_dict" in file and "meta" in file:
        raise ValueError(
            f"{source} is a checkpoint of mmssl already; --to official converts it the other way."
        )
    epoch = int(file.get(layout.epoch, 0))
    ours = layout.from_file(file, max(1, epoch * iters_per_epoch))
    config = layout.model_config(ours)
    with torch.device("meta"):
        expected = MODELS.build(config).state_dict()
    if not any(key.startswith("twin.") for key in ours):
        expected = {k: v for k, v in expected.items() if not k.startswith("twin.")}
    check_complete(ours, expected)
    meta = dict(epoch=epoch, method=config["type"], **origin)
    torch.save(dict(state_dict=ours, meta=meta), target)
    config_file = target.with_suffix(".py")
    config_file.write_text(f"model = {pprint.pformat(config, sort_dicts=False, width=100)}\n")
    return [
        f"{len(ours)} tensors -> {target} (epoch {epoch})",
        f"model config -> {config_file}",
    ]


def _tensors(file: Mapping[str, Any], key: str) -> State:
    """The state dict of a checkpoint, under its usual key or plain."""
    for name in (key, "state_dict", "model"):
        if isinstance(file.get(name), dict):
            return file[name]
    return {name: value for name, value in file.items() if isinstance(value, Tensor)}
