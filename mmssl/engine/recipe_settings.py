"""What a run computes, set or left at its default, by dotted name: what two recipes differ in."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry

from mmssl.engine.config_classes import REGISTRY_OF_KEY, find_class

# Parts of a config that decide what a run computes, and the name they have in a table; not among them: where
# images and files are, workers, what is logged and how often a checkpoint is written.
_PARTS = {
    "views": "train_dataloader.dataset.views",
    "batch_size": "train_dataloader.batch_size",
    "drop_last": "train_dataloader.drop_last",
    "sampler": "train_dataloader.sampler",
    "model": "model",
    "model_wrapper_cfg": "model_wrapper_cfg",
    "load_from": "load_from",
    "optim_wrapper": "optim_wrapper",
    "param_scheduler": "param_scheduler",
    "train_cfg": "train_cfg",
    "auto_scale_lr": "auto_scale_lr",
    "activation_checkpointing": "activation_checkpointing",
    "sync_bn": "sync_bn",
    "custom_hooks": "custom_hooks",
}
_SILENT = ("self", "_scope_", "_delete_")
ABSENT = "-"


def recipe_settings(config: Config | Mapping[str, Any]) -> dict[str, str]:
    """Dotted names and their values as text, defaults of the constructors included.

    What a part of a list is called is its type, with a number behind it if there are several of one type:
    `views.0.ColorJitter.hue`, `param_scheduler.WarmupCosineLR.warmup`.

    Args:
        config: A training config.

    Example:
        >>> recipe_settings(dict(model=dict(momentum=0.99, head=None)))
        {'model.momentum': '0.99', 'model.head': 'None'}
    """
    plain = config.to_dict() if isinstance(config, Config) else config
    found: dict[str, str] = {}
    for name, place in _PARTS.items():
        node: Any = plain
        for key in place.split("."):
            node = node.get(key) if isinstance(node, Mapping) else None
        if node is not None:
            found.update(_walk(node, name, REGISTRY_OF_KEY.get(name)))
    return found


def differing(
    settings: Sequence[Mapping[str, str]], *, everything: bool = False
) -> dict[str, list[str]]:
    """Names at which several recipes differ, with the value of each; `ABSENT` where one has no such name.

    What is inside a part that a recipe lacks is left out: the part's own row says so.

    Args:
        settings: Of each recipe, as from `recipe_settings`.
        everything: All names, those that agree as well.

    Example:
        >>> differing([{"a": "1", "b": "2"}, {"a": "1", "c": "3"}])
        {'b': ['2', '-'], 'c': ['-', '3']}
        >>> differing([{"head": "A", "head.size": "1"}, {}])
        {'head': ['A', '-']}
    """
    names = _beside_relatives([name for own in settings for name in own])
    rows = {name: [own.get(name, ABSENT) for own in settings] for name in names}
    if everything:
        return rows
    rows = {name: values for name, values in rows.items() if len(set(values)) > 1}
    return {name: values for name, values in rows.items() if not _inside_absent(name, values, rows)}


def _beside_relatives(names: Sequence[str]) -> list[str]:
    """The names once, what has a prefix in common together, else in the order of their first mention."""
    first: dict[str, int] = {}
    for name in names:
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            first.setdefault(".".join(parts[:end]), len(first))

    def place(name: str) -> list[int]:
        parts = name.split(".")
        return [first[".".join(parts[:end])] for end in range(1, len(parts) + 1)]

    return sorted(dict.fromkeys(names), key=place)


def _inside_absent(name: str, values: list[str], rows: Mapping[str, list[str]]) -> bool:
    """Whether a part around a row is absent wherever the row is."""
    lacking = [value == ABSENT for value in values]
    while any(lacking) and "." in name:
        name = name.rpartition(".")[0]
        if name in rows and [value == ABSENT for value in rows[name]] == lacking:
            return True
    return False


def _walk(node: Any, name: str, registry: Registry | None) -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        yield from _walk_dict(node, name, registry)
    elif _is_view_list(node):
        views = [view["transforms"] for view in node for _ in range(view.get("num", 1))]
        for position, transforms in enumerate(views):
            steps = [item.get("type", item) for item in transforms]
            yield f"{name}.{position}", _text(steps)
            yield from _walk(transforms, f"{name}.{position}", registry)
    elif isinstance(node, (list, tuple)) and any(isinstance(item, Mapping) for item in node):
        kinds: list[str] = []
        for position, item in enumerate(node):
            kind = item.get("type") if isinstance(item, Mapping) else None
            kinds.append(_text(kind) if kind else str(position))
            before = kinds.count(kinds[-1])
            label = kinds[-1] if before == 1 else f"{kinds[-1]}#{before}"
            yield from _walk(item, f"{name}.{label}", registry)
    else:
        yield name, _text(node)


def _is_view_list(node: Any) -> bool:
    return (
        isinstance(node, (list, tuple))
        and all(isinstance(item, Mapping) and "transforms" in item for item in node)
        and bool(node)
    )


def _walk_dict(
    node: Mapping[str, Any], name: str, registry: Registry | None
) -> Iterator[tuple[str, str]]:
    own = dict(node)
    kind = own.pop("type", None)
    if kind is not None:
        yield name, _text(kind)
        own = _defaults(kind, registry) | own
    elif not own:
        yield name, "{}"
    for key, value in own.items():
        if key not in _SILENT:
            # a view set holds its list under its own name
            inner = name if name == key == "views" else f"{name}.{key}"
            yield from _walk(value, inner, REGISTRY_OF_KEY.get(key, registry))


def _defaults(kind: Any, registry: Registry | None) -> dict[str, Any]:
    """The arguments of a class that a config need not name."""
    cls = find_class(kind, registry) if isinstance(kind, str) and registry is not None else kind
    if cls is None or isinstance(cls, str):
        return {}
    parameters = inspect.signature(cls).parameters.values()
    return {
        one.name: one.default
        for one in parameters
        # every module has an initialisation of its own by default
        if one.default is not one.empty and one.name != "init_cfg"
    }


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value)) or "none"
    return getattr(value, "__name__", None) or str(value)
