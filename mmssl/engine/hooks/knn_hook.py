"""KNNHook: k-NN accuracy of the backbone on labelled images, during training."""

from __future__ import annotations

from typing import Any, Literal

from mmengine.hooks import Hook

from mmssl.evaluation.features import (
    Branch,
    Features,
    bare_model,
    evaluation_loader,
    extract_features,
    labelled,
    match_classes,
    select_backbone,
)
from mmssl.evaluation.linear_probe import hold_out
from mmssl.evaluation.rng import preserved_rng
from mmssl.ops.knn import weighted_knn
from mmssl.registry import DATASETS, HOOKS, build_module

STATE = "knn_hook"


@HOOKS.register_module()
class KNNHook(Hook):
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

    priority = "LOW"

    def __init__(
        self,
        train: dict[str, Any],
        val: dict[str, Any] | None = None,
        *,
        interval: int = 1,
        k: int = 20,
        temperature: float = 0.07,
        branch: Literal["online", "twin", "both"] = "online",
        stage: int = -1,
        num_train: int | None = None,
        num_val: int | None = None,
        batch_size: int = 64,
        num_workers: int = 0,
        at_start: bool = True,
    ) -> None:
        if branch not in ("online", "twin", "both") or interval < 1:
            raise ValueError(
                "KNNHook takes branch 'online', 'twin' or 'both' and an interval of at least 1, got "
                f"{branch!r} and {interval}."
            )
        self.branches: list[Branch] = ["online", "twin"] if branch == "both" else [branch]
        self.train, self.val = train, val
        self.interval, self.k, self.temperature, self.stage = interval, k, temperature, stage
        self.limits = (num_train, num_val)
        self._loading = dict(batch_size=batch_size, num_workers=num_workers)
        self.at_start = at_start
        self.history: list[dict[str, float]] = []
        self._loaded: dict[str, Any] | None = None
        self._loaders: list | None = None

    def before_train(self, runner) -> None:
        """Build the loaders, take up the history of a resumed run, evaluate at iteration 0.

        Raises:
            ValueError: The model lacks the branch.
        """
        for branch in self.branches:
            select_backbone(bare_model(runner.model), branch)
        loaded, self._loaded = self._loaded, None
        self.history = []
        if loaded is not None and loaded["iter"] == runner.iter:
            self.history = list(loaded["history"])
        with preserved_rng():
            self._loaders = self._build_loaders(runner)
        if self.at_start and runner.iter == 0:
            self._evaluate(runner, epoch=0)

    def after_train_epoch(self, runner) -> None:
        """Evaluate every `interval` epochs and behind the last one."""
        if runner.train_loop.stop_training:
            return  # the run is asked to end now
        done = runner.epoch + 1
        if done % self.interval == 0 or done == runner.max_epochs:
            self._evaluate(runner, epoch=done)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Put the history into the checkpoint."""
        checkpoint[STATE] = dict(iter=checkpoint["meta"]["iter"], history=list(self.history))

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Remember it; `before_train` decides whether this run continues that one."""
        self._loaded = checkpoint.get(STATE)

    def _build_loaders(self, runner) -> list | None:
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

    def _evaluate(self, runner, epoch: int) -> None:
        if self._loaders is None:
            return
        metrics: dict[str, float] = {}
        with preserved_rng():
            for branch in self.branches:
                sets = [
                    labelled(
                        extract_features(runner.model, loader, branch=branch, stage=self.stage)
                    )
                    for loader in self._loaders
                ]
                if len(sets) == 1:
                    bank, queries = hold_out(sets[0].labels, 0.2)
                    sets = [Features(*(part[rows] for part in sets[0])) for rows in (bank, queries)]
                else:
                    train, val = (loader.dataset for loader in self._loaders)
                    sets[1] = match_classes(sets[1], val.classes, train.classes)
                accuracy = weighted_knn(
                    sets[1].features,
                    sets[1].labels,
                    sets[0].features,
                    sets[0].labels,
                    k=[self.k],
                    temperature=self.temperature,
                )[self.k]
                prefix = f"knn/{branch}_" if len(self.branches) > 1 else "knn/"
                metrics[f"{prefix}top1"] = accuracy.top1
                metrics[f"{prefix}top5"] = accuracy.top5
        self.history.append(dict(epoch=epoch, iter=runner.iter, **metrics))
        for key, value in metrics.items():
            runner.message_hub.update_scalar(key, value)
        runner.visualizer.add_scalars(metrics, step=runner.iter)
        figures = ", ".join(f"{key} {value:.2f}" for key, value in metrics.items())
        runner.logger.info(f"k-NN (k={self.k}) after epoch {epoch}: {figures} per cent.")
