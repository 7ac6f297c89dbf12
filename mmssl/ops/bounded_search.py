"""The nearest of moving centroids, without computing again what the triangle inequality decides.

Hamerly: Making k-means even faster (SDM 2010). A row keeps its centroid if that is nearer than the second
one was, less the way that any centroid has gone since. The decision leaves room for all rounding errors of a
search, so the result is bit by bit that of searching every row in every iteration.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmssl.ops.nearest_centroid import NearestCentroid


class Assigned(NamedTuple):
    """Where m rows are.

    Attributes:
        distances: (m,) float32 squared distances to the nearest centroid.
        assignment: (m,) int64 nearest centroids.
        before: (m,) int64 those before the centroids moved; -1 at first.
    """

    distances: Tensor
    assignment: Tensor
    before: Tensor


class BoundedSearch:
    """Search of the same rows among centroids that move from iteration to iteration.

    Args:
        num_rows: m of this rank.
        dim: D.
        largest_square: Not below the squared length of any row, so of any mean of rows.
        device: Of rows and centroids.

    Attributes:
        slack: More than the rounding errors of two squared distances, of whatever order of the sums.
        searched: Rows that were searched since the centroids moved.
    """

    def __init__(
        self, num_rows: int, dim: int, *, largest_square: float, device: torch.device
    ) -> None:
        self.slack = (dim + 16) * 2.0**-24 * 16 * largest_square
        self.assigned = torch.full((num_rows,), -1, dtype=torch.int32, device=device)
        # Distance to the second centroid, plus the way of the centroids until then.
        self.limit = torch.full((num_rows,), -torch.inf, device=device)
        self.way = 0.0
        self.search: NearestCentroid | None = None
        self.searched = 0

    def move_to(self, centroids: Tensor) -> None:
        """Give the centroids (k, D) of the next iteration."""
        if self.search is not None:
            moved = (centroids.double() - self.search.centroids.double()).norm(dim=1)
            self.way += float(moved.max()) * (1 + 1e-6)
        self.search = NearestCentroid(centroids)
        self.searched = 0

    def __call__(self, start: int, rows: Tensor) -> Assigned:
        """The nearest centroid of each row; of equally near ones the first.

        Args:
            start: How many of the rows come before.
            rows: (m, D) float32.
        """
        assert self.search is not None
        span = slice(start, start + len(rows))
        before = self.assigned[span].long()
        if self.way == 0.0:  # nothing is known, or nothing moved: cheaper than asking each row
            open_rows = torch.arange(len(rows), device=rows.device)
            distances = torch.empty(len(rows), device=rows.device)
        else:
            distances = self.search.distances(rows, before)
            bound = (self.limit[span] - self.way).clamp_(min=0).square_()
            open_rows = (distances + self.slack >= bound).nonzero().flatten()
        assignment = before.clone()
        if len(open_rows):
            found = self.search(rows[open_rows])
            distances[open_rows], assignment[open_rows] = found.distances, found.assignment
            limit = (found.second - self.slack).clamp_(min=0).sqrt_() + self.way
            self.limit[start + open_rows] = limit.mul_(1 - 2.0**-20)
            self.assigned[start + open_rows] = found.assignment.int()
        self.searched += len(open_rows)
        return Assigned(distances, assignment, before)
