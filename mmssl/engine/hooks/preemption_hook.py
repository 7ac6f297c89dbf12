"""PreemptionHook: SIGTERM saves a checkpoint and ends the run cleanly."""

from __future__ import annotations

import os
import signal

from mmengine.hooks import Hook

from mmssl.engine.hooks.checkpoint_hook import CheckpointHook
from mmssl.ops.collectives import any_rank
from mmssl.registry import HOOKS


class Preempted(SystemExit):
    """The run was asked to end; a checkpoint was written. Exit status 0."""

    def __init__(self) -> None:
        super().__init__(0)


@HOOKS.register_module()
class PreemptionHook(Hook):
    """Finish the iteration, write a checkpoint and leave when the process gets SIGTERM.

    before_run              listen
    for each iteration
        after_train_iter    if any rank got the signal: checkpoint, `Preempted`     <- (last of all)
    after_run               stop listening

    `tools/train.py CONFIG --resume` then goes on where the run ended, bit by bit.
    """

    # Behind every hook that changes state after an iteration, CheckpointHook included.
    priority = "LOWEST"

    def before_run(self, runner) -> None:
        """Install the signal handler of this process; forked loader workers ignore the flag."""
        self._requested = False
        self._pid = os.getpid()
        self._previous = signal.signal(signal.SIGTERM, self._request)

    def _request(self, signum, frame) -> None:
        if os.getpid() != self._pid:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        self._requested = True

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Leave if any rank was asked to.

        Raises:
            Preempted: After the checkpoint was written.
        """
        if not any_rank(self._requested):
            return
        hook = next(hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
        path = hook.save_now(runner)
        runner.logger.warning(f"SIGTERM: saved {path}; go on with --resume.")
        raise Preempted

    def after_run(self, runner) -> None:
        """Restore the handler that was there before."""
        signal.signal(signal.SIGTERM, self._previous)
