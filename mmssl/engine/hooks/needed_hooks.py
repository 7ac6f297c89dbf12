"""Which hooks the parts of a model cannot do without."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from mmengine.hooks import Hook
from torch import nn

from mmssl.engine.hooks.momentum_update_hook import MomentumUpdateHook
from mmssl.models.heads import InstanceClassifier
from mmssl.models.memories import InstanceRows, Prototypes
from mmssl.models.momentum_twin import MomentumTwin


class _Need(NamedTuple):
    """A kind of part, the hooks that serve it, and what to say of a run without one."""

    is_part: Callable[[nn.Module], bool]
    serves: Callable[[Hook], bool]
    message: str


def _says(attribute: str) -> Callable[[Hook], bool]:
    """Whether a hook, maybe one of a user's, has a flag."""
    return lambda hook: getattr(hook, attribute, False)


def _leaves_rows_out(part: nn.Module) -> bool:
    return isinstance(part, InstanceClassifier) and not part.save_classifier


_NEEDS = (
    _Need(
        lambda part: isinstance(part, MomentumTwin),
        lambda hook: isinstance(hook, MomentumUpdateHook),
        "The model holds a MomentumTwin but no MomentumUpdateHook moves it. Inherit "
        "configs/_base_/default_runtime.py or add dict(type='MomentumUpdateHook') to default_hooks.",
    ),
    _Need(
        lambda part: isinstance(part, Prototypes),
        _says("fills_prototypes"),
        "{model} learns from prototypes, but no hook of the run makes them: it would be MoCo, or go on "
        "with those of the loaded weights. Add dict(type='ClusterHook', views=...) to custom_hooks (see "
        "configs/hcsc), or a hook of your own with fills_prototypes = True.",
    ),
    _Need(
        lambda part: isinstance(part, InstanceRows),
        _says("steps_instance_rows"),
        "The class weights of {model} are no parameters, and no hook steps them. Add "
        "dict(type='InstanceRowsHook') to custom_hooks.",
    ),
    _Need(
        _leaves_rows_out,
        _says("steps_instance_rows"),
        "save_classifier=False has no effect here: no hook leaves the class weights out of checkpoints. "
        "Add dict(type='InstanceRowsHook') to custom_hooks.",
    ),
)


def missing_hook(model: nn.Module, hooks: Iterable[Hook]) -> str | None:
    """What to say of the first part of a model that no hook of the run serves, None if all are served.

    Twins have to be moved, prototypes made, rows of instances stepped and, where a classifier is not to be
    saved, left out of checkpoints.

    Args:
        model: That is to be trained.
        hooks: Of the run.

    Example:
        >>> missing_hook(nn.Linear(2, 2), []) is None
        True
    """
    hooks = list(hooks)
    for need in _NEEDS:
        if any(map(need.is_part, model.modules())) and not any(map(need.serves, hooks)):
            return need.message.format(model=type(model).__name__)
    return None
