"""How files of a method are read and written: what a method tells the converter of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

State = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """How files of a method are read.

    Attributes:
        from_file: Their file and the number of momentum updates -> our state dict.
        model_config: Our state dict -> config of the model.
        guessed: Our state dict -> dotted names in that config that the weights do not tell.
        parts: What every whole model has: how our names of it begin.
        fits: Whether a state dict of ours that has all `parts` is of this method after all.
        epoch: Their name of the finished epochs; `meta.epoch` where their runner is of the mm family.
        said: Their file and that config -> values by dotted name that the file tells all the same.
        lacking: Parts of our model that their files have no place for, as `parts`. Towards ours they are as
            before training, towards theirs they are left out.
        optional: More of the kind, which not every model has.
        doubt: What the names leave open when they are all that tells the method.
    """

    from_file: Callable[[Mapping[str, Any], int], State]
    model_config: Callable[[State], dict[str, Any]]
    guessed: Callable[[State], list[str]]
    parts: tuple[str, ...]
    epoch: str
    fits: Callable[[Mapping[str, Tensor]], bool] = lambda state: True
    said: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]] = lambda file, config: {}
    lacking: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    doubt: str = ""

    @property
    def ours_alone(self) -> tuple[str, ...]:
        """How names begin that no file of theirs has."""
        return self.lacking + self.optional


@dataclass(frozen=True, kw_only=True)
class MethodFile(SourceFile):
    """How a method's authors write their files.

    Attributes:
        to_file: Our state dict, and the model of it where its config is known -> entries of their file.
        simplified: Our state dict and its model config (or none) -> those of the form of the model that their
            files can hold, the same in numbers.
        note: A sentence on what is written towards theirs.
    """

    to_file: Callable[..., dict[str, Any]]
    simplified: Callable[..., tuple[State, Any]] = lambda state, config: (state, config)
    note: str = ""


def tensors_of(file: Mapping[str, Any], *names: str) -> State:
    """The state dict of a checkpoint: under the first of `names` that it has, or plain.

    Args:
        file: The content of a weights file.
        names: Keys under which it may stand.
    """
    for name in names:
        if isinstance(file.get(name), Mapping):
            return dict(file[name])
    return {name: value for name, value in file.items() if isinstance(value, Tensor)}
