"""How well two partitions of the same points agree.

Strehl and Ghosh, Cluster ensembles (JMLR 2002): normalised mutual information. Vinh, Epps and Bailey,
Information theoretic measures for clusterings comparison (JMLR 2010): its adjustment for chance, with the
arithmetic mean. Hubert and Arabie, Comparing partitions (1985): adjusted Rand index. Equal to scikit-learn's
functions of these names, limit cases included. Everything is counted in int64 and float64, in a sparse table
of the pairs of groups that occur. The points are read chunk by chunk, so beyond them the table is all that
takes memory; where few pairs are possible no point is sorted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

_CHUNK = 1 << 18
_MOST_CELLS = 1 << 24
_CELLS_PER_POINT = 16


class Contingency(NamedTuple):
    """Sizes of the groups of two partitions of n points, A and B of them, and of their intersections.

    Attributes:
        rows: (P,) int64 group of the first partition, numbered 0 to A - 1 in ascending order of labels.
        columns: (P,) int64 group of the second partition, 0 to B - 1; pairs are unique and ascending.
        counts: (P,) int64 points of each pair of groups, at least 1.
        row_sizes: (A,) int64 points of the groups of the first partition.
        column_sizes: (B,) int64 points of those of the second.
        row_labels: (A,) int64 labels of the groups of the first partition, ascending.
        column_labels: (B,) int64 those of the second.
    """

    rows: Tensor
    columns: Tensor
    counts: Tensor
    row_sizes: Tensor
    column_sizes: Tensor
    row_labels: Tensor
    column_labels: Tensor

    @property
    def total(self) -> int:
        """n."""
        return int(self.counts.sum())


class PartitionScores(NamedTuple):
    """What `partition_scores` says; 1 is full agreement.

    Attributes:
        nmi: Normalised mutual information, arithmetic mean. More groups reach more of it by chance: compare
            partitions of like sizes, or take the adjusted one.
        ami: The same adjusted for chance: 0 is what random groups of these sizes reach.
        ari: Adjusted Rand index.
        purity: Share of points that belong to the most frequent label of their cluster. Clusters of one point
            each reach 1, so it means nothing without their number.
    """

    nmi: float
    ami: float
    ari: float
    purity: float


def _labels(groups: Tensor) -> Tensor:
    """(A,) int64 the labels that occur among (n,) ones, ascending."""
    low, high = int(groups.min()), int(groups.max())
    if not _is_small(high - low + 1, len(groups)):
        return groups.long().unique()
    seen = torch.zeros(high - low + 1, dtype=torch.bool, device=groups.device)
    for part in groups.split(_CHUNK):
        seen[part.long() - low] = True
    return seen.nonzero()[:, 0] + low


def _numbers(groups: Tensor, labels: Tensor) -> Tensor:
    """(n,) int64 places of (n,) labels among the (A,) ascending ones that occur."""
    groups, low = groups.long().contiguous(), int(labels[0])
    if int(labels[-1]) - low + 1 == len(labels):  # none is missing: nothing to look for
        return groups - low
    return torch.searchsorted(labels, groups)


def _is_small(num_cells: int, num_points: int) -> bool:
    """Whether a table with a cell for everything that is possible costs less than sorting the points."""
    return num_cells <= min(_MOST_CELLS, _CELLS_PER_POINT * num_points + _CELLS_PER_POINT)


def contingency(a: Tensor, b: Tensor, *, weights: Tensor | None = None) -> Contingency:
    """Count the points of every pair of groups that occurs.

    Args:
        a: (n,) integers, groups of the points; any numbers.
        b: (n,) integers, groups of the same points.
        weights: (n,) int64 how many points each of them stands for; `None`: one. So the table of two
            partitions into larger groups follows from that of the smaller ones.

    Raises:
        ValueError: No point, other shapes, or labels that are not integers.

    Example:
        >>> table = contingency(torch.tensor([7, 7, 9]), torch.tensor([0, 1, 1]))
        >>> table.rows.tolist(), table.columns.tolist(), table.counts.tolist()
        ([0, 0, 1], [0, 1, 1], [1, 1, 1])
        >>> table.row_labels.tolist()
        [7, 9]
    """
    if a.ndim != 1 or a.shape != b.shape or len(a) == 0:
        raise ValueError(
            "Two partitions need the same points, at least one: expected two tensors of shape (n,), got "
            f"{tuple(a.shape)} and {tuple(b.shape)}."
        )
    if a.is_floating_point() or b.is_floating_point():
        raise ValueError(f"Groups are integers, got {a.dtype} and {b.dtype}.")
    row_labels, column_labels = _labels(a), _labels(b)
    num_rows, num_columns = len(row_labels), len(column_labels)

    def part(start: int, size: int) -> tuple[Tensor, Tensor]:
        """Cells and weights of some of the points."""
        span = slice(start, start + size)
        row, column = _numbers(a[span], row_labels), _numbers(b[span], column_labels)
        weight = torch.ones_like(row) if weights is None else weights[span]
        return row * num_columns + column, weight

    if _is_small(num_rows * num_columns, len(a)):
        cells, counts = _count_in_table(part, len(a), num_rows * num_columns)
    else:
        cells, counts = _count_by_sorting(part, len(a))
    rows, columns = cells.div(num_columns, rounding_mode="floor"), cells % num_columns
    return Contingency(
        rows=rows,
        columns=columns,
        counts=counts,
        row_sizes=counts.new_zeros(num_rows).index_add_(0, rows, counts),
        column_sizes=counts.new_zeros(num_columns).index_add_(0, columns, counts),
        row_labels=row_labels,
        column_labels=column_labels,
    )


_Part = Callable[[int, int], tuple[Tensor, Tensor]]
"""(start, size) -> cells (size,) and weights (size,) of the points from `start` on."""


def _count_in_table(part: _Part, num_points: int, num_cells: int) -> tuple[Tensor, Tensor]:
    """The cells (P,) that occur, ascending, and their sums of weights (P,), by counting in all that could."""
    table = part(0, 0)[1].new_zeros(num_cells)
    for start in range(0, num_points, _CHUNK):
        table.index_add_(0, *part(start, _CHUNK))
    cells = table.nonzero()[:, 0]
    return cells, table[cells]


def _count_by_sorting(part: _Part, num_points: int) -> tuple[Tensor, Tensor]:
    """The same, each chunk sorted into what was found so far; chunks as large as that: n log n in all."""
    cells, counts = part(0, 0)
    start = 0
    while start < num_points:
        size = max(_CHUNK, len(cells))
        cell, weight = part(start, size)
        cells, place = torch.cat([cells, cell]).unique(return_inverse=True)
        both = torch.cat([counts, weight])
        counts = both.new_zeros(len(cells)).index_add_(0, place, both)
        start += size
    return cells, counts


def _entropy(sizes: Tensor) -> float:
    shares = sizes.double() / sizes.sum()
    return -(shares * shares.log()).sum().item()


def _mutual_information(table: Contingency) -> float:
    counts, total = table.counts.double(), table.total
    expected = table.row_sizes[table.rows].double() * table.column_sizes[table.columns].double()
    return max(0.0, (counts / total * (counts * total / expected).log()).sum().item())


def nmi(table: Contingency) -> float:
    """Mutual information over the mean of the two entropies of partitions that were counted, in [0, 1]."""
    if len(table.row_sizes) == len(table.column_sizes) == 1:
        return 1.0
    information = _mutual_information(table)
    if information <= torch.finfo(torch.float64).eps:
        return 0.0
    return information / ((_entropy(table.row_sizes) + _entropy(table.column_sizes)) / 2)


def expected_mutual_information(row_sizes: Tensor, column_sizes: Tensor) -> float:
    """Mean mutual information, in nats, of two random partitions whose groups have these sizes.

    sum_ij sum_m  m / n  log(n m / (a_i b_j))  hypergeometric(m; n, a_i, b_j)

    Groups of equal size have equal terms, so pairs of different sizes are summed, of which there are at
    most 2 n; a block of the sum never holds more than n terms.

    Args:
        row_sizes: (A,) int64 points of the groups a_i of one partition.
        column_sizes: (B,) int64 points of the groups b_j of the other; both sum to n.

    Example:
        >>> expected_mutual_information(torch.tensor([2]), torch.tensor([1, 1]))
        0.0
    """
    total = int(row_sizes.sum())
    columns, multiplicity = column_sizes.unique(return_counts=True)
    rows, repeats = row_sizes.unique(return_counts=True)
    # Looked up: computed anew for every term, they would take most of the time.
    numbers = torch.arange(total + 1, dtype=torch.float64, device=row_sizes.device)
    log, log_factorial = numbers.clamp_min(1).log(), torch.lgamma(numbers + 1)
    of_column = log_factorial[columns] + log_factorial[total - columns]
    found = 0.0
    for row, repeat in zip(rows.tolist(), repeats.tolist(), strict=True):
        lowest = (row + columns - total).clamp_min(1)
        terms = columns.clamp_max(row) - lowest + 1
        pair = torch.arange(len(terms), device=terms.device).repeat_interleave(terms)
        first = lowest - terms.cumsum(0) + terms
        both = torch.arange(len(pair), device=pair.device) + first[pair]
        column = columns[pair]
        fixed = log_factorial[row] + log_factorial[total - row] - log_factorial[total]
        probability = (fixed + of_column)[pair] - log_factorial[both]
        probability -= log_factorial[row - both] + log_factorial[column - both]
        probability -= log_factorial[total - row + both - column]
        gain = log[both] + (log[total] - log[row] - log[columns])[pair]
        gain *= numbers[both] / total * multiplicity[pair]
        found += repeat * (gain * probability.exp()).sum().item()
    return found


def _ami(table: Contingency) -> float:
    num_rows, num_columns = len(table.row_sizes), len(table.column_sizes)
    # Nothing is divided, or every point is by itself, on both sides: there is nothing to adjust.
    if num_rows == num_columns and num_rows in (1, table.total):
        return 1.0
    if num_rows == 1 or num_columns == 1:
        return 0.0
    expected = expected_mutual_information(table.row_sizes, table.column_sizes)
    mean = (_entropy(table.row_sizes) + _entropy(table.column_sizes)) / 2
    eps = torch.finfo(torch.float64).eps
    # The expectation never exceeds the mean but by rounding, which must not turn the sign.
    room = mean - expected
    room = min(room, -eps) if room < 0 else max(room, eps)
    return (_mutual_information(table) - expected) / room


def _num_pairs(sizes: Tensor) -> int:
    return int((sizes * (sizes - 1)).sum()) // 2


def _ari(table: Contingency) -> float:
    # In Python's integers: the products exceed 64 bits from some thousand points on.
    together = _num_pairs(table.counts)
    only_rows = _num_pairs(table.row_sizes) - together
    only_columns = _num_pairs(table.column_sizes) - together
    if only_rows == only_columns == 0:
        return 1.0
    apart = table.total * (table.total - 1) // 2 - together - only_rows - only_columns
    return (
        2
        * (together * apart - only_rows * only_columns)
        / (
            (together + only_rows) * (only_rows + apart)
            + (together + only_columns) * (only_columns + apart)
        )
    )


def _purity(table: Contingency) -> float:
    largest = torch.zeros_like(table.row_sizes).scatter_reduce(
        0, table.rows, table.counts, reduce="amax"
    )
    return int(largest.sum()) / table.total


def partition_scores(clusters: Tensor, labels: Tensor) -> PartitionScores:
    """All scores from one table.

    Args:
        clusters: (n,) int64 clusters of the points.
        labels: (n,) int64 labels of the same points.

    Raises:
        ValueError: See `contingency`.

    Example:
        >>> scores = partition_scores(torch.tensor([0, 0, 0, 1]), torch.tensor([2, 2, 3, 3]))
        >>> scores.purity
        0.75
        >>> partition_scores(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 1, 2])).ari
        0.5714285714285714
    """
    table = contingency(clusters, labels)
    return PartitionScores(nmi(table), _ami(table), _ari(table), _purity(table))
