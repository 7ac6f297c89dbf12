"""The nearest of moving centroids, without computing again what the triangle inequality decides.

Hamerly: Making k-means even faster (SDM 2010). A row keeps its centroid if that is nearer than the second
one was, less the way that any other has gone since. A few centroids always go far, which would spoil the
bound of every row, so those are searched for all rows. Decisions leave room for all rounding errors of a
search: the result is bit by bit that of searching every row among all centroids in every iteration.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmssl.ops.nearest_centroid import GROUP, Nearest, NearestCentroid

FAST_SHARE = 1 / 32


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
        searched: Rows that were searched among all centroids since these moved.
    """

    def __init__(
        self, num_rows: int, dim: int, *, largest_square: float, device: torch.device
    ) -> None:
        self.slack = (dim + 16) * 2.0**-24 * 16 * largest_square
        self.assigned = torch.full((num_rows,), -1, dtype=torch.int32, device=device)
        # No centroid but its own was nearer to a row than this.
        self.limit = torch.zeros(num_rows, device=device)
        self.search: NearestCentroid | None = None
        self.fast: NearestCentroid | None = None
        self.fast_ids = torch.empty(0, dtype=torch.long, device=device)
        self.way = 0.0
        self.searched = 0
        # Sum of what separates the rows from their second centroids, when all were last searched.
        self.gaps = torch.zeros((), dtype=torch.float64, device=device)

    def move_to(self, centroids: Tensor) -> None:
        """Give the centroids (k, D) of the next iteration."""
        self.fast = None
        if self.search is not None:
            moved = (centroids.double() - self.search.centroids.double()).norm(dim=1)
            count = min(len(centroids), max(GROUP, int(len(centroids) * FAST_SHARE)))
            way, order = moved.sort(descending=True)
            # of all that are not searched anyway
            self.way = float(way[count]) * (1 + 1e-6) if count < len(way) else 0.0
            if self.way * len(self.limit) < float(self.gaps):
                self.fast_ids = order[:count]
                self.fast = NearestCentroid(centroids[self.fast_ids])
        # At first, or because most rows would have to be searched all the same, all will be.
        if self.fast is None:
            self.gaps.zero_()
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
        if self.fast is None:
            found = self.search(rows)
            limit = self._remember(span, found)
            self.gaps += (limit - found.distances.sqrt()).sum()
            self.searched += len(rows)
            return Assigned(found.distances, found.assignment, before)
        distances, assignment = self.search.distances(rows, before), before.clone()
        limit = self._lower(self.limit[span], rows, before)
        # A device is waited for here: how many rows are left decides the size of the product.
        unsure = (distances + self.slack >= limit.square()).nonzero().flatten()
        if len(unsure):
            found = self.search(rows[unsure])
            distances[unsure], assignment[unsure] = found.distances, found.assignment
            self._remember(start + unsure, found)
        self.searched += len(unsure)
        return Assigned(distances, assignment, before)

    def _remember(self, where: slice | Tensor, found: Nearest) -> Tensor:
        """(m,) the limits of the rows `where`, which were searched; stored with what was found."""
        limit = self._as_limit(found.second)
        self.limit[where] = limit
        self.assigned[where] = found.assignment.int()
        return limit

    def _lower(self, limit: Tensor, rows: Tensor, own: Tensor) -> Tensor:
        """(m,) the limits after the last move, also stored in `limit`, a view of those before it."""
        assert self.fast is not None
        found = self.fast(rows)
        is_own = self.fast_ids[found.assignment] == own
        other = self._as_limit(torch.where(is_own, found.second, found.distances))
        slow = (limit - self.way).mul_(1 - 2.0**-20)
        return limit.copy_(torch.minimum(slow, other).clamp_(min=0))

    def _as_limit(self, squares: Tensor) -> Tensor:
        """(m,) distances that surely are not above the roots of (m,) computed squares."""
        return (squares - self.slack).clamp_(min=0).sqrt_().mul_(1 - 2.0**-20)
