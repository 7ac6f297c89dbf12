"""FiniteLossHook: says where a loss stopped being finite, and ends the run before harm is done."""

from __future__ import annotations

import math

from mmengine.hooks import Hook
from torch import Tensor

from mmssl.ops.collectives import any_rank, gather_objects
from mmssl.registry import HOOKS
from mmssl.structures import ViewBatch

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class NonFiniteLossError(RuntimeError):
    """A loss was NaN or infinite more often than tolerated."""


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Report and count iterations whose loss is not finite; stop when there are too many.

    for each iteration
        before_train_iter   where skipping is tolerated: note the running statistics of norms   <-
        train_step          the optimizer wrapper skips the step if the loss is not finite
        after_train_iter    report, count, maybe raise; give norms back the noted statistics    <-
                            (before a checkpoint is written)

    Memories leave keys, features and means out that are not finite, so nothing of a skipped batch stays.

    Args:
        max_skipped: Skipped steps that one run may have; 0 stops at the first.
        max_names: Number of file names in a report.

    Raises:
        NonFiniteLossError: In training, after more than `max_skipped` skipped steps.
    """

    # Before MomentumUpdateHook: a run that stops here leaves its twin alone.
    priority = "VERY_HIGH"
    _COUNTER = "num_skipped_steps"

    def __init__(self, max_skipped: int = 0, max_names: int = 64) -> None:
        self.max_skipped = max_skipped
        self.max_names = max_names
        self._noted: list[tuple[Tensor, Tensor]] = []

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Note running statistics, which the forward pass of a batch with NaN would make NaN for good."""
        if self.max_skipped:
            self._noted = [
                (value, value.clone())
                for module in runner.model.modules()
                for name, value in module.named_buffers(recurse=False)
                if name in _STATISTICS
            ]

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Look at the loss terms of the iteration."""
        parts = {
            name: float(value.detach()) for name, value in (outputs or {}).items() if "loss" in name
        }
        broken = not all(math.isfinite(value) for value in parts.values())
        if not any_rank(broken):
            return
        hub = runner.message_hub
        skipped = hub.get_info(self._COUNTER, 0) + 1
        hub.update_info(self._COUNTER, skipped)
        message = (
            f"Non-finite loss at iteration {runner.iter + 1} (epoch {runner.epoch + 1}): "
            + self._account(runner, parts if broken else None, data_batch)
            + f" The step was skipped ({skipped} so far, {self.max_skipped} tolerated)."
        )
        if skipped <= self.max_skipped:
            for value, before in self._noted:
                value.copy_(before)
            runner.logger.warning(message)
            return
        raise NonFiniteLossError(
            message + " The weights and the last checkpoint are those from before this iteration. "
            "Usual causes: a learning rate that is too high, a warm-up that is too short, float16 "
            "(try bf16). FiniteLossHook.max_skipped tolerates some."
        )

    def _account(self, runner, parts: dict[str, float] | None, data_batch) -> str:
        """Loss terms and images of every rank whose loss is not finite (`parts` of others is None)."""
        mine = None
        if parts is not None:
            terms = ", ".join(f"{name} = {value}" for name, value in parts.items())
            mine = f"{terms}. Images of the batch: {self._names(runner, data_batch)}."
        accounts = gather_objects(mine)
        if len(accounts) == 1:
            return accounts[0]
        return " ".join(
            f"[rank {number}] {account}" for number, account in enumerate(accounts) if account
        )

    def _names(self, runner, data_batch) -> str:
        batch = data_batch if isinstance(data_batch, dict) else {}
        inputs = batch.get("inputs")
        if isinstance(inputs, ViewBatch):
            dataset = runner.train_dataloader.dataset
            paths = [dataset.path(int(index)) for index in inputs.index]
        else:  # mmdet's and mmseg's batches name their files
            paths = [getattr(sample, "img_path", "?") for sample in batch.get("data_samples", [])]
        names = [str(path) for path in paths[: self.max_names]]
        more = len(paths) - len(names)
        return (", ".join(names) or "unknown") + (f" and {more} more" if more else "")
