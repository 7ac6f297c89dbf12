"""CollapseHook: watches a pretraining run for collapse and names the fault."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from mmengine.hooks import Hook
from torch import Tensor, nn

from mmssl.evaluation.collapse_doctor import (
    THRESHOLDS,
    CollapseDoctor,
    Fault,
    LossWindow,
    Spread,
    TwinState,
    measure_spread,
)
from mmssl.models.algorithms.base import BaseAlgorithm, bare_model
from mmssl.models.momentum_twin import MomentumTwin
from mmssl.ops.collectives import any_rank
from mmssl.registry import HOOKS

STATE = "collapse_hook"
SAMPLED_PARAMETERS = 16


class CollapseError(RuntimeError):
    """A run was stopped because it collapsed (`CollapseHook(action='stop')`)."""


@HOOKS.register_module()
class CollapseHook(Hook):
    """Look every `interval` iterations for collapsed embeddings, stuck losses and broken twins.

    for each iteration
        before_train_iter   when a check is due: listen to the watched modules     <-
        train_step
        after_train_iter    when a check is due: measure, log, compare, warn       <-
    before_save_checkpoint  keep the numbers of earlier checks                     <-
    after_load_checkpoint   take them up again                                     <-

    The embeddings are those of the training step itself; there is no further forward pass. Each rank
    looks at its own part of the batch. What is found is a warning that names the fault, the iteration
    it began, and its usual cause; it comes again while the fault lasts. Logged for every watched
    module: `<module>_spread` (1 evenly spread over the sphere, 0 constant) and `<module>_rank`
    (effective rank). Idle for models that are no `BaseAlgorithm`.

    What is peculiar to a method's loss it says itself: `BaseAlgorithm.uniform_losses` and `loss_floors`.

    Args:
        interval: Iterations between checks.
        action: `warn`, or `stop` the run with a `CollapseError`.
        modules: Names of children whose output is an embedding (of several, the first); those the
            algorithm lacks are passed over. Of maps the cells are looked at, over all images.
        map_modules: Names of children that are watched as well if they return maps (B, D, H, W), such as
            PixPro's propagation; vectors of a predictor, or logits, are nobody's embedding.
        backbone: Name of the child whose pooled last map is watched as well.
        features: Names of modules whose outputs (N, D) are held to `min_spread` alone, such as the
            bottleneck of `DINOHead`, which has no norm before it.
        doctor: Thresholds of `CollapseDoctor` that are to be other ones, such as `dict(min_rank=1.5)`.

    Raises:
        ValueError: An unknown `action` or threshold, or `interval` below 1.
    """

    priority = "LOW"

    def __init__(
        self,
        interval: int = 50,
        *,
        action: Literal["warn", "stop"] = "warn",
        modules: Sequence[str] = ("neck", "projector", "projector_c", "projector_t"),
        map_modules: Sequence[str] = ("head",),
        backbone: str = "backbone",
        features: Sequence[str] = ("head.mlp", "region_head.mlp"),
        doctor: Mapping[str, Any] | None = None,
    ) -> None:
        if action not in ("warn", "stop") or interval < 1:
            raise ValueError(
                f"CollapseHook takes action 'warn' or 'stop' and an interval of at least 1, got "
                f"{action!r} and {interval}."
            )
        self.interval, self.action = interval, action
        self.modules, self.backbone = tuple(modules), backbone
        self.features = (backbone, *features)
        self.map_modules = tuple(map_modules)
        self._doctor_options = dict(doctor or {})
        unknown = set(self._doctor_options) - set(THRESHOLDS)
        if unknown:
            raise ValueError(
                f"CollapseHook.doctor takes {', '.join(THRESHOLDS)}, got {', '.join(sorted(unknown))}."
            )
        self.doctor = CollapseDoctor(**self._doctor_options)
        self.faults: list[Fault] = []
        self._loaded: dict[str, Any] | None = None
        self._spreads: dict[str, Spread] = {}
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def before_train(self, runner) -> None:
        """Go on with the memory of the resumed run, or start afresh."""
        loaded, self._loaded = self._loaded, None
        if loaded is not None and loaded["iter"] == runner.iter:
            self.doctor.load_state_dict(loaded["doctor"])
        else:
            self.doctor = CollapseDoctor(**self._doctor_options)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Put the memory into the checkpoint."""
        checkpoint[STATE] = dict(iter=checkpoint["meta"]["iter"], doctor=self.doctor.state_dict())

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Remember it; `before_train` decides whether this run continues that one."""
        self._loaded = checkpoint.get(STATE)

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Listen to the watched modules when this iteration ends with a check."""
        algorithm = _algorithm(runner)
        if algorithm is None or not self._is_due(runner):
            return
        self._spreads = {}
        for name in (*self.modules, *self.map_modules, *self.features):
            module = _child(algorithm, name)
            # A hook on a compiled module would compile it anew at every check.
            if module is not None and module._compiled_call_impl is None:
                self._handles.append(module.register_forward_hook(self._listener(name)))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Measure and report.

        Raises:
            CollapseError: There is a fault and `action` is `stop`.
        """
        while self._handles:
            self._handles.pop().remove()
        algorithm = _algorithm(runner)
        if algorithm is None or not self._is_due(runner):
            return
        spreads, self._spreads = self._spreads, {}
        for name, spread in spreads.items():
            runner.message_hub.update_scalar(f"train/{name}_spread", spread.spread)
            runner.message_hub.update_scalar(f"train/{name}_rank", spread.rank)
        watched = (*self.modules, *self.map_modules)
        faults = self.doctor.check(
            runner.iter + 1,
            embeddings={name: spreads[name] for name in watched if name in spreads},
            features={name: spreads[name] for name in self.features if name in spreads},
            losses=self._loss_windows(runner, outputs),
            uniform=algorithm.uniform_losses,
            floors=self._floors(runner, algorithm, outputs),
            twins=_twin_states(algorithm, runner.max_iters),
        )
        self.faults += [fault for fault in faults if fault.is_new]
        for fault in faults:
            runner.logger.warning(str(fault))
        if self.action == "stop" and any_rank(bool(faults)):
            texts = [str(fault) for fault in faults] or ["Another rank reports a collapse."]
            raise CollapseError(
                " ".join(texts) + " The run was stopped; its last checkpoint is kept. To go on in "
                "spite of it use CollapseHook(action='warn')."
            )

    def _is_due(self, runner) -> bool:
        return (runner.iter + 1) % self.interval == 0

    def _listener(self, name: str):
        def listen(module: nn.Module, inputs: Any, output: Any) -> None:
            # The first call is enough: one view. Recomputation in the backward pass calls again.
            if name in self._spreads:
                return
            if isinstance(output, (tuple, list)):
                output = output[-1 if name == self.backbone else 0]
            lowest = 4 if name in self.map_modules else 2
            if not isinstance(output, Tensor) or output.ndim < lowest:
                return
            if name == self.backbone and output.ndim > 2:
                # its cells may resemble each other at the start; it is the images that must differ
                output = output.detach().flatten(2).mean(2)
            self._spreads[name] = measure_spread(output)

        return listen

    def _loss_windows(self, runner, outputs: Mapping[str, Any] | None) -> dict[str, LossWindow]:
        windows = {}
        for name, value in (outputs or {}).items():
            if "loss" not in name:
                continue
            values = self._logged(runner, name, value)
            mean = sum(values) / len(values)
            low, high = (min(values), max(values)) if math.isfinite(mean) else (mean, mean)
            windows[name] = LossWindow(mean, low, high, len(values))
        return windows

    def _logged(self, runner, name: str, value: Any) -> list[float]:
        """An output since the last check; `value` is the latest, for a run that logs nothing."""
        key = f"train/{name}"
        if key in runner.message_hub.log_scalars:
            return runner.message_hub.get_scalar(key).data[0][-self.interval :].tolist()
        return [float(value)]

    def _floors(
        self, runner, algorithm: BaseAlgorithm, outputs: Mapping[str, Any] | None
    ) -> dict[str, float]:
        floors = {}
        for name, floor in algorithm.loss_floors.items():
            if isinstance(floor, tuple):
                value, share = floor
                shares = self._logged(runner, share, (outputs or {})[share])
                floor = value * sum(shares) / len(shares)
            floors[name] = float(floor)
        return floors


def _algorithm(runner) -> BaseAlgorithm | None:
    model = bare_model(runner.model)
    return model if isinstance(model, BaseAlgorithm) else None


def _child(algorithm: BaseAlgorithm, name: str) -> nn.Module | None:
    """The module of a dotted name, if there is one."""
    node: Any = algorithm
    for part in name.split("."):
        node = getattr(node, part, None)
    return node if isinstance(node, nn.Module) else None


@torch.no_grad()
def _twin_states(algorithm: BaseAlgorithm, total: int) -> dict[str, TwinState]:
    """Every twin of the algorithm beside its owner, from a sample of parameters in one transfer."""
    states = {}
    for owner_name, owner in algorithm.named_modules():
        for child_name, twin in owner.named_children():
            if not isinstance(twin, MomentumTwin):
                continue
            online = dict(owner.named_parameters())
            names = [
                name
                for name, _ in twin.named_parameters()
                if name in online and online[name].requires_grad
            ]
            if not names:
                continue
            names = names[:: -(-len(names) // SAMPLED_PARAMETERS)]
            theirs = dict(twin.named_parameters())
            mine = [theirs[name].float() for name in names]
            others = [online[name].float() for name in names]
            count = len(names)
            numbers = torch.stack(
                [
                    *_norms_and_sums(mine),
                    *_norms_and_sums(others),
                    torch.stack(torch._foreach_norm(torch._foreach_sub(mine, others))).norm(),
                ]
            ).tolist()
            updates = int(twin.num_updates)
            states[f"{owner_name}.{child_name}".lstrip(".")] = TwinState(
                num_updates=updates,
                momentum=twin.momentum(updates, total),
                first_momentum=twin.momentum(0, total),
                twin=numbers[: 2 * count],
                online=numbers[2 * count : 4 * count],
                distance=numbers[-1],
            )
    return states


def _norms_and_sums(tensors: list[Tensor]) -> list[Tensor]:
    """Norm, sum, norm, sum, ... of the tensors."""
    norms = torch._foreach_norm(tensors)
    return [
        value for norm, tensor in zip(norms, tensors, strict=True) for value in (norm, tensor.sum())
    ]
