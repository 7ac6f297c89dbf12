"""MonitorHook: what hooks share that measure the network between epochs and leave the training alone."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

from mmssl.engine.hooks.history_hook import HistoryHook
from mmssl.evaluation.features import Branch, select_backbone
from mmssl.evaluation.rng import preserved_rng
from mmssl.models.algorithms.base import bare_model

Branches = Literal["online", "twin", "both"]


class MonitorHook(HistoryHook):
    """Measure the network every `interval` epochs.

    before_train            build the loaders; measure the untrained network    <-
    for each epoch
        before_train_epoch, iterations
        after_train_epoch   measure, when it is due or the last                 <-
    before_save_checkpoint  keep the history                                    <-
    after_load_checkpoint   take it up again                                    <-

    Training goes on as if nothing had happened: no running statistic and no random number generator
    is touched. A metric is logged as `<group>/<name>` (`<group>/twin_<name>` and so on for
    `branch='both'`) and kept in `history`, a list of dicts with epoch, iter and the metrics.

    A subclass says what it measures.

    Args:
        interval: Epochs between measurements.
        branch: Whose backbone: `online`, `twin` or `both`.
        at_start: Measure before the first iteration, too.

    Raises:
        ValueError: An unknown `branch`, or `interval` below 1.
    """

    priority = "LOW"
    counts_epochs: ClassVar[tuple[str, ...]] = ("interval",)

    def __init__(self, *, interval: int, branch: Branches, at_start: bool) -> None:
        if branch not in ("online", "twin", "both") or interval < 1:
            raise ValueError(
                f"{type(self).__name__} takes branch 'online', 'twin' or 'both' and an interval of at "
                f"least 1, got {branch!r} and {interval}."
            )
        super().__init__()
        self.branches: list[Branch] = ["online", "twin"] if branch == "both" else [branch]
        self.interval, self.at_start = interval, at_start
        self._loaders: list | None = None

    @abstractmethod
    def build_loaders(self, runner) -> list | None:
        """The loaders of the images to look at; `None` if nothing can be measured: stay idle."""

    @abstractmethod
    def measure(self, runner, loaders: list, branch: Branch) -> dict[str, float]:
        """The metrics of one branch by their names."""

    @abstractmethod
    def sentence(self, figures: str, epoch: int) -> str:
        """What is logged; `figures` lists the metrics."""

    def before_train(self, runner) -> None:
        """Build the loaders, take up the history of a resumed run, measure at iteration 0.

        Raises:
            ValueError: The model lacks the branch.
        """
        for branch in self.branches:
            select_backbone(bare_model(runner.model), branch)
        super().before_train(runner)
        with preserved_rng():
            self._loaders = self.build_loaders(runner)
        if self.at_start and runner.iter == 0:
            self._measure(runner, epoch=0)

    def after_train_epoch(self, runner) -> None:
        """Measure every `interval` epochs and behind the last one."""
        if runner.train_loop.stop_training:
            return  # the run is asked to end now
        done = runner.epoch + 1
        if done % self.interval == 0 or done == runner.max_epochs:
            self._measure(runner, epoch=done)

    def _measure(self, runner, epoch: int) -> None:
        if self._loaders is None:
            return
        metrics: dict[str, float] = {}
        with preserved_rng():
            for branch in self.branches:
                prefix = f"{self.group}/{branch}_" if len(self.branches) > 1 else f"{self.group}/"
                found = self.measure(runner, self._loaders, branch)
                metrics.update({f"{prefix}{name}": value for name, value in found.items()})
        self.record(runner, metrics, epoch=epoch)
        figures = ", ".join(f"{key} {value:.2f}" for key, value in metrics.items())
        runner.logger.info(self.sentence(figures, epoch))
