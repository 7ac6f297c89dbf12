"""PreemptionHook: SIGTERM saves a checkpoint and ends the run cleanly."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mmengine.hooks import Hook

from mmssl.engine.hooks.checkpoint_hook import CheckpointHook
from mmssl.ops.collectives import any_rank, world_size
from mmssl.registry import HOOKS


class Preempted(SystemExit):
    """The run was asked to end; a checkpoint was written. Exit status 0."""

    def __init__(self) -> None:
        super().__init__(0)


class _Broken(BaseException):
    """SIGTERM inside of work that may be broken off anywhere."""


@HOOKS.register_module()
class PreemptionHook(Hook):
    """Finish the iteration, write a checkpoint and leave when the process gets SIGTERM.

    before_run              listen
    for each iteration
        after_train_iter    if any rank got the signal: checkpoint, `Preempted`     <- (last of all)
    for each batch of a validation
        after_val_iter      the same, on a single process
    in `may_break_off`      the same, for long work of other hooks between iterations
    after_run               stop listening

    `tools/train.py CONFIG --resume` then goes on where the run ended, bit by bit.
    """

    # Behind every hook that changes state after an iteration, CheckpointHook included.
    priority = "LOWEST"

    _previous = None
    _requested = False
    _breaks = False

    def before_run(self, runner) -> None:
        """Install the signal handler of this process; forked workers get the default one."""
        self._requested = False
        self._pid = os.getpid()
        self._previous = signal.signal(signal.SIGTERM, self._request)

    def _request(self, signum, frame) -> None:
        if os.getpid() != self._pid:  # between a fork and `_listen_no_more`
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        self._requested = True
        if self._breaks:
            self._breaks = False
            raise _Broken

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Leave if any rank was asked to.

        Raises:
            Preempted: After the checkpoint was written.
        """
        if not any_rank(self._requested):
            return
        self._leave(runner, runner.iter + 1)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Leave in the middle of a validation; on several ranks, whose numbers differ, after it.

        Raises:
            Preempted: After the checkpoint was written.
        """
        if self._requested and world_size() == 1 and runner.iter > 0:
            self._leave(runner, runner.iter)

    @contextmanager
    def may_break_off(self, runner) -> Iterator[Callable[[], None]]:
        """Long work between two iterations that changes nothing before it is done.

        On a single process SIGTERM breaks it off at once, as Ctrl-C would. Several ranks have to leave
        together: they do where all of them call the function that is yielded.

        Args:
            runner: The run.

        Raises:
            Preempted: After the checkpoint was written.
        """

        def poll() -> None:
            if any_rank(self._requested):
                raise _Broken

        try:
            try:
                poll()
                self._breaks = world_size() == 1
                yield poll
            finally:
                self._breaks = False
        except _Broken:
            if runner.iter > 0:
                self._leave(runner, runner.iter)
            runner.logger.warning("SIGTERM before the first iteration: there is nothing to save.")
            raise Preempted from None

    def _leave(self, runner, step: int) -> None:
        hook = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
        if hook is None:  # switched off, or another library's
            hook = CheckpointHook()
            hook.before_train(runner)
        path = hook.save_now(runner, step)
        runner.logger.warning(f"SIGTERM: saved {path}; go on with --resume.")
        raise Preempted

    def after_run(self, runner) -> None:
        """Restore the handler that was there before; the runner calls this after an error too."""
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)
            self._previous = None


@contextmanager
def breakable(runner) -> Iterator[Callable[[], None]]:
    """`PreemptionHook.may_break_off`, if the run has that hook; else what is yielded does nothing.

    Args:
        runner: The run.
    """
    hook = next((hook for hook in runner.hooks if isinstance(hook, PreemptionHook)), None)
    if hook is None:
        yield lambda: None
        return
    with hook.may_break_off(runner) as poll:
        yield poll


def _listen_no_more() -> None:
    """In a forked child: die of SIGTERM at once.

    A Python handler only runs when the interpreter comes by. A worker that waits for a lock may never
    do so again, and whoever terminates a pool of such workers (mmdet's VOC evaluation) waits for ever.
    """
    handler = signal.getsignal(signal.SIGTERM)
    if isinstance(getattr(handler, "__self__", None), PreemptionHook):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


os.register_at_fork(after_in_child=_listen_no_more)
