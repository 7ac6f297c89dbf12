"""ParamGroupConstructor: which parameters are trained, decayed and scaled by LARS."""

from __future__ import annotations

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.optim import Optimizer

from mmssl.models.layers import PositionTables
from mmssl.registry import OPTIM_WRAPPER_CONSTRUCTORS

_NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm)
_POSITION_NAMES = (
    "pos_embed",
    "absolute_pos_embed",
    "relative_position_bias_table",
    "local_relative_position_bias_table",
    "g2l_relative_position_bias",
    "g2g_relative_position_bias",
    "cls_token",
    "pos_h",
    "pos_w",
)
_KINDS = ("weight", "bias", "norm", "position", "vector")


def parameter_kind(module: nn.Module, name: str) -> str:
    """What a parameter is for: `norm`, `bias`, `position`, `weight` or, of one dimension, `vector`.

    Args:
        module: The module that owns the parameter directly.
        name: Its name there.

    Example:
        >>> parameter_kind(nn.Linear(2, 2), "bias"), parameter_kind(nn.LayerNorm(2), "bias")
        ('bias', 'norm')
    """
    if isinstance(module, _NORMS):
        return "norm"
    if isinstance(module, PositionTables) or name in _POSITION_NAMES:
        return "position"
    if name == "bias" or name.endswith("_bias"):
        return "bias"
    # the scale of a layer, for one
    return "vector" if getattr(module, name).ndim <= 1 else "weight"


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class ParamGroupConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor with rules by kind of parameter, and without frozen parameters.

    Momentum twins and other frozen parameters are left out: they would take part in weight decay
    otherwise. Parameters with equal options share one group, in the order of the model, so that
    multi-tensor optimizers work on whole groups.

    `paramwise_cfg` takes all of mmengine's options (`custom_keys`, `norm_decay_mult`, ...) and

    * `no_decay`: kinds without weight decay, out of `weight`, `bias`, `norm`, `position`, `vector` (see
      `parameter_kind`);
    * `lars_exclude`: kinds that LARS does not scale;
    * `lr_mult_by_kind`: factors on the learning rate by kind (Barlow Twins: other rates for biases);
    * `lr_by_module`: learning rates of whole modules by their dotted names, such as `dict(head=0.02)` for a
      classifier on a trunk with `optimizer.lr`;
    * `constant_lr`: dotted names of modules whose learning rate no schedule changes (SimSiam: the predictor).

    `custom_keys` take precedence for what they set. Without options every trainable parameter is in one
    group, as CARE is released.

    Example:
        >>> config = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=1.0, weight_decay=0.1))
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        >>> wrapper = ParamGroupConstructor(config, dict(no_decay=("bias", "norm")))(model)
        >>> [(len(group["params"]), group["weight_decay"]) for group in wrapper.optimizer.param_groups]
        [(1, 0.1), (3, 0.0)]
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        options = dict(paramwise_cfg or {})
        self.no_decay = self._kinds(options, "no_decay")
        self.lars_exclude = self._kinds(options, "lars_exclude")
        self.lr_mult_by_kind: dict[str, float] = options.pop("lr_mult_by_kind", {})
        self._check_kinds("lr_mult_by_kind", self.lr_mult_by_kind)
        self.lr_by_module: dict[str, float] = options.pop("lr_by_module", {})
        self.constant_lr = tuple(options.pop("constant_lr", ()))
        # mmengine asks for our groups only if some option is there
        options.setdefault("bypass_duplicate", False)
        super().__init__(optim_wrapper_cfg, options)
        if self.lr_mult_by_kind and self.base_lr is None:
            raise ValueError("lr_mult_by_kind needs optimizer.lr to be set.")

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """The optim wrapper of a model."""
        wrapper = super().__call__(model)
        if self.constant_lr:
            wrapper.optimizer.register_step_pre_hook(_keep_constant_rates)
        return wrapper

    @classmethod
    def _kinds(cls, options: dict, name: str) -> tuple[str, ...]:
        kinds = tuple(options.pop(name, ()))
        cls._check_kinds(name, kinds)
        return kinds

    @staticmethod
    def _check_kinds(name: str, kinds: Any) -> None:
        unknown = [kind for kind in kinds if kind not in _KINDS]
        if unknown:
            raise ValueError(f"{name} must name kinds out of {_KINDS}, got {unknown}.")

    def add_params(
        self,
        params: list[dict],
        module: nn.Module,
        prefix: str = "",
        is_dcn_module: int | float | None = None,
    ) -> None:
        """Append the groups of a module; at the root, apply the rules by kind and merge equal groups.

        Raises:
            ValueError: The model has no trainable parameter, or no module that an option names.
        """
        if any(parameter.requires_grad for parameter in module.parameters()):
            super().add_params(params, module, prefix, is_dcn_module)
        if prefix:
            return
        if not params:
            raise ValueError("The model has no trainable parameter: everything is frozen.")
        kinds = {
            id(parameter): parameter_kind(owner, name)
            for owner in module.modules()
            for name, parameter in owner.named_parameters(recurse=False)
        }
        rates = self._module_rates(module)
        constant = self._inside(module, "constant_lr", self.constant_lr)
        for group in params:
            owner = id(group["params"][0])
            if owner in rates:
                group.setdefault("lr", rates[owner])
            if owner in constant:
                group["constant_lr"] = True
            self._apply(group, kinds[owner])
        params[:] = _merged(params)

    def _module_rates(self, module: nn.Module) -> dict[int, float]:
        """Learning rate of every parameter inside a module of `lr_by_module`, by its id."""
        # the longer name is the more special one: it comes last and wins
        return {
            owner: self.lr_by_module[name]
            for name in sorted(self.lr_by_module, key=len)
            for owner in self._inside(module, "lr_by_module", (name,))
        }

    @staticmethod
    def _inside(module: nn.Module, option: str, names: tuple[str, ...]) -> set[int]:
        """Ids of the parameters inside modules that an option names."""
        children = dict(module.named_modules())
        unknown = [name for name in names if name not in children]
        if unknown:
            raise ValueError(
                f"{option} names {', '.join(unknown)}, but {type(module).__name__} has no such "
                "module. Names are dotted paths such as 'head'."
            )
        return {id(parameter) for name in names for parameter in children[name].parameters()}

    def _apply(self, group: dict, kind: str) -> None:
        if kind in self.no_decay:
            group.setdefault("weight_decay", 0.0)
        if kind in self.lars_exclude:
            group.setdefault("lars_exclude", True)
        if kind in self.lr_mult_by_kind:
            group.setdefault("lr", self.base_lr * self.lr_mult_by_kind[kind])


def _keep_constant_rates(optimizer: Optimizer, *_: Any) -> None:
    """Undo, before a step, what schedules made of learning rates that stay as they are."""
    for group in optimizer.param_groups:
        if group.get("constant_lr"):
            group["lr"] = group.get("initial_lr", group["lr"])


def _merged(groups: list[dict]) -> list[dict]:
    """Groups with equal options become one, at the place of the first."""
    merged: dict[str, dict] = {}
    for group in groups:
        options = {key: value for key, value in group.items() if key != "params"}
        key = repr(sorted(options.items()))
        merged.setdefault(key, dict(params=[], **options))["params"] += group["params"]
    return list(merged.values())
