"""K-means as faiss runs it, on rows that may be spread over ranks and larger than the memory.

Johnson, Douze, Jegou: Billion-scale similarity search with GPUs (2017, arXiv 1702.08734); compared with
faiss-cpu 1.15.1. Every choice (which rows train, first centroids of each restart, splits of empty clusters)
follows faiss's own random stream from the seed, so the clusters are faiss's too.

Deviations of `sums="exact"`: centroids are means of sums that do not depend on the order of the rows, where
faiss adds in float32 in the order of the rows. They differ by float32 rounding, and with them, rarely, the
cluster of a row that lies between two. In return the result is the same, bit by bit, on any number of ranks
and with any `chunk`, and later iterations only add and subtract the rows that changed their cluster. Both
search only the rows whose nearest centroid can have changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mmssl.ops.bounded_search import BoundedSearch
from mmssl.ops.cluster_sums import ExactSums, FaissSums
from mmssl.ops.clusterer import Clusterer, KMeansResult
from mmssl.ops.collectives import sum_over_ranks, world_size
from mmssl.ops.faiss_kmeans import FaissKMeans
from mmssl.ops.faiss_random import first_of_permutation, restart_seed, split_empty_clusters
from mmssl.ops.nearest_centroid import NearestCentroid, nearest, whole_tiles
from mmssl.ops.progress_bar import Advance, progress_bar
from mmssl.ops.restarts import Restarts
from mmssl.ops.row_reader import RowReader
from mmssl.ops.sharded_rows import ShardedRows

__all__ = ["CLUSTERERS", "KMeans", "KMeansResult", "build_clusterer", "nearest"]


def _go_on() -> None:
    """Nobody wants to end the work."""


@dataclass(frozen=True, kw_only=True)
class KMeans:
    """Lloyd's algorithm from random rows, several times; the best end counts.

    The defaults are HCSC's and PCL's (arXiv 2202.00455, 2005.04966).

    Args:
        iterations: Of each restart; fewer if the objective stands still.
        restarts: How often it begins anew; faiss calls them redos.
        max_points_per_centroid: If there are more rows than this times k, so many random ones train.
        sums: `"exact"` is independent of order, ranks and chunks. `"faiss"` adds in float32 in the order
            of the rows: bit by bit what faiss-cpu computes, on one process.
        chunk: Rows that are read and brought to the device at a time, rounded up to whole tiles of the
            search (2048 rows on a CPU, 16384 elsewhere).
        device: Where distances are computed; `None`: where the features are. Rows that lie elsewhere are
            moved there once, all of them or at least those that train, if they take no more than half of the
            memory that is free on it (`RowReader.kept`); else chunk by chunk in every iteration.

    Raises:
        ValueError: A number below 1, or unknown `sums`.

    Example:
        >>> rows = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
        >>> result = KMeans().fit(rows, 2, seed=0)
        >>> result.centroids.flatten().sort().values.tolist(), result.objective
        ([0.5, 10.5], 1.0)
    """

    iterations: int = 20
    restarts: int = 5
    max_points_per_centroid: int = 1000
    sums: Literal["exact", "faiss"] = "exact"
    chunk: int = 32768
    device: str | None = None

    def __post_init__(self) -> None:
        for name in ("iterations", "restarts", "max_points_per_centroid", "chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"KMeans needs {name} >= 1, got {getattr(self, name)}.")
        if self.sums not in ("exact", "faiss"):
            raise ValueError(f"sums is 'exact' or 'faiss', got {self.sums!r}.")

    @torch.no_grad()
    def fit(
        self,
        features: Tensor,
        num_clusters: int,
        *,
        seed: int,
        progress: str = "",
        poll: Callable[[], None] = _go_on,
    ) -> KMeansResult:
        """Cluster the rows of all ranks.

        Args:
            features: (n_local, D) this rank's rows: global row i is row i // W of rank i mod W, with W
                ranks; all rows if there is one. Any floating type, on any device; may be mapped from a
                file larger than the memory. Not normalised here.
            num_clusters: k.
            seed: Of all random choices; no global generator is touched.
            progress: Title of a progress bar; empty shows none.
            poll: Called before every iteration, as often on each rank, so it may ask them all; what it raises
                ends the work.

        Raises:
            ValueError: On every rank alike: fewer rows than clusters; rows that are not finite (the
                first are named); rows spread otherwise; `sums="faiss"` on several ranks.
        """
        device = features.device if self.device is None else torch.device(self.device)
        points = ShardedRows(features, chunk=whole_tiles(self.chunk, device), device=device)
        if not 1 <= num_clusters <= points.total:
            raise ValueError(
                f"{num_clusters} clusters need at least as many features, got {points.total}; "
                "ask for fewer clusters."
            )
        if self.sums == "faiss" and world_size() > 1:
            raise ValueError(
                f"sums='faiss' adds in the order of the rows, which {world_size()} ranks do not have; "
                "use sums='exact'."
            )
        with progress_bar(progress, self.restarts * self.iterations + 1) as advance:
            if points.total == num_clusters:
                best = Restarts(points.take(torch.arange(num_clusters)))
            else:
                best = self._best_restart(points, num_clusters, seed, advance, poll)
            search = NearestCentroid(best.centroids)
            assignment = torch.empty(len(features), dtype=torch.long, device=points.device)
            distances = torch.empty(len(features), device=points.device)
            for start, part in points.everything:
                span = slice(start, start + len(part))
                found = search(part)
                distances[span], assignment[span] = found.distances, found.assignment
                advance(len(part) / len(features))
        counts = sum_over_ranks(assignment.bincount(minlength=num_clusters))
        return KMeansResult(
            best.centroids,
            assignment,
            distances,
            best.objective,
            best.history,
            best.objectives,
            counts,
        )

    def _best_restart(
        self,
        points: ShardedRows,
        num_clusters: int,
        seed: int,
        advance: Advance,
        poll: Callable[[], None],
    ) -> Restarts:
        """The restart that ends with the smallest objective; of equal ones the first."""
        num_rows = min(points.total, self.max_points_per_centroid * num_clusters)
        chosen, training = None, points.everything
        if num_rows < points.total:
            chosen = first_of_permutation(points.total, num_rows, seed=seed)
            local = points.local(chosen)
            if self.sums == "exact":
                local = local.sort().values  # files are read faster in their order
            training = points.reader(local)
        best = Restarts(torch.empty(0))
        for restart in range(self.restarts):
            first = first_of_permutation(num_rows, num_clusters, seed=restart_seed(seed, restart))
            centroids = points.take(first if chosen is None else chosen[first])
            found = self._iterate(points, training, num_rows, centroids, advance, poll)
            best = best.with_another(*found)
        return best

    def _iterate(
        self,
        points: ShardedRows,
        training: RowReader,
        num_rows: int,
        centroids: Tensor,
        advance: Advance,
        poll: Callable[[], None],
    ) -> tuple[Tensor, tuple[float, ...]]:
        """Centroids (k, D) and objectives after the iterations of one restart.

        Args:
            points: All rows.
            training: Reads this rank's training rows.
            num_rows: Training rows of all ranks.
            centroids: (k, D) float32 to start from.
            advance: Told the share of an iteration that each chunk is.
            poll: Called before each iteration.
        """
        sums: ExactSums | FaissSums
        if self.sums == "exact":
            sums = ExactSums(points, len(centroids), num_rows=num_rows)
        else:
            sums = FaissSums(points, len(centroids))
        search = BoundedSearch(
            len(training),
            centroids.shape[1],
            largest_square=points.largest_square,
            device=points.device,
        )
        history: list[float] = []
        while len(history) < self.iterations:
            poll()
            search.move_to(centroids)
            for start, part in training:
                sums.add(part, search(start, part))
                advance(len(part) / len(training))
            means = sums.finish()
            centroids = _without_empty(means.centroids, means.counts)
            history.append(means.objective)
            if len(history) > 1 and history[-1] == history[-2]:
                break
        return centroids, tuple(history)


def _without_empty(centroids: Tensor, counts: Tensor) -> Tensor:
    """(k, D) the centroids, those without members (counts (k,)) split from others on the CPU."""
    if bool((counts > 0).all()):
        return centroids
    values = centroids.cpu().numpy().copy()
    split_empty_clusters(values, counts.cpu().numpy())
    return torch.from_numpy(values).to(centroids.device)


CLUSTERERS: dict[str, type] = {kind.__name__: kind for kind in (KMeans, FaissKMeans)}


def build_clusterer(clusterer: Clusterer | dict) -> Clusterer:
    """A clusterer from a config dict such as `dict(type="KMeans", restarts=1)`, or itself.

    Raises:
        KeyError: The dict names no known clusterer.
        TypeError: An argument that it does not take, or an object that cannot `fit`.
    """
    if isinstance(clusterer, dict):
        arguments = dict(clusterer)
        kind = arguments.pop("type", None)
        if kind not in CLUSTERERS:
            raise KeyError(f"Unknown clusterer {kind!r}; choose one of {sorted(CLUSTERERS)}.")
        return CLUSTERERS[kind](**arguments)
    if not hasattr(clusterer, "fit"):
        raise TypeError(f"A clusterer has a method `fit`; got a {type(clusterer).__name__}.")
    return clusterer
