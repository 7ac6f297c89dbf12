"""Files of mmselfsup and mmpretrain: read as those of the same methods, under their own names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from mmssl.convert.official import byol
from mmssl.convert.official.backbone_configs import backbone_config
from mmssl.convert.official.method_files import METHOD_FILES
from mmssl.convert.official.mmselfsup import family_method, from_mmselfsup, said_by_config
from mmssl.convert.official.named_parts import whole_stack_config
from mmssl.convert.official.source_file import SourceFile, tensors_of

State = dict[str, Tensor]
_SHARED = ("barlow_twins", "densecl", "moco", "moco_v3", "npid", "simsiam", "swav")


def _simclr_config(state: State) -> dict[str, Any]:
    """The `model` config of SimCLR; the loss is the mean over all rows, as theirs."""
    neck = dict(type="MLPNeck")
    backbone = backbone_config(state)
    return dict(type="SimCLR", backbone=backbone, neck=neck, temperature=0.1, loss_scale=1.0)


def _with_stacks(
    model_config: Callable[[State], dict[str, Any]],
) -> Callable[[State], dict[str, Any]]:
    """The same config with projector and predictor as the weights tell them, and the usual colours.

    Biases and last norms are options of their configs, and not always those of the authors' models; all
    their methods see ImageNet's mean and deviation.
    """

    def config_of(state: State) -> dict[str, Any]:
        config = model_config(state)
        config.pop("data_preprocessor", None)
        for part in ("neck", "head"):
            kind = config.get(part, {}).get("type")
            if kind in ("MLPNeck", "MLPPredictor"):
                config[part] = whole_stack_config(state, f"{part}.", kind)
        return config

    return config_of


def _family_file(
    method: str,
    model_config: Callable[[State], dict[str, Any]],
    guessed: Callable[[State], list[str]],
    parts: tuple[str, ...],
) -> SourceFile:
    return SourceFile(
        from_file=lambda file, updates: from_mmselfsup(
            tensors_of(file, "state_dict"), num_updates=updates
        ),
        model_config=_with_stacks(model_config),
        guessed=guessed,
        parts=parts,
        epoch="meta.epoch",
        said=lambda file, config: said_by_config(file, method),
    )


FAMILY_FILES = {
    **{
        method: _family_file(
            method,
            known.model_config,
            known.guessed,
            # a file without the copy becomes a whole model all the same
            tuple(part for part in known.parts if part != "twin."),
        )
        for method, known in METHOD_FILES.items()
        if method in _SHARED
    },
    "byol": _family_file(
        "byol",
        byol.model_config,
        byol.guessed_options,
        ("backbone.", "neck.layers.", "head.layers."),
    ),
    "simclr": _family_file(
        "simclr", _simclr_config, lambda state: ["temperature"], ("backbone.", "neck.layers.")
    ),
}


def is_family_file(file: Mapping[str, Any]) -> bool:
    """Whether the names in a file are those of mmselfsup and mmpretrain.

    Args:
        file: The content of a weights file.
    """
    return family_method(file) is not None


def source_file(method: str, file: Mapping[str, Any]) -> SourceFile:
    """How a file of a method is read, by whose names it has.

    Args:
        method: A key of `METHOD_FILES` or `FAMILY_FILES`.
        file: The content of a weights file.

    Raises:
        ValueError: The method's own authors have no files that are known.
    """
    if is_family_file(file) and method in FAMILY_FILES:
        return FAMILY_FILES[method]
    if method not in METHOD_FILES:
        raise ValueError(
            f"Of {method} files of mmselfsup and mmpretrain are known; the names in this one are others."
        )
    return METHOD_FILES[method]
