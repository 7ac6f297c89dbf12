"""WindowLoop: epochs in the config, windows of a SlidingWindowSampler in the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from mmssl.datasets.samplers import SlidingWindowSampler
from mmssl.engine.loops.epoch_loop import EpochLoop
from mmssl.registry import LOOPS

# Arguments of schedules that count epochs; milestones are a list of such numbers.
_IN_EPOCHS = ("warmup", "begin", "end", "period", "T_max", "step_size")


@LOOPS.register_module()
class WindowLoop(EpochLoop):
    """`EpochLoop` for `SlidingWindowSampler`, whose epochs are windows of the data set.

    A config goes on to count passes over the images; here its numbers become windows, each rounded up as in
    PIC's released program (`in_windows`):

    * `max_epochs`, `val_begin`, `val_interval`, `dynamic_intervals` of the loop;
    * of schedules by epoch: `warmup`, `begin`, `end`, `period`, `T_max`, `step_size`, `milestones`;
    * of hooks what they list in `counts_epochs`: intervals of `CheckpointHook` and of all that measures,
      `FreezeHook.epochs` and so on.

    The run itself has windows where other runs have epochs: "Epoch" in the log, `runner.epoch`, names of
    checkpoints. A line at the beginning says so.

    | ImageNet, windows of 131072, batch 256 | config | run                                   |
    |----------------------------------------|--------|---------------------------------------|
    | `train_cfg.max_epochs`                 | 200    | 1955 windows of 512 iterations        |
    | `WarmupCosineLR(warmup=...)`           | 5      | 49 windows                            |
    | `CheckpointHook(interval=...)`         | 1      | every 10 windows                      |

    Args:
        runner: The run.
        dataloader: Of the images, with a `SlidingWindowSampler`.
        max_epochs: Passes over the images.
        val_begin: Passes before the first validation.
        val_interval: Passes between validations.
        dynamic_intervals: (pass, interval) from which on another interval holds.

    Raises:
        TypeError: Another sampler.
        ValueError: A window that is smaller than a batch.
    """

    epochs_are: ClassVar[str] = "windows"

    def __init__(
        self,
        runner,
        dataloader,
        max_epochs: float,
        val_begin: float = 1,
        val_interval: float = 1,
        dynamic_intervals: list[tuple[float, float]] | None = None,
    ) -> None:
        if isinstance(dataloader, dict):
            various = runner._randomness_cfg.get("diff_rank_seed", False)
            dataloader = runner.build_dataloader(dataloader, runner.seed, various)
        sampler = dataloader.sampler
        if not isinstance(sampler, SlidingWindowSampler):
            raise TypeError(
                f"WindowLoop counts windows of a SlidingWindowSampler, but the sampler is a "
                f"{type(sampler).__name__}; use train_cfg.type='EpochLoop', or "
                "train_dataloader.sampler=dict(type='SlidingWindowSampler', window=..., stride=...)."
            )
        if not len(dataloader):
            raise ValueError(
                f"A window of {sampler.window} images on {sampler.world_size} process(es) holds no batch of "
                f"{dataloader.batch_size}: enlarge train_dataloader.sampler.window, or lower the batch size."
            )
        self.epochs = max_epochs
        self.sampler = sampler
        super().__init__(
            runner,
            dataloader,
            sampler.windows(max_epochs),
            sampler.windows(val_begin),
            sampler.windows(val_interval),
            [tuple(map(sampler.windows, pair)) for pair in dynamic_intervals or []] or None,
        )
        for hook in runner.hooks:
            for name in getattr(hook, "counts_epochs", ()):
                setattr(hook, name, self._whole(getattr(hook, name)))

    def run(self):
        """Train from the current iteration to the end, and say what an epoch is."""
        sampler, length = self.sampler, len(self.dataloader)
        self.runner.logger.info(
            f"What this run calls an epoch is a window of {sampler.window} of the {sampler.length} images, "
            f"{length} iterations; the next begins {sampler.stride} images later ({sampler.mode}). "
            f"{self._max_epochs} windows are the {self.epochs} epochs of the config."
        )
        return super().run()

    def in_windows(self, scheduler: Any) -> Any:
        """Schedules of a config with their epochs as windows; built ones and those by iteration stay.

        Args:
            scheduler: A schedule or a list of them.
        """
        if isinstance(scheduler, Sequence):
            return [self.in_windows(one) for one in scheduler]
        if not isinstance(scheduler, dict) or not scheduler.get("by_epoch", True):
            return scheduler
        found = dict(scheduler)
        for name in set(_IN_EPOCHS) & found.keys():
            found[name] = self._whole(found[name])
        if "milestones" in found:
            found["milestones"] = [self._whole(epoch) for epoch in found["milestones"]]
        return found

    def _whole(self, epochs: float) -> int:
        # below 0 it is no number of epochs but means "never"
        return self.sampler.windows(epochs) if epochs > 0 else int(epochs)
