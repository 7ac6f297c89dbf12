"""build_plugin: the block that a config of the mm family adds to the blocks of a ResNet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from inspect import isclass
from typing import Any, cast

from torch import nn

from mmssl.registry import MODELS


def _class_of(kind: Any) -> type[nn.Module]:
    if isclass(kind):
        return cast(type[nn.Module], kind)
    found = MODELS.get(kind)
    if found is None:
        # mmcv registers its blocks when it is imported, and pretraining does without it
        try:
            import mmcv.cnn  # noqa: F401
        except ImportError as error:
            raise ImportError(
                f"No plugin {kind!r} is registered, and mmcv, which has ContextBlock, NonLocal2d and "
                f"GeneralizedAttention, cannot be imported: {error}. Install it with `make install` or "
                "`pip install '.[downstream]'` in the checkout, or use DNLBlock, which needs none of it."
            ) from error
        found = MODELS.get(kind)
    if not isclass(found):
        raise ValueError(
            f"A plugin's type must name a class, got {kind!r}. Known are ContextBlock, NonLocal2d and "
            "GeneralizedAttention of mmcv, DNLBlock of mmssl, and what `custom_imports` registers."
        )
    return cast(type[nn.Module], found)


def build_plugin(cfg: Mapping[str, Any], in_channels: int) -> tuple[str, nn.Module]:
    """Build a plugin and the name it has in the block, as mmcv names it.

    Args:
        cfg: `type`, the arguments of the class but for `in_channels`, and possibly a `postfix` of the name,
            for two plugins of one class in a block.
        in_channels: Channels of the map that the plugin changes.

    Returns:
        The name, e.g. `context_block`, and the module.

    Raises:
        ImportError: The class is not registered and mmcv is not there.
        ValueError: `cfg` has no type, or one that is not known.

    Example:
        >>> build_plugin(dict(type="DNLBlock", postfix="_1"), 8)[0]
        'dnl_block_1'
    """
    options = dict(cfg)
    if "type" not in options:
        raise ValueError(f"cfg of a plugin needs a type, got {options}.")
    plugin = _class_of(options.pop("type"))
    postfix = options.pop("postfix", "")
    words = re.sub(r"([a-z\d])([A-Z])", r"\1_\2", plugin.__name__)
    name = getattr(plugin, "_abbr_", re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", words).lower())
    return f"{name}{postfix}", plugin(in_channels=in_channels, **options)


def reset_plugin(plugin: nn.Module) -> None:
    """Start a plugin as its authors do, mostly as an identity, whatever a network did to all convolutions.

    mmcv's ContextBlock has no `init_weights`, so that a network's initialisation is the last one there. Its
    NonLocal2d has one that does not find its convolutions with `sub_sample`, which wraps them.

    Args:
        plugin: With a method `init_weights` or `reset_parameters`, or neither.
    """
    if getattr(plugin, "sub_sample", False):
        last = plugin.conv_out.norm if plugin.conv_out.with_norm else plugin.conv_out.conv
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        # with sub-sampling phi and g are a convolution and a pooling; theta and phi are not in every mode
        for name in ("g", "theta", "phi"):
            for each in getattr(plugin, name, nn.Identity()).modules():
                if isinstance(each, nn.Conv2d):
                    nn.init.normal_(each.weight, std=0.01)
                    nn.init.zeros_(each.bias)
        return
    for method in ("init_weights", "reset_parameters"):
        if hasattr(plugin, method):
            getattr(plugin, method)()
            return
