"""BadFilesHook: all ranks agree after an epoch on which files cannot be read, and on how many."""

from __future__ import annotations

from mmengine.hooks import Hook

from mmssl.datasets.image_dataset import ImageDataset
from mmssl.registry import HOOKS


@HOOKS.register_module()
class BadFilesHook(Hook):
    """Count the unreadable images of the whole training set.

    after_train_epoch   join the marks of all ranks; log the count; too many end the run

    Within an epoch each rank knows of the files that it met itself. Datasets that are not ours are
    left alone.

    Raises:
        TooManyBadFilesError: On every rank, if the share is above the dataset's `max_bad_ratio`.
    """

    priority = "NORMAL"

    def __init__(self) -> None:
        self._told = 0

    def after_train_epoch(self, runner) -> None:
        """Join, tell, check."""
        dataset = runner.train_dataloader.dataset
        if not isinstance(dataset, ImageDataset):
            return
        bad = dataset.bad_files
        mine = set(bad.indices())
        bad.merge_ranks()
        for index in sorted(set(bad.indices()) - mine):
            runner.logger.warning(f"Skipped by another rank: {dataset.path(index)}")
        if len(bad) > self._told:
            self._told = len(bad)
            runner.logger.warning(
                f"{len(bad)} of {len(dataset)} training images cannot be read and are replaced by "
                "others; the log names each."
            )
        bad.check()
