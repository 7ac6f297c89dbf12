"""The nearest of many centroids for each row, without ever holding all distances.

Nearest is what has the smallest |c|^2 - 2 x.c, which comes out of one matrix product whose rows have a one
appended. The minimum over the centroids is taken in groups: a vectorised minimum over each group, then
the best group, then the place in it, which costs a tenth of the product instead of two thirds. The distance
itself is then the sum over (x - c)^2: it is 0 for equal rows, where the product would leave rounding errors.

Rows are handled in tiles of one size, the last one filled up, so that the same kernels see every row and
its float32 distances do not depend on where it lies, on the number of rows or on that of processes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmssl.ops.precision import full_float32

GROUP = 64
# Centroids of one product: with a tile of rows at most 32 MB on a CPU, near its caches.
BLOCK = 4096
TILE_ROWS = {"cpu": 2048}
TILE_ROWS_OF_ACCELERATOR = 16384


def tile_rows(device: torch.device) -> int:
    """Rows of one matrix product on a device."""
    return TILE_ROWS.get(device.type, TILE_ROWS_OF_ACCELERATOR)


def whole_tiles(chunk: int, device: torch.device) -> int:
    """`chunk` rows, rounded up to what fills tiles on the device; a part of a tile would cost as much."""
    rows = tile_rows(device)
    return -(-chunk // rows) * rows


class Nearest(NamedTuple):
    """What a search finds for m rows.

    Attributes:
        distances: (m,) float32 squared distances to the nearest centroid.
        assignment: (m,) int64 nearest centroids.
        second: (m,) float32 squared distance to the next centroid, with the rounding errors of the product;
            infinite if there is only one.
    """

    distances: Tensor
    assignment: Tensor
    second: Tensor


class NearestCentroid:
    """Search among fixed centroids.

    Args:
        centroids: (k, D) float32 on the device of the search, k >= 1.
    """

    def __init__(self, centroids: Tensor) -> None:
        self.dim = centroids.shape[1]
        self.centroids = centroids
        self.blocks = [self._product(block) for block in centroids.split(BLOCK)]
        rows = tile_rows(centroids.device)
        self.tile = centroids.new_zeros(rows, self.dim + 1)
        self.tile[:, -1] = 1.0
        self.differences = centroids.new_empty(rows, self.dim)
        self.rows = torch.arange(rows, device=centroids.device)
        self.scores = centroids.new_empty(max(map(len, self.blocks)), rows)

    @staticmethod
    def _product(centroids: Tensor) -> Tensor:
        """(k', D + 1) factors -2 c and |c|^2, filled up to whole groups with what is never nearest."""
        count, dim = centroids.shape
        factors = centroids.new_zeros(-(-count // GROUP) * GROUP, dim + 1)
        factors[:count, :dim] = centroids * -2
        factors[:count, dim] = centroids.square().sum(1)
        factors[count:, dim] = torch.inf
        return factors

    def __call__(self, rows: Tensor) -> Nearest:
        """The nearest centroid of each row; of equally near ones the first.

        Args:
            rows: (m, D) finite values of any floating type, on the device of the centroids.
        """
        found = Nearest(
            torch.empty(len(rows), device=rows.device),
            torch.empty(len(rows), dtype=torch.long, device=rows.device),
            torch.empty(len(rows), device=rows.device),
        )
        with full_float32(rows.device):
            for start in range(0, len(rows), len(self.tile)):
                part = rows[start : start + len(self.tile)]
                self.tile[: len(part), : self.dim] = part
                for whole, values in zip(found, self._nearest_of_tile(), strict=True):
                    whole[start : start + len(part)] = values[: len(part)]
        return found

    def distances(self, rows: Tensor, assignment: Tensor) -> Tensor:
        """The distances that a search would return, if it found these centroids.

        Args:
            rows: (m, D) as for a search.
            assignment: (m,) a centroid for each.

        Returns:
            (m,) float32 squared distances.
        """
        found = torch.empty(len(rows), device=rows.device)
        where = torch.zeros(len(self.tile), dtype=torch.long, device=rows.device)
        for start in range(0, len(rows), len(self.tile)):
            part = rows[start : start + len(self.tile)]
            self.tile[: len(part), : self.dim] = part
            where[: len(part)] = assignment[start : start + len(part)]
            found[start : start + len(part)] = self._distances_of_tile(where)[: len(part)]
        return found

    def _distances_of_tile(self, where: Tensor) -> Tensor:
        """(tile,) squared distances of the rows of the tile to centroids `where` (tile,)."""
        found = torch.index_select(self.centroids, 0, where, out=self.differences)
        return found.sub_(self.tile[:, : self.dim]).square_().sum(1)

    def _nearest_of_tile(self) -> Nearest:
        best, where, second = self._nearest_of_block(self.blocks[0])
        for number, block in enumerate(self.blocks[1:], 1):
            score, place, runner_up = self._nearest_of_block(block)
            second = torch.minimum(torch.minimum(second, runner_up), torch.maximum(best, score))
            # strictly: of equal ones the earlier stays
            nearer = score < best
            best = torch.where(nearer, score, best)
            where = torch.where(nearer, place + number * BLOCK, where)
        second += self.tile[:, : self.dim].square().sum(1)
        return Nearest(self._distances_of_tile(where), where, second)

    def _nearest_of_block(self, factors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(tile,) smallest |c|^2 - 2 x.c of a block, which centroid of the block has it, and the next."""
        scores = torch.mm(factors, self.tile.T, out=self.scores[: len(factors)])
        groups = scores.view(-1, GROUP, len(self.tile))
        smallest = groups.amin(1)
        best, group = smallest.min(0)
        inside = groups[group, :, self.rows]
        place = inside.min(1, keepdim=True).indices
        smallest.scatter_(0, group[None], torch.inf)
        inside.scatter_(1, place, torch.inf)
        second = torch.minimum(smallest.amin(0), inside.amin(1))
        return best, group * GROUP + place[:, 0], second


@torch.no_grad()
def nearest(features: Tensor, centroids: Tensor, *, chunk: int = 16384) -> tuple[Tensor, Tensor]:
    """The nearest centroid of each row; of equally near ones the first.

    Args:
        features: (n, D) finite rows of any floating type; may lie on another device than the centroids
            and be mapped from a file.
        centroids: (k, D), k >= 1; the search runs on their device.
        chunk: Rows that are brought to that device at a time, rounded up to whole tiles; changes memory,
            never the result.

    Returns:
        (n,) float32 squared distances and (n,) int64 centroids, on the device of the centroids.

    Raises:
        ValueError: There is no centroid, or rows and centroids differ in length.

    Example:
        >>> nearest(torch.tensor([[0.0], [3.0]]), torch.tensor([[1.0], [3.0]]))
        (tensor([1., 0.]), tensor([0, 1]))
    """
    if features.ndim != 2 or centroids.ndim != 2 or features.shape[1] != centroids.shape[1]:
        raise ValueError(
            f"The nearest centroid needs rows of one length, got features of shape "
            f"{tuple(features.shape)} and centroids of shape {tuple(centroids.shape)}."
        )
    if len(centroids) == 0 or chunk < 1:
        raise ValueError(f"Needs a centroid and chunk >= 1, got {len(centroids)} and {chunk}.")
    search = NearestCentroid(centroids.float())
    distances = torch.empty(len(features), device=centroids.device)
    assignment = torch.empty(len(features), dtype=torch.long, device=centroids.device)
    chunk = whole_tiles(chunk, centroids.device)
    for start in range(0, len(features), chunk):
        part = features[start : start + chunk].to(centroids.device)
        found = search(part)
        distances[start : start + chunk] = found.distances
        assignment[start : start + chunk] = found.assignment
    return distances, assignment
