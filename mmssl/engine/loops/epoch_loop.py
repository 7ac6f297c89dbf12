"""EpochLoop: epoch-based training that can start, stop and resume at any iteration."""

from __future__ import annotations

from itertools import islice
from typing import ClassVar

from mmengine.runner import EpochBasedTrainLoop

from mmssl.registry import LOOPS


@LOOPS.register_module()
class EpochLoop(EpochBasedTrainLoop):
    """mmengine's epoch loop, with exact resume inside an epoch and a stop between iterations.

    The order of the data is a pure function of (seed, epoch), so a run resumed at iteration i skips
    the i - epoch * iterations_per_epoch batches that were seen: through the sampler's `skip`, at no
    cost; with a sampler that has none (mmdet's, mmseg's) they are loaded once more and dropped.
    `stop_training` is obeyed after every iteration; the hooks of an epoch's end are then left out.

    Attributes:
        epochs_are: What reports call them.

    Raises:
        ValueError: The loader yields no batch at all.
    """

    epochs_are: ClassVar[str] = "epochs"

    def __init__(
        self,
        runner,
        dataloader,
        max_epochs: int,
        val_begin: int = 1,
        val_interval: int = 1,
        dynamic_intervals: list[tuple[int, int]] | None = None,
    ) -> None:
        super().__init__(runner, dataloader, max_epochs, val_begin, val_interval, dynamic_intervals)
        if not len(self.dataloader):
            raise ValueError(
                f"The training loader yields no batch: {len(self.dataloader.dataset)} images, batch "
                f"size {self.dataloader.batch_size}, {runner.world_size} process(es), incomplete "
                "batches dropped. Lower train_dataloader.batch_size or add images."
            )

    def run(self):
        """Train from the current iteration to the end, or to a stop."""
        # A batch sampler of its own (mmdet's by aspect ratio) hides the sampler that has the seed.
        inner = getattr(self.dataloader.batch_sampler, "sampler", None)
        for part in (self.dataloader.dataset, self.dataloader.sampler, inner):
            # A resumed run takes its seed from the checkpoint, after the loader was built.
            if hasattr(part, "seed"):
                part.seed = self.runner.seed
        return super().run()

    def run_epoch(self) -> None:
        """One epoch, or what is left of it after a resume."""
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        start = self._iter - self._epoch * len(self.dataloader)
        batches = self.dataloader
        sampler = self.dataloader.sampler
        if start > 0 and hasattr(sampler, "skip"):
            # The last batch of an epoch may be a partial one.
            sampler.skip(min(start * self.dataloader.batch_size, len(sampler)))
        elif start > 0:
            self.runner.logger.info(
                f"Resuming inside epoch {self._epoch + 1}: {start} batches are loaded and dropped, "
                f"because {type(sampler).__name__} cannot skip."
            )
            batches = islice(self.dataloader, start, None)
        for index, batch in enumerate(batches, start):
            self.run_iter(index, batch)
            if self.stop_training and index + 1 < len(self.dataloader):
                return  # the epoch is not over: no hook may take it for one that is
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1
