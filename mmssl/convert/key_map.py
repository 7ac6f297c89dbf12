"""Renaming of state-dict keys by templates that work both ways and must be complete."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_FIELD = re.compile(r"\{(\w+)(?::([^{}]+))?\}")


@dataclass(frozen=True)
class Rename:
    """One rule: keys of the form `theirs` are called `ours`.

    A field `{name}` stands for any text, `{name:a|b}` for one of the alternatives (a regular expression
    without braces). Both sides hold the same fields.

    Example:
        >>> rule = Rename("fc.{layer:0|1}.{rest}", "projector.layers.{layer}.{rest}")
        >>> rule.forward("fc.0.weight"), rule.forward("fc.7.weight")
        ('projector.layers.0.weight', None)
        >>> rule.backward("projector.layers.1.bias")
        'fc.1.bias'
    """

    theirs: str
    ours: str

    def __post_init__(self) -> None:
        fields = [{name for name, _ in _FIELD.findall(side)} for side in (self.theirs, self.ours)]
        if fields[0] != fields[1]:
            raise ValueError(
                f"Both sides of a rename must hold the same fields, got {self.theirs!r} and {self.ours!r}."
            )

    def forward(self, key: str) -> str | None:
        """Our name of their `key`; `None` when the rule does not apply."""
        return self._rename(key, self.theirs, self.ours)

    def backward(self, key: str) -> str | None:
        """Their name of our `key`; `None` when the rule does not apply."""
        return self._rename(key, self.ours, self.theirs)

    def _rename(self, key: str, source: str, target: str) -> str | None:
        # alternatives may stand on either side; they bind the field on both
        choices = {
            name: choice
            for name, choice in _FIELD.findall(self.theirs) + _FIELD.findall(self.ours)
            if choice
        }
        pattern, end = "", 0
        for field in _FIELD.finditer(source):
            name = field.group(1)
            pattern += re.escape(source[end : field.start()])
            pattern += f"(?P<{name}>{choices.get(name, '.+')})"
            end = field.end()
        match = re.fullmatch(pattern + re.escape(source[end:]), key)
        if match is None:
            return None
        return _FIELD.sub(lambda field: match.group(field.group(1)), target)


def rename_keys(
    state: Mapping[str, Any],
    rules: Sequence[Rename],
    *,
    backward: bool = False,
    dropped: Iterable[str] = (),
) -> dict[str, Any]:
    """Rename every key of a state dict; each must be matched by a rule or be dropped on purpose.

    Args:
        state: Values by key.
        rules: Tried in order, the first that applies wins.
        backward: From our names to theirs.
        dropped: Keys that are left out, as regular expressions for the whole key.

    Returns:
        The same values by new keys, in the same order.

    Raises:
        KeyError: Keys that no rule knows, or two keys with the same new name.

    Example:
        >>> rename_keys({"fc.weight": 1, "step": 2}, [Rename("fc.{rest}", "head.{rest}")], dropped=["step"])
        {'head.weight': 1}
    """
    drops = [re.compile(pattern) for pattern in dropped]
    renamed: dict[str, Any] = {}
    origins: dict[str, str] = {}
    unknown = []
    for key, value in state.items():
        if any(drop.fullmatch(key) for drop in drops):
            continue
        names = (rule.backward(key) if backward else rule.forward(key) for rule in rules)
        name = next((name for name in names if name is not None), None)
        if name is None:
            unknown.append(key)
        elif name in renamed:
            raise KeyError(f"{origins[name]!r} and {key!r} would both be called {name!r}.")
        else:
            renamed[name], origins[name] = value, key
    if unknown:
        raise KeyError(
            f"{len(unknown)} of {len(state)} keys belong to no known part of the model: "
            f"{unknown[:5]}{' ...' if len(unknown) > 5 else ''}. Is this a checkpoint of another method?"
        )
    return renamed


def taken(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Remove the entries behind a prefix from `state`; they are returned without it."""
    keys = [key for key in state if key.startswith(prefix)]
    return {key.removeprefix(prefix): state.pop(key) for key in keys}


def behind(prefix: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """The same values with a prefix before every key."""
    return {prefix + key: value for key, value in state.items()}


def check_complete(state: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise unless `state` has exactly the keys of `expected`, with tensors of the same shapes.

    Args:
        state: Tensors by key.
        expected: Tensors by key, e.g. the state dict of the model to load into.

    Raises:
        KeyError: Missing or unexpected keys.
        ValueError: A tensor of another shape.
    """
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    if missing or unexpected:
        raise KeyError(
            f"State dict does not fit: {len(missing)} missing {missing[:5]}, "
            f"{len(unexpected)} unexpected {unexpected[:5]}."
        )
    for key, value in state.items():
        if tuple(value.shape) != tuple(expected[key].shape):
            raise ValueError(
                f"{key} has shape {tuple(value.shape)}, the model needs {tuple(expected[key].shape)}."
            )
