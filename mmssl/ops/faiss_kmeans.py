"""K-means by faiss itself, with the interface of `KMeans`: a cross-check and an optional backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmssl.ops.clusterer import KMeansResult
from mmssl.ops.collectives import from_first_rank, gather_objects
from mmssl.ops.faiss_random import RESTART_STEP, first_of_permutation
from mmssl.ops.first_rank import on_first_rank
from mmssl.ops.progress_bar import Advance, progress_bar
from mmssl.ops.restarts import Restarts
from mmssl.ops.sharded_rows import ShardedRows, gather_rows, own_rows


def _faiss() -> Any:
    """The module, if it is installed.

    Raises:
        ImportError: It is not.
    """
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            "FaissKMeans needs faiss: `pip install faiss-cpu`. KMeans gives the same clusters without."
        ) from error
    return faiss


@dataclass(frozen=True, kw_only=True)
class FaissKMeans:
    """faiss's k-means on the CPU. The rows of all ranks are gathered, in float32, and rank 0 clusters.

    Every rank holds all rows of all ranks twice while they are gathered, so this is for sets that are small
    against its memory; with NCCL also against that of its GPU. There is no limit of time: the others wait
    in short calls, and an error of rank 0 is raised by all.

    Args:
        iterations: Of each restart; fewer if the objective stands still.
        restarts: How often it begins anew.
        max_points_per_centroid: If there are more rows than this times k, so many random ones train.

    Raises:
        ValueError: A number below 1.

    Example:
        >>> FaissKMeans(restarts=1).restarts
        1
    """

    iterations: int = 20
    restarts: int = 5
    max_points_per_centroid: int = 1000

    def __post_init__(self) -> None:
        for name in ("iterations", "restarts", "max_points_per_centroid"):
            if getattr(self, name) < 1:
                raise ValueError(f"FaissKMeans needs {name} >= 1, got {getattr(self, name)}.")

    @torch.no_grad()
    def fit(
        self, features: Tensor, num_clusters: int, *, seed: int, progress: str = ""
    ) -> KMeansResult:
        """Cluster the rows of all ranks; arguments and result as those of `KMeans.fit`.

        Raises:
            ImportError: faiss is not installed (where rank 0 is).
            ValueError: As `KMeans.fit` does.
            RuntimeError: What faiss refuses; as every error, on every rank.
        """
        points = ShardedRows(features, chunk=16384, device=torch.device("cpu"))
        total, dim = points.total, features.shape[1]
        if not 1 <= num_clusters <= total:
            raise ValueError(
                f"{num_clusters} clusters need at least as many features, got {total}; "
                "ask for fewer clusters."
            )
        everything = gather_rows(features.float().cpu(), total)

        def work() -> tuple[Restarts, Tensor, Tensor]:
            with progress_bar(progress, self.restarts) as advance:
                return self._cluster(everything, num_clusters, seed, advance)

        found = on_first_rank(work)
        if found is None:
            empty = torch.empty(num_clusters, dim), torch.empty(total)
            found = Restarts(empty[0]), empty[1], torch.empty(total, dtype=torch.long)
        best = Restarts(from_first_rank(found[0].centroids), *gather_objects(found[0][1:])[0])
        distances, assignment = from_first_rank(found[1]), from_first_rank(found[2])
        return KMeansResult(
            best.centroids.to(features.device),
            own_rows(assignment).to(features.device),
            own_rows(distances).to(features.device),
            best.objective,
            best.history,
            best.objectives,
            assignment.bincount(minlength=num_clusters).to(features.device),
        )

    def _cluster(
        self, rows: Tensor, num_clusters: int, seed: int, advance: Advance
    ) -> tuple[Restarts, Tensor, Tensor]:
        """The best restart; of all rows (n, D) the squared distances (n,) and nearest centroids (n,)."""
        faiss = _faiss()
        best = self._train(faiss, rows, num_clusters, seed, advance)
        index = faiss.IndexFlatL2(rows.shape[1])
        index.add(best.centroids.numpy())
        distances, assignment = index.search(rows.contiguous().numpy(), 1)
        return best, torch.from_numpy(distances[:, 0]), torch.from_numpy(assignment[:, 0])

    def _train(
        self, faiss: Any, rows: Tensor, num_clusters: int, seed: int, advance: Advance
    ) -> Restarts:
        """The best restart; each is a run of its own in faiss.

        faiss's own loop over restarts keeps only the objectives of all of them in one list. The first
        restart of the seed s + r * 15486557 is restart r of the seed s.
        """
        num_rows = min(len(rows), self.max_points_per_centroid * num_clusters)
        if num_rows < len(rows):
            rows = rows[first_of_permutation(len(rows), num_rows, seed=seed)]
        rows = rows.contiguous()
        if num_rows == num_clusters:
            return Restarts(rows.clone())
        best = Restarts(rows[:0])
        for restart in range(self.restarts):
            run = faiss.Kmeans(
                rows.shape[1],
                num_clusters,
                niter=self.iterations,
                nredo=1,
                seed=seed + RESTART_STEP * restart,
                max_points_per_centroid=num_rows,
                min_points_per_centroid=1,
            )
            run.train(rows.numpy())
            history = tuple(float(value) for value in run.obj)
            best = best.with_another(torch.from_numpy(run.centroids), history)
            advance(1)
        return best
