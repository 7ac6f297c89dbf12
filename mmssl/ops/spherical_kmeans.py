"""Spherical k-means: unit rows in the directions that are most like them, a fixed number of iterations.

Unsupervised Learning of Visual Features by Contrasting Cluster Assignments, 2020, arXiv 2006.09882, on
DeepCluster-v2; compared with the description of facebookresearch/swav.

Deviations: the first centroids are random rows of all ranks (of the first one there); sums do not depend on
the order of the rows, so the result is the same on any number of ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mmssl.ops.bounded_search import BoundedSearch
from mmssl.ops.cluster_sums import ExactSums
from mmssl.ops.collectives import sum_over_ranks
from mmssl.ops.faiss_random import first_of_permutation
from mmssl.ops.nearest_centroid import whole_tiles
from mmssl.ops.progress_bar import progress_bar
from mmssl.ops.row_reader import RowReader
from mmssl.ops.sharded_rows import ShardedRows, gather_rows

ABSENT = -100
"""The cluster of rows that were left out, which `cross_entropy` ignores."""


class SphericalClusters(NamedTuple):
    """What spherical k-means found.

    Attributes:
        centroids: (K, D) float32 unit directions, the same on every rank.
        assignment: (N,) int32 cluster of each row of all ranks, `ABSENT` for rows that were left out.
        counts: (K,) int64 members on all ranks.
        cosine: Mean cosine of the rows with their centroids.
    """

    centroids: Tensor
    assignment: Tensor
    counts: Tensor
    cosine: float


def _go_on() -> None:
    """Nobody wants to end the work."""


@dataclass(frozen=True, kw_only=True)
class SphericalKMeans:
    """Lloyd's algorithm on the sphere, from random rows.

        assignment_i = argmax_k x_i . c_k;   c_k <- l2(mean of its rows), or as it was without rows

    Args:
        iterations: Of both steps; rows are assigned once more in the end.
        chunk: Rows that are compared at a time; changes memory, never the result.

    Raises:
        ValueError: A number below 1.

    Example:
        >>> rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> found = SphericalKMeans().fit(rows, torch.ones(3, dtype=torch.bool), 2, seed=0)
        >>> bool(found.assignment[0] == found.assignment[2] != found.assignment[1])
        True
    """

    iterations: int = 10
    chunk: int = 32768

    def __post_init__(self) -> None:
        for name in ("iterations", "chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"SphericalKMeans needs {name} >= 1, got {getattr(self, name)}.")

    @torch.no_grad()
    def fit(
        self,
        features: Tensor,
        present: Tensor,
        num_clusters: int,
        *,
        seed: int,
        progress: str = "",
        poll: Callable[[], None] = _go_on,
    ) -> SphericalClusters:
        """Cluster the rows of all ranks that are present.

        Args:
            features: (n_local, D) this rank's unit rows: row i of all is row i // W of rank i mod W.
            present: (n_local,) bool, which of them take part.
            num_clusters: K.
            seed: Of the rows that are the first centroids; no global generator is touched.
            progress: Title of a progress bar; empty shows none.
            poll: Called before every iteration on each rank; what it raises ends the work.

        Raises:
            ValueError: Fewer rows than clusters, or rows that are not finite.
        """
        device = features.device
        points = ShardedRows(features, chunk=whole_tiles(self.chunk, device), device=device)
        there = gather_rows(present, points.total).nonzero().flatten().cpu()
        if not 1 <= num_clusters <= len(there):
            raise ValueError(
                f"{num_clusters} clusters need at least as many embeddings, got {len(there)}: ask for fewer "
                "prototypes."
            )
        drawn = first_of_permutation(len(there), num_clusters, seed=seed)
        centroids = F.normalize(points.take(there[drawn]), dim=1)
        training = points.reader(present.nonzero().flatten())
        with progress_bar(progress, self.iterations + 1) as advance:
            found, cosine = self._iterate(points, training, len(there), centroids, advance, poll)
        assignment = present.new_full((len(features),), ABSENT, dtype=torch.int32)
        assignment[present] = found[1].int()
        counts = sum_over_ranks(found[1].bincount(minlength=num_clusters))
        return SphericalClusters(found[0], gather_rows(assignment, points.total), counts, cosine)

    def _iterate(
        self,
        points: ShardedRows,
        training: RowReader,
        num_rows: int,
        centroids: Tensor,
        advance: Callable[[float], None],
        poll: Callable[[], None],
    ) -> tuple[tuple[Tensor, Tensor], float]:
        """Centroids (K, D) and clusters (m,) of this rank's training rows, and the mean cosine.

        Args:
            points: All rows.
            training: Reads this rank's rows that are present.
            num_rows: Of them, on all ranks.
            centroids: (K, D) to start from.
            advance: Told every finished iteration.
            poll: Called before each.
        """
        # between unit rows the nearest centroid is the one with the largest product
        largest = max(points.largest_square, 1.0)
        search = BoundedSearch(
            len(training), centroids.shape[1], largest_square=largest, device=points.device
        )
        sums = ExactSums(points, len(centroids), num_rows=num_rows)
        for _ in range(self.iterations):
            poll()
            search.move_to(centroids)
            for start, part in training:
                sums.add(part, search(start, part))
            means = sums.finish()
            full = means.counts[:, None] > 0
            centroids = torch.where(full, F.normalize(means.centroids, dim=1), centroids)
            advance(1)
        poll()
        search.move_to(centroids)
        for start, part in training:
            sums.add(part, search(start, part))
        advance(1)
        cosine = 1 - sums.finish().objective / (2 * num_rows)
        return (centroids, search.assigned.long()), cosine
