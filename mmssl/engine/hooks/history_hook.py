"""HistoryHook: figures that a hook finds between epochs, in the log, the charts and the checkpoints."""

from __future__ import annotations

from typing import Any, ClassVar

from mmengine.hooks import Hook


class HistoryHook(Hook):
    """Keep what was found, so that a resumed run has the figures of the run it continues.

    before_train            take up the history of the run that is continued     <-
    before_save_checkpoint  keep it                                              <-
    after_load_checkpoint   read it                                              <-

    A subclass calls `record`.

    Attributes:
        group: First part of the names of the figures; the history stands under `<group>_hook` in
            checkpoints.
        history: A dict with epoch, iter and the figures of each time.
    """

    group: ClassVar[str]

    def __init__(self) -> None:
        self.history: list[dict[str, float]] = []
        self._loaded: dict[str, Any] | None = None

    def before_train(self, runner) -> None:
        """Go on with the history of a resumed run, or start afresh."""
        loaded, self._loaded = self._loaded, None
        self.history = []
        if loaded is not None and loaded["iter"] == runner.iter:
            self.history = list(loaded["history"])

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Put the history into the checkpoint."""
        checkpoint[f"{self.group}_hook"] = dict(
            iter=checkpoint["meta"]["iter"], history=list(self.history)
        )

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Remember it; `before_train` decides whether this run continues that one."""
        self._loaded = checkpoint.get(f"{self.group}_hook")

    def record(self, runner, figures: dict[str, float], *, epoch: int) -> None:
        """Add figures to the history and to the log of scalars.

        Args:
            runner: The run.
            figures: By their whole names.
            epoch: They belong to, as the subclass counts.
        """
        self.history.append(dict(epoch=epoch, iter=runner.iter, **figures))
        for key, value in figures.items():
            runner.message_hub.update_scalar(key, value)
        runner.visualizer.add_scalars(figures, step=runner.iter)
