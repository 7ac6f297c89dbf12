"""BestEpochHook: every validation of a run, with its best and its last epoch, in one file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import BaseLoop

from mmssl.ops.collectives import rank
from mmssl.registry import HOOKS

STATE = "best_epoch_hook"
RESULT = "result.json"


@HOOKS.register_module()
class BestEpochHook(Hook):
    """Keep the metrics of all validations; say at the end which epoch was best, and what the last one was.

    for each epoch
        before_train_epoch      validate first, if a resumed run has not seen the end of the epoch before <-
        iterations
        after_train_epoch, checkpoint
        after_val_epoch         add to the history, write `result.json`                                   <-
    after_train                 validate what is missing; log best and last                               <-
    after_test_epoch            write what `TestBestHook` measured                                        <-
    before_save_checkpoint      keep the history                                                          <-
    after_load_checkpoint       take it up again                                                          <-

    Published figures are the best epoch's in most codes, which lets the validation set choose; the last
    epoch's is the honest one. `result.json` in the work directory has both, and what they depend on:
    protocol, config, weights, seed, images per step. Checkpoints are written before the validation of
    their epoch, so a run that was killed in between validates it when it is resumed.

    Args:
        metric: Name of the figure that decides, the higher the better.
        protocol: What the figures are called, for the file.
    """

    # Before CheckpointHook, whose best checkpoint is to hold the history with its own epoch.
    priority = "LOW"

    def __init__(self, metric: str = "accuracy/top1", *, protocol: str = "") -> None:
        self.metric = metric
        self.protocol = protocol
        self.history: list[dict[str, float]] = []
        self.test: dict[str, float] | None = None
        self._loaded: list[dict[str, float]] | None = None

    def before_train(self, runner) -> None:
        """Take up the history of a resumed run.

        Raises:
            ValueError: The run has no validation.
        """
        if not isinstance(runner._val_loop, BaseLoop):
            raise ValueError(
                "BestEpochHook needs val_dataloader, val_cfg and val_evaluator. Without validation "
                "(--no-validate) a classifier has no result; default_hooks.best_epoch=None leaves the "
                "hook out."
            )
        loaded, self._loaded = self._loaded, None
        self.history = list(loaded or []) if runner.iter > 0 else []

    def before_train_epoch(self, runner) -> None:
        """Validate the weights of the checkpoint, if its run ended before it could."""
        self._catch_up(runner)

    def after_val_epoch(self, runner, metrics: dict[str, float]) -> None:
        """Add the metrics of the epoch that is over.

        Raises:
            ValueError: The metric that decides is not among them.
        """
        if not isinstance(runner._train_loop, BaseLoop):
            return  # a validation of its own, not one of a training run
        if not _between_epochs(runner):
            return  # a run that was asked to stop inside an epoch validates on its way out
        if self.metric not in metrics:
            raise ValueError(
                f"BestEpochHook(metric={self.metric!r}): validation gave {', '.join(metrics)}."
            )
        self.history.append(dict(epoch=runner.epoch, **metrics))
        if rank() == 0:
            self._write(runner)

    def after_train(self, runner) -> None:
        """Log the best and the last epoch."""
        if not runner.train_loop.stop_training:
            self._catch_up(runner)
        if self.history:
            best, last = self.best(), self.history[-1]
            runner.logger.info(
                f"{self.metric}: best epoch {best['epoch']}: {best[self.metric]:.2f}, last epoch "
                f"{last['epoch']}: {last[self.metric]:.2f}."
            )

    def after_test_epoch(self, runner, metrics: dict[str, float]) -> None:
        """Add the figures of a test at the end of the run."""
        self.test = metrics
        if self.history and rank() == 0:
            self._write(runner)

    def best(self) -> dict[str, float]:
        """The entry of the best epoch, the first of equal ones."""
        return max(self.history, key=lambda entry: entry[self.metric])

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Put the history into the checkpoint."""
        checkpoint[STATE] = [dict(entry) for entry in self.history]

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Remember it; `before_train` decides whether this run continues that one."""
        self._loaded = checkpoint.get(STATE)

    def _catch_up(self, runner) -> None:
        loop, epoch = runner.train_loop, runner.epoch
        due = epoch >= loop.val_begin and (
            epoch % loop.val_interval == 0 or epoch == runner.max_epochs
        )
        seen = any(entry["epoch"] == epoch for entry in self.history)
        if epoch > 0 and due and _between_epochs(runner) and not seen:
            runner.val_loop.run()

    def _write(self, runner) -> None:
        result: dict[str, Any] = dict(
            protocol=self.protocol,
            metric=self.metric,
            best=self.best(),
            last=self.history[-1],
            test=self.test,
            epochs=runner.max_epochs,
            weights=_weights_of(runner.cfg.get("model", {})),
            config=str(runner.cfg.filename),
            seed=runner.seed,
            images_per_step=(runner.train_dataloader.batch_size or 1) * runner.world_size,
            history=self.history,
        )
        path = Path(runner.work_dir) / RESULT
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, path)


def _between_epochs(runner) -> bool:
    return runner.iter == runner.epoch * len(runner.train_dataloader)


def _weights_of(model: dict[str, Any]) -> str | None:
    """The file that the backbone starts from, None for a random start."""
    for node in (model.get("backbone", {}), model):
        init = node.get("init_cfg")
        if isinstance(init, dict) and "checkpoint" in init:
            return str(init["checkpoint"])
    return None
