"""Means of the members of clusters, collected while the rows go by chunk by chunk."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmssl.ops.bounded_search import Assigned
from mmssl.ops.collectives import sum_over_ranks
from mmssl.ops.exact_sums import grid_scale, on_grid
from mmssl.ops.sharded_rows import ShardedRows


class ClusterMeans(NamedTuple):
    """What one iteration found.

    Attributes:
        centroids: (k, D) float32 means; 0 where a cluster is empty.
        counts: (k,) float64 members on all ranks.
        objective: Sum of the squared distances of all rows.
    """

    centroids: Tensor
    counts: Tensor
    objective: float


class ExactSums:
    """Sums on a grid: the same for any order of the rows, so also for any number of ranks.

    Since additions are exact they can be undone: from the second iteration on the rows are taken from their
    old cluster and added to the new one, on a CPU only those that changed it.

    Args:
        points: The rows; their largest values determine the grid.
        num_clusters: k.
        num_rows: Rows of all ranks that will go by in each iteration.
    """

    def __init__(self, points: ShardedRows, num_clusters: int, *, num_rows: int) -> None:
        dim, device = points.features.shape[1], points.device
        self.scale = grid_scale(points.largest, num_rows)
        # a mean is not longer than the longest row, a split one by a thousandth
        self.distance_scale = grid_scale(8 * points.largest_square, num_rows)
        self.sums = torch.zeros(num_clusters, dim, dtype=torch.float64, device=device)
        self.counts = torch.zeros(num_clusters, dtype=torch.float64, device=device)
        self.total = torch.zeros((), dtype=torch.float64, device=device)
        # Only rows that changed matter. Looking for them pays where it takes no waiting for a device.
        self.selects = device.type == "cpu"
        self.is_first = True

    def add(self, rows: Tensor, found: Assigned) -> None:
        """Count one chunk.

        Args:
            rows: (m, D) float32.
            found: Their clusters and distances.
        """
        old, new = found.before.long(), found.assignment
        if self.selects:
            changed = (old != new).nonzero().flatten()
            rows, old, new = rows[changed], old[changed], new[changed]
        values = on_grid(rows, self.scale)
        ones = torch.ones(len(new), dtype=torch.float64, device=rows.device)
        # Taken away first: no partial sum has a row twice, as the grid has no room for that.
        if not self.is_first:
            self.sums.index_add_(0, old, values, alpha=-1)
            self.counts.index_add_(0, old, ones, alpha=-1)
        self.sums.index_add_(0, new, values)
        self.counts.index_add_(0, new, ones)
        self.total += on_grid(found.distances, self.distance_scale).sum()

    def finish(self) -> ClusterMeans:
        """The means over all ranks; the next iteration may begin."""
        everything = torch.cat([self.sums.flatten(), self.counts, self.total[None]])
        everything = sum_over_ranks(everything)
        sums, counts, total = everything.split([self.sums.numel(), len(self.counts), 1])
        self.total.zero_()
        self.is_first = False
        means = sums.view_as(self.sums) / self.scale / counts.clamp(min=1)[:, None]
        return ClusterMeans(means.float(), counts, float(total) / self.distance_scale)


class FaissSums:
    """Sums as faiss makes them on one process: in float32, in the order of the rows.

    Args:
        points: The rows.
        num_clusters: k.
    """

    def __init__(self, points: ShardedRows, num_clusters: int) -> None:
        # On the CPU also for rows on a GPU, whose additions have no order.
        self.sums = torch.zeros(num_clusters, points.features.shape[1])
        self.counts = torch.zeros(num_clusters, dtype=torch.float64)
        self.total = np.float32(0)
        self.device = points.device

    def add(self, rows: Tensor, found: Assigned) -> None:
        """Count one chunk; see `ExactSums.add`."""
        clusters = found.assignment.cpu()
        self.sums.index_add_(0, clusters, rows.cpu())
        self.counts += clusters.bincount(minlength=len(self.counts))
        terms = np.concatenate([[self.total], found.distances.cpu().numpy()], dtype=np.float32)
        self.total = np.add.accumulate(terms)[-1]

    def finish(self) -> ClusterMeans:
        """The means; the next iteration may begin."""
        means = self.sums * (1 / self.counts.float().clamp(min=1))[:, None]
        found = ClusterMeans(means.to(self.device), self.counts.to(self.device), float(self.total))
        self.sums, self.counts = torch.zeros_like(self.sums), torch.zeros_like(self.counts)
        self.total = np.float32(0)
        return found
