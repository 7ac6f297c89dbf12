"""ImageMetric: metrics of mmengine's validation loop that count every image exactly once."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

from mmssl.evaluation.features import rows_of_all_ranks
from mmssl.ops.collectives import wire_device, world_size
from mmssl.structures import Predictions


class ImageMetric(BaseMetric):
    """A figure over images, whatever the number of ranks, the batch size and the order.

    mmengine drops what is behind the length of the data set, which counts on the order of a sampler; the
    official scripts average over batches. Here each image has a row, known by its place in the data
    set, so that what a sampler repeats to give all ranks as much counts once. Every rank gets all rows
    and the same figures.

    A subclass says what the row of an image is, and what follows from all rows.

    Args:
        prefix: First part of the names of the figures; default: the class's.
    """

    def __init__(self, prefix: str | None = None) -> None:
        super().__init__(prefix=prefix)

    @abstractmethod
    def rows(self, predictions: Predictions) -> Tensor:
        """What is kept of each image of a batch, (B, R)."""

    @abstractmethod
    def figures(self, rows: Tensor) -> dict[str, float]:
        """The figures, from the rows (n, R) of all images in the order of the data set."""

    def process(self, data_batch: Any, data_samples: Sequence[Predictions]) -> None:
        """Keep the rows of a batch.

        Raises:
            ValueError: Scores that are not finite.
        """
        for predictions in data_samples:
            wrong = ~predictions.scores.isfinite().all(dim=1)
            if wrong.any():
                raise ValueError(
                    f"The scores of {int(wrong.sum())} images are not finite, the first is image "
                    f"{int(predictions.index[wrong][0])} of the validation set: the classifier diverged. "
                    "Lower the learning rate."
                )
            self.results.append((predictions.index.cpu(), self.rows(predictions).cpu()))

    def compute_metrics(self, results: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
        """The figures of (index, rows) of any number of batches."""
        index, rows = (torch.cat(parts) for parts in zip(*results, strict=True))
        positions, inverse = index.unique(return_inverse=True)
        # The last write wins, and duplicates are equal.
        chosen = torch.empty_like(positions).scatter_(0, inverse, torch.arange(len(index)))
        return self.figures(rows[chosen])

    def evaluate(self, size: int) -> dict[str, float]:
        """The figures over the images of all ranks.

        Args:
            size: Images of the data set.

        Raises:
            ValueError: No image was seen.
        """
        if not self.results:
            raise ValueError(
                f"{type(self).__name__} saw no image: the validation loader yields no batch on this process."
            )
        index, rows = (torch.cat(parts) for parts in zip(*self.results, strict=True))
        self.results.clear()
        if world_size() > 1:
            index, rows = (rows_of_all_ranks(part, wire_device()) for part in (index, rows))
        counted = len(index.unique())
        if counted < size:
            print_log(
                f"{type(self).__name__}: {counted} of {size} images were counted. The others are "
                "unreadable or dropped by the loader.",
                logger="current",
                level=logging.WARNING,
            )
        figures = self.compute_metrics([(index, rows)])
        return {f"{self.prefix}/{name}": value for name, value in figures.items()}
