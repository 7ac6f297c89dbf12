"""convert_file: a CARE checkpoint file from one layout to the other."""

from __future__ import annotations

import pprint
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mmssl.convert.checkpoint_file import file_sha256, load_weights_file
from mmssl.convert.key_map import check_complete
from mmssl.convert.official.care import from_official, model_config, to_official
from mmssl.registry import MODELS


def convert_file(
    source: str | Path,
    target: str | Path,
    *,
    to: Literal["ours", "official"] = "ours",
    iters_per_epoch: int = 1251,
    trust_pickle: bool = False,
) -> list[str]:
    """Convert a checkpoint of a whole CARE model and prove that nothing was lost.

    Args:
        source: Official file (`model`, or a plain state dict) or one of our checkpoints.
        target: Where to write. Towards ours the model config is written beside it, with suffix `.py`.
        to: Direction.
        iters_per_epoch: Of the official run: the teacher has made `start_epoch * iters_per_epoch` updates.
        trust_pickle: Read a file that holds more than tensors and plain containers.

    Returns:
        Lines that say what was done.

    Raises:
        KeyError: A key that belongs to no part of a CARE model, or a missing one.
        ValueError: A tensor of the wrong shape, or the source is in the layout asked for.
    """
    file = load_weights_file(source, trust_pickle=trust_pickle)
    origin = dict(source=Path(source).name, sha256=file_sha256(source))
    target = Path(target)
    if to == "official":
        state = to_official(_state_of(file, "state_dict"))
        prefixed = {f"module.{key}": value for key, value in state.items()}
        epoch = int(file.get("meta", {}).get("epoch", 0))
        torch.save(dict(start_epoch=epoch, model=prefixed, meta=origin), target)
        return [f"{len(prefixed)} tensors -> {target} (official layout, epoch {epoch})"]

    epoch = int(file.get("start_epoch", 0))
    if any(key.startswith("projector_c.") for key in file.get("state_dict", {})):
        raise ValueError(
            f"{source} is a checkpoint of mmssl already; --to official converts it the other way."
        )
    ours = from_official(_state_of(file, "model"), num_updates=max(1, epoch * iters_per_epoch))
    config = model_config(ours)
    with torch.device("meta"):
        model = MODELS.build(config)
    expected = model.state_dict()
    if not any(key.startswith("twin.") for key in ours):
        expected = {k: v for k, v in expected.items() if not k.startswith("twin.")}
    check_complete(ours, expected)
    torch.save(dict(state_dict=ours, meta=dict(epoch=epoch, method="CARE", **origin)), target)
    config_file = target.with_suffix(".py")
    config_file.write_text(f"model = {pprint.pformat(config, sort_dicts=False, width=100)}\n")
    return [
        f"{len(ours)} tensors -> {target} (epoch {epoch})",
        f"model config -> {config_file} (pos_enc={config['t_stream'] and config['t_stream']['pos_enc']})",
    ]


def _state_of(file: dict[str, Any], key: str) -> dict[str, Tensor]:
    """The state dict of a checkpoint, under its usual key or plain."""
    for name in (key, "state_dict", "model"):
        if isinstance(file.get(name), dict):
            return file[name]
    return {name: value for name, value in file.items() if isinstance(value, Tensor)}
