"""The config that the backbone of a checkpoint is rebuilt from."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from mmssl.convert.config_text import read_config_text
from mmssl.convert.official.told_config import network_guesses, place_of, told_config
from mmssl.engine.config import load_config
from mmssl.registry import load_plugins


class SourceConfig(NamedTuple):
    """A run's config.

    Attributes:
        config: In plain containers.
        sha256: Of its text.
        guessed: `name=value` of what makes the backbone this network and no official file tells: it is as in
            the published models.
    """

    config: dict[str, Any]
    sha256: str
    guessed: tuple[str, ...] = ()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def source_config(checkpoint: dict[str, Any], config: str | Path | None) -> SourceConfig:
    """The run's config: of a file, or what the checkpoint carries or tells.

    Args:
        checkpoint: The content of the weights file.
        config: The file, if there is one.

    Raises:
        ValueError: There is none, or that of another library.
    """
    if config is not None:
        loaded = load_config(config)
        return SourceConfig(loaded.to_dict(), _hash(loaded.pretty_text))
    meta = checkpoint["meta"] if isinstance(checkpoint.get("meta"), dict) else {}
    text = meta.get("cfg")
    if not isinstance(text, str):
        told = told_config(checkpoint)
        if told is not None:
            official = Config(dict(model=told.config))
            return SourceConfig(
                official.to_dict(), _hash(official.pretty_text), _guesses(told.config, told.guessed)
            )
        raise ValueError(
            "The checkpoint carries no config (meta.cfg) and is no official file that tells its network "
            "(a ResNet of a known method, a CoTNet of a published structure and fusion), so its backbone "
            "cannot be rebuilt. Name the config of the run with --from-config PATH (from_config=...); for an "
            "official checkpoint any config whose model.backbone is the same network."
        )
    read = read_config_text(text)
    if read.get("default_scope", "mmssl") != "mmssl":
        raise ValueError(
            f"The checkpoint is of a config of {read['default_scope']}, whose backbone has that library's "
            "layout already; exports are made of pretraining checkpoints. One of mmselfsup or mmpretrain is "
            "converted first: tools/convert_checkpoint.py."
        )
    # a file that was converted here notes what was guessed then
    return SourceConfig(read, _hash(text), _guesses(read["model"], network_guesses(meta)))


def _guesses(model: dict[str, Any], names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{name}={place_of(model, name)!r}" for name in names)


def backbone_of(config: dict[str, Any]) -> dict[str, Any]:
    """`model.backbone` without its initialisation and frozen stages, once its class can be built.

    Args:
        config: Of a run.

    Raises:
        ValueError: It has no backbone.
    """
    model = config.get("model")
    backbone = model.get("backbone") if isinstance(model, dict) else None
    if not isinstance(backbone, dict) or "type" not in backbone:
        raise ValueError(
            "The config has no model.backbone with a type, so nothing can be exported."
        )
    if "custom_imports" in config:
        import_modules_from_strings(**config["custom_imports"])
    load_plugins()
    # weights come from the checkpoint: nothing to download or to look for elsewhere
    return {
        key: value
        for key, value in backbone.items()
        if key not in ("init_cfg", "pretrained", "frozen_stages")
    }
