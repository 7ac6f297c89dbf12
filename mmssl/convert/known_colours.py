"""The colours that pretrained weights know: mean and deviation that their images were normalised with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from mmssl.convert.config_text import read_config_text
from mmssl.convert.transfer_load import exported_meta
from mmssl.models.data_preprocessor import ViewPreprocessor

# that of SwAV's red, 58.14, and that of everybody else, 58.395, are two
_TOLERANCE = 0.05


_SWAV_NAMES = {"projection_head", "prototypes"}


class Colours(NamedTuple):
    """Mean and standard deviation of each RGB channel, in pixel units (0..255)."""

    mean: list[float]
    std: list[float]

    def advice(self) -> str:
        """The options that give a preprocessor these colours."""
        values = {name: [round(v, 3) for v in getattr(self, name)] for name in ("mean", "std")}
        return (
            f"model.data_preprocessor.type=ViewPreprocessor "
            f"model.data_preprocessor.mean={values['mean']} model.data_preprocessor.std={values['std']}"
        ).replace(", ", ",")


_SWAV = Colours([123.675, 116.28, 103.53], [58.14, 57.12, 57.375])


def known_colours(content: Mapping[str, Any]) -> Colours | None:
    """What a file says of the images that its backbone was pretrained on; `None` if it says nothing.

    An export has them in its metadata, a checkpoint of a run and a converted one in their config. Files of
    SwAV's authors, DeepCluster-v2's among them, are known by their names; other authors' say nothing.

    Args:
        content: Of a weights file.
    """
    meta = content.get("meta")
    if not isinstance(meta, Mapping):
        return _SWAV if _SWAV_NAMES <= _names(content) else None
    if isinstance(meta.get("cfg"), str):
        try:
            config = read_config_text(meta["cfg"])
        except ValueError:
            return None
        given = _of_config(config)
    else:
        given = exported_meta(content)
    return _colours(given)


def colours_of(config: Mapping[str, Any]) -> Colours | None:
    """Those of the preprocessor that a config names; `None` if it names none, or one of another class.

    Args:
        config: Of a run.
    """
    model = config.get("model")
    named = isinstance(model, Mapping) and model.get("data_preprocessor")
    return _colours(_of_config(config)) if named else None


def _colours(given: Mapping[str, Any] | None) -> Colours | None:
    usual = ViewPreprocessor()
    if given is None or not ("mean" in given or "std" in given):
        return None
    mean, std = (
        given[name] if given.get(name) is not None else getattr(usual, name).flatten().tolist()
        for name in ("mean", "std")
    )
    return Colours([float(value) for value in mean], [float(value) for value in std])


def _names(content: Mapping[str, Any]) -> set[str]:
    """How the names of a file's tensors begin."""
    inner = content.get("state_dict")
    state = inner if isinstance(inner, Mapping) else content
    return {str(key).removeprefix("module.").split(".")[0] for key in state}


def _of_config(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The options of the preprocessor of an algorithm; `None` for a config of another library or class."""
    model = config.get("model")
    if config.get("default_scope", "mmssl") != "mmssl" or not isinstance(model, Mapping):
        return None
    given = dict(model.get("data_preprocessor") or {})
    if str(given.get("type", "ViewPreprocessor")).split(".")[-1] != "ViewPreprocessor":
        return None
    return dict(mean=None, std=None) | given


def colour_fault(colours: Colours | None, preprocessor: nn.Module) -> str | None:
    """A sentence if a preprocessor gives a backbone other colours than it knows, or else `None`.

    Args:
        colours: Those of the pretraining.
        preprocessor: With `mean` and `std` in pixel units.
    """
    if colours is None:
        return None
    for name, known in colours._asdict().items():
        seen = getattr(preprocessor, name, None)
        if not isinstance(seen, torch.Tensor):
            return None
        values = seen.flatten().float().cpu()
        if len(values) != len(known) or not torch.allclose(
            values, torch.tensor(known), rtol=0, atol=_TOLERANCE
        ):
            here = [round(v, 3) for v in values.tolist()]
            return (
                f"The backbone was pretrained with a {name} of {[round(v, 3) for v in known]}, and its "
                f"images are normalised with {here} here, which costs accuracy. Set {colours.advice()}"
            )
    return None
