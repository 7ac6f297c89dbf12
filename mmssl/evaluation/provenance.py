"""What a figure must not be shown without: config, versions, interpolation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from mmengine.config import Config

from mmssl import __version__
from mmssl.datasets.transforms import MultiView

# Where and how a run goes on does not change what it computes.
_PLACES = ("work_dir", "experiment_name", "launcher", "resume", "load_from", "log_level")


def provenance(config: Config, views: Iterable[MultiView | None]) -> dict[str, Any]:
    """What was done with what, for a record.

    Args:
        config: Everything that was set.
        views: Of the images that count.
    """
    views = [view for view in views if view is not None]
    settings = {key: value for key, value in config.items() if key not in _PLACES}
    return dict(
        config=str(config.filename),
        config_sha256=hashlib.sha256(Config(settings).pretty_text.encode()).hexdigest(),
        interpolation=sorted({found for view in views for found in interpolations(view)}),
        backend=sorted({view.backend for view in views}),
        versions=dict(mmssl=__version__, torch=torch.__version__),
    )


def interpolations(node: Any) -> list[str]:
    """The interpolation of every transform inside a view set, defaults included."""
    if isinstance(node, Mapping):
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        return [found for item in node for found in interpolations(item)]
    if not type(node).__module__.startswith(MultiView.__module__.rpartition(".")[0]):
        return []
    own = [node.interpolation] if hasattr(node, "interpolation") else []
    return own + interpolations(vars(node))
