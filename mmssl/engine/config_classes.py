"""Which class a `type` of a config stands for, by the key it stands under."""

from __future__ import annotations

from typing import Any

from mmengine.registry import Registry

from mmssl import registry as R
from mmssl.ops.schedules import SCHEDULES

# Which registry builds the dict that stands under a key of a config.
REGISTRY_OF_KEY: dict[str, Registry] = {
    "model": R.MODELS,
    "backbone": R.MODELS,
    "data_preprocessor": R.MODELS,
    "dataset": R.DATASETS,
    "sampler": R.SAMPLERS,
    "views": R.TRANSFORMS,
    "transforms": R.TRANSFORMS,
    "default_hooks": R.HOOKS,
    "custom_hooks": R.HOOKS,
    "optim_wrapper": R.OPTIM_WRAPPERS,
    "optimizer": R.OPTIMIZERS,
    "param_scheduler": R.PARAM_SCHEDULERS,
    "train_cfg": R.LOOPS,
    "val_evaluator": R.METRICS,
    "test_evaluator": R.METRICS,
    "visualizer": R.VISUALIZERS,
    "vis_backends": R.VISBACKENDS,
}


def find_class(kind: str, registry: Registry) -> Any:
    """The class of a name, in the registry of its place or, for arguments of plugins, in any; else None.

    Args:
        kind: The `type` of a config dict.
        registry: Of the place of that dict.

    Raises:
        ImportError: The module of the registry's classes cannot be imported.
    """
    if registry is R.MODELS and kind in SCHEDULES:
        return SCHEDULES[kind]
    places = (registry, *REGISTRY_OF_KEY.values())
    return next((cls for place in places if (cls := place.get(kind))), None)
