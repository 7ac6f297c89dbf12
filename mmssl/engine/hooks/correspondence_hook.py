"""CorrespondenceHook: whether the network finds regions again in changed images, during training."""

from __future__ import annotations

from typing import Any

from mmssl.engine.hooks.monitor_hook import Branches, MonitorHook
from mmssl.evaluation.correspondence import (
    NUM_MATCHES,
    correspondence_views,
    measure_correspondence,
)
from mmssl.evaluation.features import Branch, evaluation_loader
from mmssl.registry import HOOKS


@HOOKS.register_module()
class CorrespondenceHook(MonitorHook):
    """Run EsViT's correspondence benchmark every `interval` epochs; it needs no labels.

    before_train            measure the untrained network                   <-
    for each epoch
        before_train_epoch, iterations
        after_train_epoch   measure, when it is due or the last             <-
    before_save_checkpoint  keep the history                                <-
    after_load_checkpoint   take it up again                                <-

    Training goes on as if nothing had happened: no running statistic and no random number generator
    is touched. Logged as `correspondence/accuracy`, the share of hits, and `correspondence/error`, in
    pixels (`correspondence/twin_accuracy` and so on for `branch='both'`), and kept in `history`, a list
    of dicts with epoch, iter and the metrics.

    Args:
        dataset: Config of a dataset of images without `views`; the benchmark's are put in. Or a
            dataset that yields those.
        size: Side of the images in pixels.
        interval: Epochs between measurements.
        branch: Whose backbone: `online`, `twin` or `both`.
        num_images: Use at most this many images, always the same random ones.
        num_matches: How many of the most similar matches of an image count.
        batch_size: Images per batch.
        num_workers: Worker processes of the loader.
        at_start: Measure before the first iteration, too.

    Raises:
        ValueError: An unknown `branch`, `interval` below 1, or a dataset config with views.
    """

    group = "correspondence"

    def __init__(
        self,
        dataset: Any,
        *,
        size: int = 224,
        interval: int = 1,
        branch: Branches = "online",
        num_images: int | None = 500,
        num_matches: int = NUM_MATCHES,
        batch_size: int = 64,
        num_workers: int = 0,
        at_start: bool = True,
    ) -> None:
        super().__init__(interval=interval, branch=branch, at_start=at_start)
        if isinstance(dataset, dict):
            if dataset.get("views") is not None:
                raise ValueError(
                    "CorrespondenceHook puts its own two views into the dataset's config; leave out "
                    "dataset.views and say how large they are with size."
                )
            dataset = {**dataset, "views": correspondence_views(size)}
        self.dataset, self.num_images, self.num_matches = dataset, num_images, num_matches
        self._loading = dict(batch_size=batch_size, num_workers=num_workers)

    def build_loaders(self, runner) -> list:
        """The one loader."""
        return [evaluation_loader(self.dataset, limit=self.num_images, **self._loading)]

    def measure(self, runner, loaders: list, branch: Branch) -> dict[str, float]:
        """Accuracy in [0, 1] and error in pixels."""
        result = measure_correspondence(
            runner.model, loaders[0], branch=branch, num_matches=self.num_matches
        )
        return dict(accuracy=result.accuracy, error=result.error)

    def sentence(self, figures: str, epoch: int) -> str:
        """For the log."""
        return f"Correspondence of regions after epoch {epoch}: {figures} pixels."
