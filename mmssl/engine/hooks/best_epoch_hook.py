"""BestEpochHook: every validation of a run, with its best and its last epoch, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop

from mmssl.engine.hooks.checkpoint_hook import CheckpointHook
from mmssl.engine.training_record import training_record
from mmssl.evaluation.image_metric import ImageMetric
from mmssl.evaluation.json_record import json_text
from mmssl.ops.atomic_file import write_text_atomically
from mmssl.ops.collectives import rank
from mmssl.registry import HOOKS
from mmssl.structures import Predictions

STATE = "best_epoch_hook"
RESULT = "result.json"


@HOOKS.register_module()
class BestEpochHook(Hook):
    """Keep the metrics of all validations; say at the end which epoch was best, and what the last one was.

    before_train                refuse a metric that validation does not have                             <-
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
    epoch's is the honest one. `result.json` in the work directory has both, and what they depend on: the
    protocol and what `training_record` says. Checkpoints are written before the validation of
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
        self._record: dict[str, Any] = {}

    def before_train(self, runner) -> None:
        """Take up the history of a resumed run.

        Raises:
            ValueError: The run has no validation, or one without the metric that decides.
        """
        if not isinstance(runner._val_loop, BaseLoop):
            raise ValueError(
                "BestEpochHook needs val_dataloader, val_cfg and val_evaluator. Without validation "
                "(--no-validate) a classifier has no result; default_hooks.best_epoch=None leaves the "
                "hook out."
            )
        self._check_metric(runner)
        self._record = training_record(runner)
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

    def _check_metric(self, runner) -> None:
        names = _figures_to_come(runner.val_loop)
        if not names:
            return
        kept = [
            ("checkpoint.save_best", name)
            for hook in runner.hooks
            if isinstance(hook, CheckpointHook)
            for name in hook.save_best or []
        ]
        for key, metric in [("best_epoch.metric", self.metric), *kept]:
            if metric not in (*names, "auto"):
                raise ValueError(
                    f"default_hooks.{key}={metric}: validation gives {', '.join(names)}. Name one of "
                    "these in both default_hooks.best_epoch.metric and default_hooks.checkpoint.save_best."
                )

    def _write(self, runner) -> None:
        result: dict[str, Any] = dict(
            protocol=self.protocol,
            metric=self.metric,
            best=self.best(),
            last=self.history[-1],
            test=self.test,
            **self._record,
            history=self.history,
        )
        write_text_atomically(Path(runner.work_dir) / RESULT, json_text(result))


def _between_epochs(runner) -> bool:
    return runner.iter == runner.epoch * len(runner.train_dataloader)


def _figures_to_come(loop) -> list[str]:
    """Names of what validation will give; none if that cannot be told before."""
    metrics, dataset = loop.evaluator.metrics, loop.dataloader.dataset
    if not all(isinstance(metric, ImageMetric) for metric in metrics):
        return []
    labels = torch.as_tensor(np.asarray(getattr(dataset, "labels", [])))
    usable = (labels > 0).any(dim=1) if labels.ndim == 2 else labels >= 0
    if not usable.any() or getattr(dataset, "classes", None) is None:
        return []
    one = Predictions(
        torch.zeros(1, dtype=torch.int64), labels[usable][:1], torch.zeros(1, len(dataset.classes))
    )
    return [
        f"{metric.prefix}/{name}" for metric in metrics for name in metric.figures(metric.rows(one))
    ]
