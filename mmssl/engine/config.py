"""Reading configs: one function that every tool uses."""

from __future__ import annotations

import importlib.util
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

from mmssl.engine.config_check import check_config, check_overrides
from mmssl.registry import load_plugins


def load_config(path: str | Path, overrides: dict[str, Any] | None = None) -> Config:
    """Read a config with its bases, `mmdet::` and `mmseg::` ones included, and check it.

    Installed plugins (entry points `mmssl.plugins`) are imported first, so that a config may name
    their classes.

    Args:
        path: A config file of Python, YAML or JSON.
        overrides: Dotted keys and their values, as `--cfg-options` gives them.

    Raises:
        FileNotFoundError: No such file.
        ConfigError: A key or a type that nothing reads; the message says where it stands and what
            was probably meant.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"Config {path} does not exist (looked from {Path.cwd()}).")
    _resolve_family_configs()
    load_plugins()
    config = Config.fromfile(str(path))
    if overrides:
        check_overrides(config, overrides)
        config.merge_from_dict(overrides)
    check_config(config)
    return config


def _resolve_family_configs() -> None:
    """Let `_base_ = 'mmseg::...'` and `'mmssl::...'` find their packages, however installed.

    mmengine knows no `mmssl`, and it looks for a distribution called `mmsegmentation`; the maintained
    fork is called otherwise, but mmengine also finds packages by their import name.
    """
    MODULE2PACKAGE.setdefault("mmssl", "mmssl")
    for module, package in list(MODULE2PACKAGE.items()):
        try:
            distribution(package)
        except PackageNotFoundError:
            if package != module and importlib.util.find_spec(module):
                MODULE2PACKAGE[module] = module
