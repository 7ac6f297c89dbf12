"""Which of several restarts of k-means counts."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Restarts(NamedTuple):
    """The best of several restarts.

    Attributes:
        centroids: (k, D) float32 of the best.
        history: Objectives of its iterations; empty if there was none.
        objectives: The last objective of each restart, in their order.
    """

    centroids: Tensor
    history: tuple[float, ...] = ()
    objectives: tuple[float, ...] = ()

    @property
    def objective(self) -> float:
        """The last objective of the best; 0 if there was no iteration."""
        return self.history[-1] if self.history else 0.0

    def with_another(self, centroids: Tensor, history: tuple[float, ...]) -> Restarts:
        """These and one more, which counts if it ends below all of these.

        Args:
            centroids: (k, D) float32 at its end.
            history: Objectives of its iterations, at least one.
        """
        objectives = (*self.objectives, history[-1])
        if self.objectives and history[-1] >= self.objective:
            return self._replace(objectives=objectives)
        return Restarts(centroids, history, objectives)
