"""FreezeHook: keeps some modules as they are in the first epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from mmssl.registry import HOOKS


@HOOKS.register_module()
class FreezeHook(Hook):
    """Take the gradients of some modules away before each optimizer step of the first epochs.

    before_train        find the modules; from now on, before each optimizer step:  <-
        epoch < epochs      their gradients become None, so the optimizer skips them: no step, no
                            weight decay, no moments
    after_train         stop doing so

    DINO and EsViT keep the last layer of their heads for one epoch. Gradients are taken away after
    clipping, as in the official code, and `requires_grad` stays as it is: distributed training must not
    see it change.

    Args:
        modules: Names of modules of the model, such as `head.last_layer`.
        epochs: Epochs for which they are kept.
    """

    counts_epochs: ClassVar[tuple[str, ...]] = ("epochs",)

    def __init__(self, modules: Sequence[str], *, epochs: int = 1) -> None:
        self.modules = list(modules)
        self.epochs = epochs

    def before_train(self, runner) -> None:
        """Register with the optimizer.

        Raises:
            ValueError: The model has no module of a name.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        children = dict(model.named_modules())
        unknown = [name for name in self.modules if name not in children]
        if unknown:
            raise ValueError(
                f"FreezeHook: {type(model).__name__} has no module {', '.join(unknown)}. Names are "
                "dotted paths such as 'head.last_layer'."
            )
        parameters = [p for name in self.modules for p in children[name].parameters()]

        def take_gradients(*_) -> None:
            if runner.epoch < self.epochs:
                for parameter in parameters:
                    parameter.grad = None

        self._handle = runner.optim_wrapper.optimizer.register_step_pre_hook(take_gradients)

    def after_train(self, runner) -> None:
        """Leave the optimizer as it was."""
        self._handle.remove()
