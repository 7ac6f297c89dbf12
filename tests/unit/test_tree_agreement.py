"""Trees of clusters against trees of classes: perfect, by hand, by enumeration of all pairs, by chance."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from scipy.stats import kendalltau
from torch import Tensor

from mmssl.ops.partition import partition_scores
from mmssl.ops.tree_agreement import (
    ancestor_agreement,
    ancestor_correlation,
    common_ancestors,
    dendrogram_purity,
)


def tree(seed: int, size: int, sizes: tuple[int, ...]) -> list[Tensor]:
    """A random tree: every group of a level is put into one of the next."""
    generator = torch.Generator().manual_seed(seed)
    levels = [torch.randint(sizes[0], (size,), generator=generator)]
    for finer, coarser in zip(sizes, sizes[1:]):
        levels.append(torch.randint(coarser, (finer,), generator=generator)[levels[-1]])
    return levels


def meet(levels: list[Tensor], a: int, b: int) -> int:
    """The level on which two points are first together."""
    for number, groups in enumerate(levels):
        if groups[a] == groups[b]:
            return number
    return len(levels)


def test_values_a_perfect_tree_is_one() -> None:
    classes = tree(0, 120, (12, 6, 2))
    renamed = [30 - groups * 2 for groups in classes]
    for labels in classes:
        assert dendrogram_purity(renamed, labels) == 1.0
    table = common_ancestors(renamed, classes)
    assert int(table.sum()) == 120 * 119 // 2
    assert torch.equal(table, table.diag().diag())
    assert ancestor_agreement(table) == (1.0, 1.0)
    assert ancestor_correlation(table) == pytest.approx(1.0)


def test_values_finer_clusters_of_pure_classes_are_one() -> None:
    """Dendrogram purity takes a class cut into groups for what it is, if these join first."""
    leaves = torch.arange(24) // 2
    levels = [leaves, leaves // 3]
    assert dendrogram_purity(levels, leaves // 3) == 1.0
    assert dendrogram_purity([torch.arange(24), *levels], leaves // 3) == 1.0
    assert dendrogram_purity(levels, leaves // 6) < 1.0


def test_values_by_hand() -> None:
    """Two groups of two, one of them mixed: a a | a b, with the root above."""
    levels, labels = [torch.tensor([0, 0, 1, 1])], torch.tensor([0, 0, 0, 1])
    # pairs of a: one meets in its group (purity 1), two at the root (purity 3/4)
    assert dendrogram_purity(levels, labels) == pytest.approx((1 + 3 / 4 + 3 / 4) / 3)
    mixed = [torch.tensor([0, 1, 0, 1])]
    labels = torch.tensor([0, 0, 1, 1])
    assert dendrogram_purity(mixed, labels) == pytest.approx(1 / 2)
    table = common_ancestors(mixed, [labels])
    assert table.tolist() == [[0, 2], [2, 2]]
    agreement, kappa = ancestor_agreement(table)
    assert agreement == pytest.approx(1 / 3)
    assert kappa == pytest.approx((1 / 3 - 5 / 9) / (1 - 5 / 9))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("sizes", [((8,), (5,)), ((9, 4), (10, 6, 3)), ((12, 5, 2), (7, 4, 2))])
def test_equivalence_to_a_look_at_every_pair(
    seed: int, sizes: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    levels, classes = tree(seed, 40, sizes[0]), tree(seed + 10, 40, sizes[1])
    common = torch.arange(40) < 20
    levels = nested([torch.where(common, classes[0], levels[0]), *levels[1:]])
    pairs = list(combinations(range(40), 2))
    heights = [(meet(levels, a, b), meet(classes, a, b)) for a, b in pairs]
    table = torch.zeros(len(levels) + 1, len(classes) + 1, dtype=torch.long)
    for i, j in heights:
        table[i, j] += 1
    assert torch.equal(common_ancestors(levels, classes), table)
    tau = kendalltau(*zip(*heights)).statistic
    assert ancestor_correlation(table) == pytest.approx(tau, abs=1e-9)
    for labels in classes:
        found = []
        for a, b in pairs:
            if labels[a] == labels[b]:
                level = meet(levels, a, b)
                inside = (
                    levels[level] == levels[level][a]
                    if level < len(levels)
                    else torch.ones(40, dtype=torch.bool)
                )
                found.append((labels[inside] == labels[a]).double().mean().item())
        assert dendrogram_purity(levels, labels) == pytest.approx(sum(found) / len(found))


def nested(levels: list[Tensor]) -> list[Tensor]:
    """Every finer group goes where its first point goes."""
    result = [levels[0]]
    for groups in levels[1:]:
        _, inverse = result[-1].unique(return_inverse=True)
        first = torch.tensor([int((inverse == k).nonzero()[0]) for k in range(inverse.max() + 1)])
        result.append(groups[first[inverse]])
    return result


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equivalence_of_one_level_to_the_rand_index(seed: int) -> None:
    a, b = tree(seed, 90, (6,)), tree(seed + 5, 90, (4,))
    b[0] = torch.where(torch.arange(90) < 50, a[0] % 4, b[0])
    kappa = ancestor_agreement(common_ancestors(a, b))[1]
    assert kappa == pytest.approx(partition_scores(a[0], b[0]).ari)


def test_values_unrelated_trees_are_near_zero() -> None:
    table = common_ancestors(tree(0, 3000, (24, 12, 4)), tree(1, 3000, (24, 12, 4)))
    agreement, kappa = ancestor_agreement(table)
    assert agreement > 0.4  # most pairs meet at the root of both: this share says little by itself
    assert abs(kappa) < 0.005
    assert abs(ancestor_correlation(table)) < 0.005


def test_values_a_tree_that_divides_nothing() -> None:
    classes, one = tree(0, 30, (5, 2)), torch.zeros(30, dtype=torch.long)
    table = common_ancestors([one, one], classes)
    assert ancestor_agreement(table)[1] == pytest.approx(0.0)
    assert ancestor_correlation(table) == 0.0
    both = common_ancestors([one], [one])
    assert ancestor_agreement(both) == (1.0, 0.0)
    shares = classes[0].bincount().double()
    chance = (shares * (shares - 1) * shares / 30).sum() / (shares * (shares - 1)).sum()
    assert dendrogram_purity([one], classes[0]) == pytest.approx(chance.item())


def test_raises_on_what_is_no_tree() -> None:
    levels = [torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1])]
    with pytest.raises(ValueError, match=r"Levels 0 and 1 are no tree: 1 time"):
        common_ancestors(levels, levels[:1])
    with pytest.raises(ValueError, match="at least one level"):
        dendrogram_purity([], levels[0])
    with pytest.raises(ValueError, match="two points of one class"):
        dendrogram_purity(levels[:1], torch.arange(4))
    with pytest.raises(ValueError, match="Trees of 1 and 2 levels"):
        ancestor_agreement(torch.ones(2, 3))
