"""The tree of the classes of a data set: on every level, to which group each class belongs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from mmssl.datasets.shapes import LEAVES, LEVELS
from mmssl.ops.tree_agreement import check_nested

OWN_LEVEL = "class"


def _groups(source: str) -> Mapping[str, Mapping[str, str]]:
    """{level: {class: group}} of a known data set or of a file."""
    if source == "shapes":
        return {level: {leaf.name: leaf.at(level) for leaf in LEAVES} for level in LEVELS}
    path = Path(source)
    if not path.is_file():
        raise ValueError(
            f"The hierarchy of classes {source!r} is neither 'shapes' nor a file. Write a JSON file "
            '{"level": {"class folder": "group", ...}, ...}.'
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{source} is no JSON: {error}.") from error
    if not isinstance(found, dict) or not all(isinstance(each, dict) for each in found.values()):
        raise ValueError(
            f'{source} must hold {{"level": {{"class folder": "group", ...}}, ...}}, one entry per level.'
        )
    return found


def class_levels(source: str, classes: Sequence[str]) -> dict[str, Tensor]:
    """Groups of the classes on every level, the finest first.

    The classes themselves are the finest level; it is called "class" unless the hierarchy names it.

    Args:
        source: `shapes`, or a JSON file {level: {class: group}}, such as one made from WordNet. Classes
            that the data set does not have may be in it; the order of the levels is free.
        classes: Names of the data set's classes, C of them, in the order of their numbers.

    Returns:
        Per level (C,) int64 numbers of the groups.

    Raises:
        ValueError: No such file or another content, a class without a group, or levels that are no tree.

    Example:
        >>> levels = class_levels("shapes", ["moon_plain_rimmed", "moon_dotted_rimmed"])
        >>> {name: groups.tolist() for name, groups in levels.items()}
        {'variety': [1, 0], 'species': [1, 0], 'family': [0, 0]}
    """
    levels: dict[str, Tensor] = {}
    for level, groups in _groups(source).items():
        missing = [name for name in classes if name not in groups]
        if missing:
            raise ValueError(
                f"The level {level!r} of the hierarchy {source!r} has no group for {len(missing)} of the "
                f"{len(classes)} classes: {', '.join(missing[:5])}."
            )
        names = sorted({str(groups[name]) for name in classes})
        levels[level] = torch.tensor([names.index(str(groups[name])) for name in classes])
    if not any(len(groups.unique()) == len(classes) for groups in levels.values()):
        levels[OWN_LEVEL] = torch.arange(len(classes))
    levels = dict(sorted(levels.items(), key=lambda item: -len(item[1].unique())))
    check_nested(list(levels.values()))
    return levels
