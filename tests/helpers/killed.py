"""The end of a run of which nothing is told, as by SIGKILL, inside of the process of the test."""

from __future__ import annotations

from mmengine.hooks import Hook

from mmssl.registry import HOOKS


class Killed(Exception):
    """Stands for SIGKILL."""


@HOOKS.register_module()
class KillHook(Hook):
    """Ends the run, last of all hooks.

    Args:
        at: Behind this iteration, from 0.
        at_val: Before the validation that follows this many epochs.
    """

    priority = "LOWEST"

    def __init__(self, at: int = -1, at_val: int = -1) -> None:
        self.at, self.at_val = at, at_val

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter == self.at:
            raise Killed

    def before_val(self, runner) -> None:
        if runner.epoch == self.at_val:
            raise Killed
