"""What every k-means of the project takes and gives, whatever computes it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor


class KMeansResult(NamedTuple):
    """k clusters of n rows of size D, of which this rank holds n_local.

    Attributes:
        centroids: (k, D) float32 means, not normalised; the same on every rank.
        assignment: (n_local,) int64 nearest centroid of each row; of equally near ones the first.
        distances: (n_local,) float32 squared distance to it.
        objective: Sum of the squared distances of the training rows in the last iteration of the best
            restart, that is before the last update of the centroids; 0 if there was no iteration.
        history: The objectives of all iterations of the best restart.
        objectives: The last objective of each restart, in their order; empty if there was no iteration.
        counts: (k,) int64 rows of all ranks per centroid; 0 is possible.
    """

    centroids: Tensor
    assignment: Tensor
    distances: Tensor
    objective: float
    history: tuple[float, ...]
    objectives: tuple[float, ...]
    counts: Tensor


class Clusterer(Protocol):
    """Anything that clusters rows as `KMeans` does."""

    def fit(
        self, features: Tensor, num_clusters: int, *, seed: int, progress: str = ""
    ) -> KMeansResult:
        """Cluster the rows of all ranks; see `KMeans.fit`."""
        ...
