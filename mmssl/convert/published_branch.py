"""Whose backbone a method hands over, its network's or the momentum twin's, as a checkpoint of ours tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from mmssl.convert.config_text import read_config_text
from mmssl.registry import MODELS, SCOPE, load_plugins


def published_branch(content: Mapping[str, Any]) -> Literal["online", "twin"]:
    """`published_branch` of the method whose config a file carries; `online` where none is known.

    Args:
        content: Of a weights file.

    Example:
        >>> text = "default_scope = 'mmssl'\\nmodel = dict(type='DINO')"
        >>> published_branch(dict(meta=dict(cfg=text)))
        'twin'
        >>> published_branch(dict(state_dict={}))
        'online'
    """
    meta = content.get("meta")
    text = meta.get("cfg") if isinstance(meta, Mapping) else None
    if not isinstance(text, str):
        return "online"
    try:
        config = read_config_text(text)
        kind = config["model"]["type"].removeprefix(f"{SCOPE}.")
    except (KeyError, TypeError, ValueError, AttributeError):  # not a config of ours
        return "online"
    if config.get("default_scope", SCOPE) != SCOPE:
        return "online"
    load_plugins()
    # a method of the file's own modules, which are not imported for this, has to be asked for its twin
    method = MODELS.get(kind) if isinstance(kind, str) else None
    return getattr(method, "published_branch", "online")
