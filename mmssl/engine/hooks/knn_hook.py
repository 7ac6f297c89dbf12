"""KNNHook: k-NN accuracy of the backbone on labelled images, during training."""

from __future__ import annotations

from typing import Any

from mmssl.engine.hooks.monitor_hook import Branches, MonitorHook
from mmssl.evaluation.features import (
    Branch,
    Features,
    evaluation_loader,
    extract_features,
    labelled,
    match_classes,
)
from mmssl.evaluation.linear_probe import hold_out
from mmssl.models.algorithms.base import bare_model
from mmssl.ops.knn import weighted_knn
from mmssl.registry import DATASETS, HOOKS, build_module


@HOOKS.register_module()
class KNNHook(MonitorHook):
    """Classify labelled images by their nearest neighbours among others, every `interval` epochs.

    before_train            evaluate the untrained network                  <-
    for each epoch
        before_train_epoch, iterations
        after_train_epoch   evaluate, when it is due or the last            <-
    before_save_checkpoint  keep the history                                <-

    The images may be those of training or any other labelled folder. Training goes on as if nothing
    had happened: no running statistic and no random number generator is touched. Logged as
    `knn/top1` and `knn/top5` (`knn/twin_top1` and so on for `branch='both'`), and kept in `history`,
    a list of dicts with epoch, iter and the metrics in per cent.

    Without labels the hook says so once and stays idle.

    Args:
        train: Config of the dataset whose labels vote; its views should be those of evaluation.
        val: Config of the dataset that is classified. Without it a fifth of `train` is.
        interval: Epochs between evaluations.
        k: Neighbours that vote.
        temperature: Of their votes.
        branch: Whose backbone: `online`, `twin` or `both`.
        stage: Which of the backbone's maps is pooled.
        num_train: Use at most this many images of `train`, always the same random ones.
        num_val: The same for `val`.
        batch_size: Images per batch.
        num_workers: Worker processes of each loader.
        at_start: Evaluate before the first iteration, too.

    Raises:
        ValueError: An unknown `branch`, or `interval` below 1.
    """

    group = "knn"

    def __init__(
        self,
        train: dict[str, Any],
        val: dict[str, Any] | None = None,
        *,
        interval: int = 1,
        k: int = 20,
        temperature: float = 0.07,
        branch: Branches = "online",
        stage: int = -1,
        num_train: int | None = None,
        num_val: int | None = None,
        batch_size: int = 64,
        num_workers: int = 0,
        at_start: bool = True,
    ) -> None:
        super().__init__(interval=interval, branch=branch, at_start=at_start)
        self.train, self.val = train, val
        self.k, self.temperature, self.stage = k, temperature, stage
        self.limits = (num_train, num_val)
        self._loading = dict(batch_size=batch_size, num_workers=num_workers)

    def build_loaders(self, runner) -> list | None:
        """Loaders of `train` and `val`; `None`, with a warning, if one has no label."""
        loaders = []
        for name, config, limit in zip(
            ("train", "val"), (self.train, self.val), self.limits, strict=True
        ):
            if config is None:
                continue
            dataset = build_module(DATASETS, config)
            loader = evaluation_loader(dataset, limit=limit, **self._loading)
            if max(dataset.labels, default=-1) < 0:
                runner.logger.warning(
                    f"KNNHook is idle: no image of its {name} dataset has a label. Put the images "
                    "into one folder per class, or name a labelled folder; label-free measures "
                    "(spread, rank) are logged by CollapseHook."
                )
                return None
            loaders.append(loader)
        return loaders

    def measure(self, runner, loaders: list, branch: Branch) -> dict[str, float]:
        """Top-1 and top-5 accuracy in per cent."""
        sets = [
            labelled(extract_features(runner.model, loader, branch=branch, stage=self.stage))
            for loader in loaders
        ]
        if len(sets) == 1:
            bank, queries = hold_out(sets[0].labels, 0.2)
            sets = [Features(*(part[rows] for part in sets[0])) for rows in (bank, queries)]
        else:
            train, val = (loader.dataset for loader in loaders)
            sets[1] = match_classes(sets[1], val.classes, train.classes)
        device = next(bare_model(runner.model).parameters()).device
        accuracy = weighted_knn(
            sets[1].features.to(device),
            sets[1].labels,
            sets[0].features,
            sets[0].labels,
            k=[self.k],
            temperature=self.temperature,
        )[self.k]
        return dict(top1=accuracy.top1, top5=accuracy.top5)

    def sentence(self, figures: str, epoch: int) -> str:
        """For the log."""
        return f"k-NN (k={self.k}) after epoch {epoch}: {figures} per cent."
