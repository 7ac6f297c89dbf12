"""FrozenCheckHook: proof that what a protocol calls frozen has not changed by a bit."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.hooks import Hook
from torch import nn

from mmssl.convert.load_report import weights_checksum
from mmssl.models.algorithms.base import bare_model
from mmssl.registry import HOOKS

STATE = "frozen_check_hook"


@HOOKS.register_module()
class FrozenCheckHook(Hook):
    """Compare the tensors of some modules with those at the start, bit by bit, after every epoch.

    before_train            remember a hash of every tensor             <-
    for each epoch
        after_train_epoch   compare                                     <-
    before_save_checkpoint  keep the hashes                             <-
    after_load_checkpoint   a resumed run compares with the first start <-

    A linear classification is one of the pretrained features only if this holds. What usually breaks it
    is BatchNorm in train mode, whose running statistics move without any gradient.

    Args:
        modules: Names of modules of the model.
        buffers: Look at buffers (running statistics) as well; False for HCSC's VOC07 protocol, where
            they move on purpose.
    """

    def __init__(self, modules: Sequence[str] = ("backbone",), *, buffers: bool = True) -> None:
        self.modules = list(modules)
        self.buffers = buffers
        self._hashes: dict[str, str] = {}
        self._loaded: dict[str, str] | None = None

    def before_train(self, runner) -> None:
        """Take the hashes, or those of the run that is resumed, and compare at once.

        Raises:
            ValueError: The model has no module of a name, or one has nothing to look at.
            RuntimeError: The resumed weights are not those that the run began with.
        """
        loaded, self._loaded = self._loaded, None
        self._hashes = self._current(runner)
        if loaded is not None and runner.iter > 0:
            self._hashes = loaded
            self._compare(runner)

    def after_train_epoch(self, runner) -> None:
        """Compare.

        Raises:
            RuntimeError: A tensor has changed.
        """
        self._compare(runner)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Put the hashes into the checkpoint."""
        checkpoint[STATE] = dict(self._hashes)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Remember them; `before_train` decides whether this run continues that one."""
        self._loaded = checkpoint.get(STATE)

    def _current(self, runner) -> dict[str, str]:
        model = bare_model(runner.model)
        children = dict(model.named_modules())
        hashes: dict[str, str] = {}
        for name in self.modules:
            if name not in children:
                raise ValueError(
                    f"FrozenCheckHook: {type(model).__name__} has no module {name!r}. Names are dotted "
                    "paths such as 'backbone'."
                )
            tensors = self._tensors(children[name])
            if not tensors:
                raise ValueError(f"FrozenCheckHook: {name!r} has no tensor to look at.")
            hashes.update(
                {f"{name}.{key}": weights_checksum({key: value}) for key, value in tensors.items()}
            )
        return hashes

    def _tensors(self, module: nn.Module) -> dict:
        return module.state_dict() if self.buffers else dict(module.named_parameters())

    def _compare(self, runner) -> None:
        now = self._current(runner)
        changed = [name for name, value in self._hashes.items() if now.get(name) != value]
        if changed:
            raise RuntimeError(
                f"{len(changed)} of {len(now)} frozen tensors changed while training, for example "
                f"{changed[0]}: the classifier is not one of the pretrained features. Set "
                "model.frozen=True and model.train_norms=False, or leave FrozenCheckHook out."
            )
