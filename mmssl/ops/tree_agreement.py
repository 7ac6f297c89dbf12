"""How well a tree of clusters agrees with a tree of classes.

A tree is given by its levels: the groups of the n points on each, the finest first, every group inside one of
the next level; above the last level is the root. Measures, all exact and without looking at single pairs:

- *Dendrogram purity* (Heller and Ghahramani, Bayesian hierarchical clustering, ICML 2005): of two random
  points of one class, take the smallest group that holds both; the share of this class in it, on average.
- *Lowest common ancestors*: two points meet on some level of either tree. The table of how many pairs meet
  on level i of one and j of the other gives the share on which the trees agree, the same adjusted for chance
  (Cohen's kappa; for trees of one level it is the adjusted Rand index: Warrens, On the equivalence of Cohen's
  kappa and the Hubert-Arabie adjusted Rand index, Journal of Classification 2008), and Kendall's tau-b of the
  heights: the rank form of the cophenetic correlation (Sokal and Rohlf, The comparison of dendrograms by
  objective methods, 1962), which needs no equal number of levels.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from mmssl.ops.partition import contingency


def check_nested(levels: Sequence[Tensor]) -> None:
    """Make sure that every group lies inside one group of the next level.

    Args:
        levels: Per level (n,) int64 groups of the points, the finest first.

    Raises:
        ValueError: No level, or one that is not a union of groups of the level below.
    """
    if not levels:
        raise ValueError("A tree needs at least one level.")
    for number, (finer, coarser) in enumerate(itertools.pairwise(levels)):
        table = contingency(finer, coarser)
        broken = len(table.counts) - len(table.row_sizes)
        if broken:
            raise ValueError(
                f"Levels {number} and {number + 1} are no tree: {broken} time(s) a group of the finer "
                "level lies in one more group of the coarser. Levels go from the finest to the coarsest."
            )


def _sizes(groups: Tensor) -> Tensor:
    """(n,) float64 size of the group of every point."""
    _, group, sizes = groups.unique(return_inverse=True, return_counts=True)
    return sizes[group].double()


def _intersection(a: Tensor, b: Tensor) -> Tensor:
    """(n,) int64 groups of the points that share both groups."""
    _, column = b.unique(return_inverse=True)
    _, row = a.unique(return_inverse=True)
    return row * (int(column.max()) + 1) + column


def dendrogram_purity(levels: Sequence[Tensor], labels: Tensor) -> float:
    """Mean over pairs of one class of the share of this class in the smallest group that holds both.

    1 if every class is exactly one group of the tree, on any level, or the groups below it are pure. A tree
    of the root alone reaches the classes' frequency. Points of a group of the finest level meet there.

    Args:
        levels: Per level (n,) int64 groups of the points, the finest first.
        labels: (n,) int64 classes of the points.

    Raises:
        ValueError: Levels that are no tree, or no two points of one class.

    Example:
        >>> levels = [torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 1, 1])]
        >>> dendrogram_purity(levels, torch.tensor([5, 5, 6, 6]))
        1.0
    """
    check_nested(levels)
    others = _sizes(labels) - 1
    if not others.any():
        raise ValueError("Dendrogram purity needs two points of one class.")
    purity = torch.zeros((), dtype=torch.float64, device=labels.device)
    below = torch.zeros_like(others)
    for groups in levels:
        alike = _sizes(_intersection(groups, labels))
        purity += (alike / _sizes(groups) * (alike - 1 - below)).sum()
        below = alike - 1
    purity += ((others + 1) / len(labels) * (others - below)).sum()
    return (purity / others.sum()).item()


def common_ancestors(levels: Sequence[Tensor], classes: Sequence[Tensor]) -> Tensor:
    """On which levels of two trees the pairs of points meet.

    Args:
        levels: Per level of the one tree (n,) int64 groups of the points, the finest first.
        classes: The same of the other tree.

    Returns:
        (L + 1, C + 1) int64: pairs that meet on level i of the first tree and level j of the second, 0 the
        finest, L and C the roots.

    Raises:
        ValueError: Levels that are no tree, or of different points.

    Example:
        >>> common_ancestors([torch.tensor([0, 0, 1])], [torch.tensor([0, 1, 1])]).tolist()
        [[0, 1], [1, 1]]
    """
    check_nested(levels)
    check_nested(classes)
    root = torch.zeros_like(levels[0])
    together = torch.zeros(len(levels) + 2, len(classes) + 2, dtype=torch.long)
    for i, groups in enumerate([*levels, root]):
        for j, kinds in enumerate([*classes, root]):
            counts = contingency(groups, kinds).counts
            together[i + 1, j + 1] = (counts * (counts - 1)).sum() // 2
    # Who is together on a level is so on all above: the differences are those who meet there.
    return together.diff(dim=0).diff(dim=1)


def ancestor_agreement(table: Tensor) -> tuple[float, float]:
    """Share of pairs that meet on the same level of both trees, and the same adjusted for chance.

    Args:
        table: (L + 1, L + 1) of `common_ancestors`, for trees with the same number of levels.

    Returns:
        The share in [0, 1], and Cohen's kappa: 1 for equal trees, 0 for what unrelated trees reach whose
        pairs meet as often on each level. Kappa is 0 if neither tree divides anything.

    Raises:
        ValueError: Trees with different numbers of levels.

    Example:
        >>> ancestor_agreement(torch.tensor([[2, 0], [0, 4]]))
        (1.0, 1.0)
    """
    if table.shape[0] != table.shape[1]:
        raise ValueError(
            f"Trees of {len(table) - 1} and {table.shape[1] - 1} levels do not meet on the same ones; use "
            "`ancestor_correlation`."
        )
    shares = table.double() / table.sum()
    agreement = shares.diag().sum().item()
    chance = (shares.sum(0) * shares.sum(1)).sum().item()
    return agreement, (agreement - chance) / (1 - chance) if chance < 1 else 0.0


def ancestor_correlation(table: Tensor) -> float:
    """Kendall's tau-b between the levels on which pairs of points meet in the two trees.

    Of two pairs, does the one that meets lower in the one tree meet lower in the other?

    Args:
        table: (L + 1, C + 1) of `common_ancestors`.

    Returns:
        In [-1, 1]: 1 if each level of one tree is one of the other, 0 for unrelated trees and for a tree
        that divides nothing.

    Example:
        >>> ancestor_correlation(torch.tensor([[2, 0], [0, 4]]))
        1.0
    """
    counts = table.double() / table.sum()
    lower = torch.zeros_like(counts)
    lower[1:, 1:] = counts.cumsum(0).cumsum(1)[:-1, :-1]
    higher = torch.zeros_like(counts)
    higher[1:, :-1] = counts.cumsum(0).flip(1).cumsum(1).flip(1)[:-1, 1:]
    # Shares of pairs of pairs that are no tie in one of the trees.
    ordered = [1 - (counts.sum(axis) ** 2).sum() for axis in (0, 1)]
    if min(ordered) <= torch.finfo(torch.float64).eps:
        return 0.0
    difference = 2 * (counts * (lower - higher)).sum()
    return (difference / (ordered[0] * ordered[1]).sqrt()).item()
