"""An algorithm as it was when its checkpoint was written, from the checkpoint alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.utils import import_modules_from_strings

from mmssl.convert.checkpoint_file import load_weights_file
from mmssl.convert.config_text import read_config_text
from mmssl.models.algorithms.base import BaseAlgorithm
from mmssl.registry import MODELS, load_plugins


def load_algorithm(
    checkpoint: str | Path, *, with_weights: bool = True, trust_pickle: bool = False
) -> BaseAlgorithm:
    """Rebuild the algorithm of a training checkpoint from the config inside it.

    Args:
        checkpoint: A checkpoint of `tools/train.py`.
        with_weights: Load its weights; otherwise the network is initialised as for training.
        trust_pickle: Allow a pickle to run code.

    Raises:
        ValueError: The checkpoint carries no config or no algorithm of mmssl, or weights that do not
            fit it.
    """
    content = load_weights_file(checkpoint, trust_pickle=trust_pickle)
    config = carried_config(content, checkpoint)
    model = MODELS.build(config["model"])
    if not isinstance(model, BaseAlgorithm):
        raise ValueError(
            f"{checkpoint} holds a {type(model).__name__}; a self-supervised algorithm of mmssl is "
            "expected."
        )
    if not with_weights:
        model.init_weights()
        return model
    try:
        model.load_state_dict(content["state_dict"], strict=True)
    except RuntimeError as error:
        raise ValueError(
            f"The weights in {checkpoint} do not fit the network of its own config; was it written by "
            f"another version? {error}"
        ) from error
    return model


def carried_config(content: dict[str, Any], source: str | Path) -> dict[str, Any]:
    """The config inside a training checkpoint, with the modules that it names imported.

    Its model starts from nothing that lies elsewhere: what was loaded before training is left out.

    Args:
        content: What `load_weights_file` returned.
        source: The file, for messages.

    Raises:
        ValueError: There is no config, or one of another library.
    """
    meta = content.get("meta")
    text = meta.get("cfg") if isinstance(meta, dict) else None
    if not isinstance(text, str) or "state_dict" not in content:
        raise ValueError(
            f"{source} carries no config (meta.cfg), so its network cannot be rebuilt from it. Give a "
            "checkpoint of tools/train.py or tools/convert_checkpoint.py, or name the network of this "
            "one with --config where the tool has that."
        )
    config = read_config_text(text)
    if config.get("default_scope", "mmssl") != "mmssl":
        raise ValueError(
            f"{source} is a checkpoint of a config of {config['default_scope']}; a self-supervised "
            "algorithm of mmssl is expected."
        )
    if "custom_imports" in config:
        import_modules_from_strings(**config["custom_imports"])
    load_plugins()
    return {**config, "model": _without_files(_without_pretrained(config["model"]))}


def _without_pretrained(model: dict[str, Any]) -> dict[str, Any]:
    """The weights are in the checkpoint: nothing to download or to look for elsewhere."""
    backbone = model.get("backbone")
    if not isinstance(backbone, dict):
        return model
    kept = {key: value for key, value in backbone.items() if key not in ("init_cfg", "pretrained")}
    return {**model, "backbone": kept}


def _without_files(model: dict[str, Any]) -> dict[str, Any]:
    """Class weights that training kept in files of its machine lie in main memory."""
    head = model.get("head")
    if not isinstance(head, dict) or head.get("folder") is None:
        return model
    return {**model, "head": {**head, "folder": None}}
