"""Registries of mmssl: children of mmengine's roots in the scope `mmssl`.

A class is found by its name from any mmssl config (`default_scope = 'mmssl'`), and as
`type='mmssl.Name'` from configs of mmdet, mmseg and other members of the family. The modules that
register classes are imported the first time something is looked up.

Third parties add classes in two ways: `custom_imports` in a config, or a package that announces
itself with the entry-point group `mmssl.plugins` (see `load_plugins`).
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from mmengine import registry as root
from mmengine.registry import Registry

SCOPE = "mmssl"
PLUGIN_GROUP = "mmssl.plugins"


def _child(name: str, parent: Registry, location: str = __name__) -> Registry:
    return Registry(name, parent=parent, scope=SCOPE, locations=[location])


MODELS = _child("model", root.MODELS, "mmssl.models")
DATASETS = _child("dataset", root.DATASETS, "mmssl.datasets")
SAMPLERS = _child("data sampler", root.DATA_SAMPLERS, "mmssl.datasets.samplers")
TRANSFORMS = _child("transform", root.TRANSFORMS, "mmssl.datasets.transforms")
HOOKS = _child("hook", root.HOOKS, "mmssl.engine.hooks")
LOOPS = _child("loop", root.LOOPS, "mmssl.engine.loops")
RUNNERS = _child("runner", root.RUNNERS, "mmssl.engine.runner")
OPTIMIZERS = _child("optimizer", root.OPTIMIZERS, "mmssl.engine.optimizers")
OPTIM_WRAPPERS = _child("optim wrapper", root.OPTIM_WRAPPERS, "mmssl.engine.optimizers")
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    "optim wrapper constructor", root.OPTIM_WRAPPER_CONSTRUCTORS, "mmssl.engine.optimizers"
)
PARAM_SCHEDULERS = _child("parameter scheduler", root.PARAM_SCHEDULERS, "mmssl.engine.schedulers")
WEIGHT_INITIALIZERS = _child("weight initializer", root.WEIGHT_INITIALIZERS, "mmssl.convert")
MODEL_WRAPPERS = _child("model wrapper", root.MODEL_WRAPPERS)
LOG_PROCESSORS = _child("log processor", root.LOG_PROCESSORS)
VISBACKENDS = _child("visualization backend", root.VISBACKENDS)
METRICS = _child("metric", root.METRICS, "mmssl.evaluation")
VISUALIZERS = _child("visualizer", root.VISUALIZERS, "mmssl.visualization")


def build_module(registry: Registry, module: Any, **defaults: Any) -> Any:
    """Build `module` when it is a config dict; pass anything else through.

    Args:
        registry: Where the `type` of a config dict is looked up.
        module: A dict with a `type` key, an object that is built already, or `None`.
        defaults: What a config dict need not say.

    Example:
        >>> from mmssl.registry import MODELS, build_module
        >>> build_module(MODELS, None) is None
        True
    """
    return registry.build(defaults | module) if isinstance(module, dict) else module


def load_plugins() -> list[str]:
    """Import every installed module of the entry-point group `mmssl.plugins`.

    Returns:
        The names of the entry points, in the order they were loaded.

    Raises:
        ImportError: A plugin is installed but cannot be imported; the message names it.
    """
    loaded = []
    for point in sorted(entry_points(group=PLUGIN_GROUP), key=lambda point: point.name):
        try:
            point.load()
        except Exception as error:
            raise ImportError(
                f"The mmssl plugin {point.name!r} ({point.value}) cannot be imported: {error}. "
                "Repair or uninstall the package that provides it."
            ) from error
        loaded.append(point.name)
    return loaded
