"""FreezeHook: keeps some modules as they are at first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mmengine.hooks import Hook

from mmssl.models.algorithms.base import bare_model
from mmssl.registry import HOOKS


@HOOKS.register_module()
class FreezeHook(Hook):
    """Take the gradients of some modules away before the first optimizer steps, or those of the first epochs.

    before_train        find the modules; from now on, before each optimizer step:  <-
        epoch < epochs      their gradients become None, so the optimizer skips them: no step, no
        (step < iters)      weight decay, no moments
    after_train         stop doing so

    DINO and EsViT keep the last layer of their heads for one epoch, SwAV its prototypes for some hundred
    steps. Gradients are taken away after
    clipping, as in the official code, and `requires_grad` stays as it is: distributed training must not
    see it change.

    Args:
        modules: Names of modules of the model, such as `head.last_layer`.
        epochs: Epochs for which they are kept; 1 unless `iters` is given.
        iters: Optimizer steps for which they are kept, in place of `epochs`: iterations, unless gradients of
            several are accumulated.

    Raises:
        ValueError: Both lengths.
    """

    counts_epochs: ClassVar[tuple[str, ...]] = ("epochs",)

    def __init__(
        self, modules: Sequence[str], *, epochs: int | None = None, iters: int | None = None
    ) -> None:
        if epochs is not None and iters is not None:
            raise ValueError(f"FreezeHook takes epochs or iters, got {epochs=} and {iters=}.")
        self.modules = list(modules)
        self.epochs = 1 if epochs is None else epochs
        self.iters = iters

    def before_train(self, runner) -> None:
        """Register with the optimizer.

        Raises:
            ValueError: The model has no module of a name.
        """
        model = bare_model(runner.model)
        children = dict(model.named_modules())
        unknown = [name for name in self.modules if name not in children]
        if unknown:
            raise ValueError(
                f"FreezeHook: {type(model).__name__} has no module {', '.join(unknown)}. Names are "
                "dotted paths such as 'head.last_layer'."
            )
        parameters = [p for name in self.modules for p in children[name].parameters()]

        def take_gradients(*_) -> None:
            if self._holds(runner):
                for parameter in parameters:
                    parameter.grad = None

        self._handle = runner.optim_wrapper.optimizer.register_step_pre_hook(take_gradients)

    def _holds(self, runner) -> bool:
        if self.iters is None:
            return runner.epoch < self.epochs
        return runner.iter // runner.optim_wrapper._accumulative_counts < self.iters

    def after_train(self, runner) -> None:
        """Leave the optimizer as it was."""
        self._handle.remove()
