"""check_config: unknown keys and types are errors that name the place and the nearest valid name."""

from __future__ import annotations

import ast
import difflib
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.registry import Registry
from mmengine.runner import Runner

from mmssl import registry as R
from mmssl.engine.config_classes import REGISTRY_OF_KEY, find_class
from mmssl.ops.kmeans import CLUSTERERS

# Keys that mmengine or the registry adds or takes away before a class is called.
_BUILD_KEYS = {
    "type", "_scope_", "init_cfg", "constructor", "paramwise_cfg", "convert_to_iter_based",
}  # fmt: skip
_TOP_LEVEL = set(inspect.signature(Runner.__init__).parameters) | {
    "activation_checkpointing", "compile", "custom_imports", "default_scope", "env_cfg", "evaluation",
    "find_unused_parameters", "launcher", "load_from", "log_level", "log_processor", "randomness",
    "resume", "runner_type", "sync_bn", "trust_pickle", "work_dir",
}  # fmt: skip


# Keys of the dicts that no class stands for.
_UNTYPED = {
    "env_cfg": {"cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit"},
    "auto_scale_lr": {"enable", "base_batch_size", "rule"},
    "randomness": {"seed", "deterministic", "diff_rank_seed"},
}
_CLIP_TYPES = ("norm", "value", "per_tensor")


class ConfigError(ValueError):
    """A config names something that does not exist."""


def check_overrides(config: Config, overrides: Iterable[str]) -> None:
    """Refuse overrides of a top-level key that neither the config nor the runner knows.

    Args:
        config: The config before the overrides.
        overrides: Dotted keys.

    Raises:
        ConfigError: The first such key, with the nearest name.
    """
    known = _TOP_LEVEL | set(config)
    for key in overrides:
        root = key.partition(".")[0]
        if root == "vis_backends":
            raise ConfigError(f"{key!r} changes nothing: the key is visualizer.{key}.")
        if root not in known:
            near = difflib.get_close_matches(root, known, 1)
            raise ConfigError(
                f"The override {key!r} changes nothing: {config.filename} has no key {root!r}."
                + (f" Did you mean {near[0]!r}?" if near else "")
            )


def check_config(config: Config) -> None:
    """Refuse keys and types of a config that nothing would read.

    Checks every dict whose class is one of mmssl's scope against the signature of that class, and
    top-level keys against those of the runner (a name that is merely close to one of them is
    refused; other variables are free, configs use them as building blocks).

    Args:
        config: A parsed config.

    Raises:
        ConfigError: See above; the message holds the dotted key, the file and line, and the nearest
            valid name.
    """
    if config.get("default_scope") != R.SCOPE:
        return
    for key in config:
        near = difflib.get_close_matches(key, _TOP_LEVEL, 1, cutoff=0.86)
        if key not in _TOP_LEVEL and near:
            raise ConfigError(
                f"Unknown key {key!r}{_place(config, key)}. Did you mean {near[0]!r}?"
            )
    for file in _files(Path(config.filename)) if config.filename else ():
        own = _assigned(file)
        if {"_base_", "vis_backends"} <= own and "visualizer" not in own:
            raise ConfigError(
                f"vis_backends{_place(config, 'vis_backends')}: nothing reads it, for the base has built its "
                "visualizer from its own already. Write visualizer = dict(vis_backends=[...])."
            )
    for section, valid in _UNTYPED.items():
        _refuse_others(config, config.get(section) or {}, section, section, valid)
    for key, registry in REGISTRY_OF_KEY.items():
        if key in config:
            _check(config, config[key], key, registry)
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        if config.get(loader):
            for part in ("dataset", "sampler"):
                _check(config, config[loader].get(part), f"{loader}.{part}", REGISTRY_OF_KEY[part])


def _check(config: Config, node: Any, path: str, registry: Registry) -> None:
    if isinstance(node, (list, tuple)):
        for number, item in enumerate(node):
            _check(config, item, f"{path}[{number}]", registry)
        return
    if not isinstance(node, dict):
        return
    if "_delete_" in node:  # mmengine takes it away where it merges two dicts, and nowhere else
        raise ConfigError(
            f"{path}._delete_{_place(config, '_delete_')}: there is nothing below this dict that it could "
            "replace, so its class would get `_delete_`. A list replaces that of the base as a whole; leave "
            "_delete_ out."
        )
    kind = node.get("type")
    if isinstance(kind, str):
        _check_type(config, node, kind, path, registry)
    for key, value in node.items():
        # A hook may be filed under any name, `param_scheduler` for one.
        below = registry if path == "default_hooks" else REGISTRY_OF_KEY.get(key, registry)
        if key == "clip_grad":
            _check_clip(config, value or {}, f"{path}.{key}")
        elif isinstance(value, (dict, list, tuple)) and not key.endswith("_cfg"):
            _check(config, value, f"{path}.{key}", below)


def _check_clip(config: Config, node: dict, path: str) -> None:
    kind = node.get("type", "norm")
    if kind not in _CLIP_TYPES:
        near = difflib.get_close_matches(str(kind), _CLIP_TYPES, 1)
        raise ConfigError(
            f"{path}.type = {kind!r}{_place(config, str(kind))} is none of {', '.join(_CLIP_TYPES)}."
            + (f" Did you mean {near[0]!r}?" if near else "")
        )


def _check_type(config: Config, node: dict, kind: str, path: str, registry: Registry) -> None:
    is_clusterer = path.endswith(".clusterer")  # of no registry, as schedules
    cls = CLUSTERERS.get(kind) if is_clusterer else _class_of(kind, path, registry)
    if cls is None and is_clusterer:
        raise ConfigError(
            f"{path}.type = {kind!r}{_place(config, kind)} is none of {', '.join(CLUSTERERS)}."
        )
    if cls is None:
        names = sorted(_known_names(registry))
        near = difflib.get_close_matches(kind, names, 1)
        raise ConfigError(
            f"{path}.type = {kind!r}{_place(config, kind)} is no known {registry.name}."
            + (f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(names[:40])}.")
            + " Classes of your own need custom_imports = dict(imports=['your.module'])."
        )
    parameters = dict(inspect.signature(cls).parameters)
    rest = [name for name, value in parameters.items() if value.kind is value.VAR_KEYWORD]
    if rest and not issubclass(cls, CheckpointHook):  # mmengine's takes anything and ignores it
        return
    parameters = {name: value for name, value in parameters.items() if name not in rest}
    _refuse_others(config, node, path, kind, set(parameters), _BUILD_KEYS)


def _refuse_others(
    config: Config,
    node: dict,
    path: str,
    owner: str,
    valid: set[str],
    silent: Iterable[str] = (),
) -> None:
    """Raise at the first key of `node` that `owner` does not take; `silent` keys are not listed."""
    known = valid.union(silent)
    for key in node:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            raise ConfigError(
                f"{path}.{key}{_place(config, key)}: {owner} takes no {key!r}."
                + (f" Did you mean {near[0]!r}?" if near else "")
                + f" It takes: {', '.join(sorted(valid))}."
            )


def _class_of(kind: str, path: str, registry: Registry) -> Any:
    try:
        return find_class(kind, registry)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{path}.type = {kind!r} cannot be imported: {error}") from error


def _known_names(registry: Registry) -> Iterator[str]:
    while registry is not None:
        yield from registry.module_dict
        registry = registry.parent


def _assigned(file: Path) -> set[str]:
    """Variables that a config's file sets by itself."""
    return {
        target.id
        for line in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(line, ast.Assign)
        for target in line.targets
        if isinstance(target, ast.Name)
    }


def _place(config: Config, word: str) -> str:
    """' (file:line)' of the first place in the config's files that sets or names `word`."""
    for file in _files(Path(config.filename)) if config.filename else ():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = (
                getattr(node, "arg", None),
                getattr(node, "id", None),
                getattr(node, "value", None) if isinstance(node, ast.Constant) else None,
            )
            if word in names:
                return f" ({file}:{getattr(node, 'lineno', 1)})"
    return ""


def _files(path: Path) -> Iterator[Path]:
    """A Python config file and its bases that are files, nearest first."""
    if path.suffix != ".py" or not path.is_file():
        return
    yield path
    bases = re.search(
        r"^_base_\s*=\s*(\[.*?\]|['\"].*?['\"])", path.read_text(encoding="utf-8"), re.S | re.M
    )
    if bases:
        for base in re.findall(r"['\"]([^'\"]+)['\"]", bases.group(1)):
            if "::" not in base:
                yield from _files(path.parent / base)
