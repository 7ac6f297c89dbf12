"""Whose backbone a method hands over, its network's or the momentum twin's, as a checkpoint of ours tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from mmssl.convert.config_text import read_config_text
from mmssl.registry import MODELS, SCOPE


def published_branch(content: Mapping[str, Any]) -> Literal["online", "twin"]:
    """`published_branch` of the method that wrote a file; `online` where none is known.

    Checkpoints have it in `meta`; files from before, and converted ones, have a config that names the method.

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
    if not isinstance(meta, Mapping):
        return "online"
    if meta.get("published_branch") in ("online", "twin"):  # of the method itself, whoever wrote it
        return meta["published_branch"]
    text = meta.get("cfg")
    if not isinstance(text, str):
        return "online"
    try:
        config = read_config_text(text)
        kind = config["model"]["type"].removeprefix(f"{SCOPE}.")
    except (KeyError, TypeError, ValueError, AttributeError):  # not a config of ours
        return "online"
    if config.get("default_scope", SCOPE) != SCOPE:
        return "online"
    MODELS.import_from_location()
    # not MODELS.get, which would import a dotted name, and a file must not run code
    return getattr(MODELS.module_dict.get(kind), "published_branch", "online")
