"""DataTimeHook: where the time of a run goes, and how much of it is waiting for data."""

from __future__ import annotations

import time
from collections import deque
from typing import Literal

from mmengine.hooks import Hook

from mmssl.registry import HOOKS

Phase = Literal[
    "start", "data", "step", "iteration hooks", "evaluation", "checkpoints", "epoch hooks", "finish"
]
LOOP_PHASES: tuple[Phase, ...] = ("data", "step", "iteration hooks")
BEFORE_CHECKPOINTS = 89


@HOOKS.register_module()
class DataTimeHook(Hook):
    """Log `data_wait`, the percentage of the training loop spent waiting for data; add up phases.

    before_train                start | data
    before_train_epoch          epoch hooks | data
    for each iteration
        (loader)                data
        before_train_iter       step                <- data_wait of the last `window` iterations
        train_step
        after_train_iter        iteration hooks | checkpoints | data
    after_train_epoch           evaluation | checkpoints | data
    before_val ... after_val    evaluation | data
    after_train                 finish

    A name stands for the phase that begins there: in front of all hooks, then between them just
    before `CheckpointHook`, then behind all of them. mmengine's `data_time` cannot serve: its clock
    starts before logging, schedulers and checkpoints of the previous iteration and stops after the
    momentum update, and calls all of that data.

    On an accelerator the figures are right as long as each iteration waits for its loss, which
    mmengine's logging does.

    Args:
        window: Iterations over which `data_wait` is taken; default: the log processor's window.
    """

    priority = "VERY_HIGH"

    def __init__(self, window: int | None = None) -> None:
        self.window = window
        self.seconds: dict[Phase, float] = {}
        self._phase: Phase | None = None
        self._since = 0.0

    def enter(self, phase: Phase) -> None:
        """Close the current phase and begin `phase`."""
        now = time.perf_counter()
        if self._phase is not None:
            self.seconds[self._phase] = self.seconds.get(self._phase, 0.0) + now - self._since
        self._phase, self._since = phase, now

    def seconds_so_far(self) -> dict[Phase, float]:
        """Seconds per phase, the one under way included."""
        if self._phase is not None:
            self.enter(self._phase)
        return dict(self.seconds)

    @property
    def data_wait(self) -> float:
        """Percentage of the whole run's loop time spent waiting for data; 0 before the first step."""
        loop = sum(self.seconds.get(phase, 0.0) for phase in LOOP_PHASES)
        return 100 * self.seconds.get("data", 0.0) / loop if loop else 0.0

    def before_run(self, runner) -> None:
        """Place the marks further down the list of hooks, so that they bracket all others."""
        runner.register_hook(_BeforeCheckpoints(self), priority=BEFORE_CHECKPOINTS)
        runner.register_hook(_BehindAll(self), priority="LOWEST")

    def before_train(self, runner) -> None:
        """Begin the start-up phase."""
        window = self.window or runner.log_processor.window_size
        self._marks: deque[tuple[float, float]] = deque(maxlen=window + 1)
        self.seconds, self._phase = {}, None
        self.enter("start")

    def before_train_epoch(self, runner) -> None:
        """Begin the epoch's hooks."""
        self.enter("epoch hooks")

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """The batch is here: log what it was waited for, and begin the step."""
        self.enter("step")
        data = self.seconds.get("data", 0.0)
        loop = sum(self.seconds.get(phase, 0.0) for phase in LOOP_PHASES)
        self._marks.append((data, loop))
        first_data, first_loop = self._marks[0]
        if loop > first_loop:
            share = 100 * (data - first_data) / (loop - first_loop)
            runner.message_hub.update_scalar("train/data_wait", share)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """The step is over."""
        self.enter("iteration hooks")

    def after_train_epoch(self, runner) -> None:
        """Begin what runs at the end of an epoch, k-NN for instance."""
        self.enter("evaluation")

    def before_val(self, runner) -> None:
        """Begin the validation loop."""
        self.enter("evaluation")

    def after_train(self, runner) -> None:
        """Begin what runs at the very end."""
        self.enter("finish")


class _BeforeCheckpoints(Hook):
    """The mark in front of `CheckpointHook`."""

    def __init__(self, clock: DataTimeHook) -> None:
        self.clock = clock

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.clock.enter("checkpoints")

    def after_train_epoch(self, runner) -> None:
        self.clock.enter("checkpoints")


class _BehindAll(Hook):
    """The mark behind all hooks: from here on the loop waits for data."""

    def __init__(self, clock: DataTimeHook) -> None:
        self.clock = clock

    def before_train(self, runner) -> None:
        self.clock.enter("data")

    def before_train_epoch(self, runner) -> None:
        self.clock.enter("data")

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.clock.enter("data")

    def after_train_epoch(self, runner) -> None:
        self.clock.enter("data")

    def after_val(self, runner) -> None:
        self.clock.enter("data")
