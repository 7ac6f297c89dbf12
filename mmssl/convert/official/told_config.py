"""The model config that an official file tells, by its weights and what else is in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mmssl.convert.official.backbone_configs import backbone_guesses
from mmssl.convert.official.method_files import METHOD_FILES
from mmssl.convert.official.method_recognition import method_of_file
from mmssl.convert.official.source_file import SourceFile, State


def read_off(
    file: Mapping[str, Any], state: State, layout: SourceFile
) -> tuple[dict[str, Any], list[str]]:
    """The model config by the weights, by the rest of the file where they say nothing, else guessed.

    Args:
        file: The content of an official file.
        state: Its tensors by the keys of the algorithm.
        layout: Of the method.

    Returns:
        The config, and dotted names in it that are guesses.
    """
    config, guessed = layout.model_config(state), layout.guessed(state)
    of_backbone = [f"backbone.{name}" for name in backbone_guesses(state)]
    guessed = guessed + [name for name in of_backbone if name not in guessed]
    for name, value in layout.said(file, config).items():
        *path, last = name.split(".")
        place = place_of(config, ".".join(path)) if path else config
        if name in guessed or place.get(last) is None:
            place[last] = value
            guessed = [other for other in guessed if other != name]
    return config, guessed


def place_of(config: Mapping[str, Any], name: str) -> Any:
    """The value at a dotted name, or `None`."""
    value: Any = config
    for key in name.split("."):
        value = value.get(key)
    return value


class Told(NamedTuple):
    """The model config that an official file tells.

    Attributes:
        config: Of the model.
        guessed: Dotted names of what makes the backbone this network and is taken for granted.
    """

    config: dict[str, Any]
    guessed: tuple[str, ...] = ()


def told_config(file: Mapping[str, Any]) -> Told | None:
    """The model config of an official file, if the file tells all of its backbone; else `None`.

    It does where conversion from a run has noted the config in it, and for a ResNet or a CoTNet of a
    published structure. That such a CoTNet is the published one, blur included, is taken for granted, and
    `Told` says so.

    Args:
        file: The content of a weights file.
    """
    meta = file.get("meta")
    if isinstance(meta, Mapping) and isinstance(meta.get("model"), dict):
        config, guessed = meta["model"], network_guesses(meta)
    else:
        try:
            layout = METHOD_FILES[method_of_file(file)]
            config, names = read_off(file, layout.from_file(file, 1), layout)
        except (KeyError, ValueError):  # of no whole model, whose names would tell
            return None
        guessed = network_guesses(dict(guessed=names))
    return Told(config, guessed) if set(guessed) <= {"backbone.arch"} else None


def network_guesses(meta: Mapping[str, Any]) -> tuple[str, ...]:
    """Guesses noted in a file that make the backbone another network if they are wrong.

    How often blocks were skipped in training makes none.

    Args:
        meta: With dotted names under `guessed`, if there are any.
    """
    return tuple(
        name
        for name in meta.get("guessed") or ()
        if name.startswith("backbone.") and name != "backbone.drop_path_rate"
    )
