"""Agreement of two partitions: by hand, against scikit-learn, and where limits are known."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn import metrics
from torch import Tensor

from mmssl.ops import partition
from mmssl.ops.partition import (
    contingency,
    expected_mutual_information,
    partition_scores,
)


def draw(seed: int, size: int, num_a: int, num_b: int) -> tuple[Tensor, Tensor]:
    """Two partitions that have something in common; labels are any integers."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.randint(num_a, (size,), generator=generator)
    noise = torch.randint(num_b, (size,), generator=generator)
    follows = torch.rand(size, generator=generator) < 0.4
    return a * 7 - 3, torch.where(follows, a % num_b, noise) - 100


def test_values_contingency_by_hand() -> None:
    table = contingency(torch.tensor([5, 5, -1, 5, -1]), torch.tensor([0, 8, 8, 0, 8]))
    assert table.rows.tolist() == [0, 1, 1]
    assert table.columns.tolist() == [1, 0, 1]
    assert table.counts.tolist() == [2, 2, 1]
    assert table.row_sizes.tolist() == [2, 3]
    assert table.column_sizes.tolist() == [2, 3]
    assert table.total == 5


@pytest.mark.parametrize("most", [0, 1 << 24])
@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 18])
def test_equivalence_of_ways_to_count(monkeypatch, chunk: int, most: int) -> None:
    """In a table of all pairs, and by sorting; whatever the chunk. Labels with gaps, in int32."""
    a, b = (labels.int() for labels in draw(2, 300, 9, 14))
    pairs, counts = torch.stack([a, b]).long().unique(dim=1, return_counts=True)
    monkeypatch.setattr(partition, "_CHUNK", chunk)
    monkeypatch.setattr(partition, "_MOST_CELLS", most)
    unused = "_count_in_table" if most == 0 else "_count_by_sorting"
    monkeypatch.setattr(partition, unused, None)
    table = contingency(a, b)
    found = torch.stack([table.row_labels[table.rows], table.column_labels[table.columns]])
    assert torch.equal(found, pairs)
    assert torch.equal(table.counts, counts)
    for labels, sizes, groups in (
        (table.row_labels, table.row_sizes, a),
        (table.column_labels, table.column_sizes, b),
    ):
        expected = groups.long().unique(return_counts=True)
        assert torch.equal(labels, expected[0])
        assert torch.equal(sizes, expected[1])


def test_equivalence_of_larger_groups() -> None:
    """Groups of groups, counted from the table of the groups, are those of the points."""
    a, b = draw(4, 200, 9, 6)
    table = contingency(a, b)
    small = (table.row_labels[table.rows] // 20, table.column_labels[table.columns] // 3)
    for found, expected in zip(
        contingency(*small, weights=table.counts), contingency(a // 20, b // 3), strict=True
    ):
        assert torch.equal(found, expected)


def test_values_by_hand() -> None:
    clusters, labels = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 0, 1, 1, 1, 1])
    scores = partition_scores(clusters, labels)
    assert scores.purity == pytest.approx(5 / 6)
    # pairs: 4 together in both, 2 only in the clusters, 3 only in the labels, 6 in neither
    assert scores.ari == pytest.approx(2 * (24 - 6) / (6 * 8 + 7 * 9))
    information = (
        2 / 6 * math.log(2 * 6 / (3 * 2))
        + 1 / 6 * math.log(6 / (3 * 4))
        + 3 / 6 * math.log(3 * 6 / (3 * 4))
    )
    entropy = -(math.log(1 / 3) / 3 + 2 / 3 * math.log(2 / 3))
    expected = information / ((math.log(2) + entropy) / 2)
    assert scores.nmi == pytest.approx(expected)


@pytest.mark.parametrize(
    ("size", "num_a", "num_b"),
    [(7, 2, 3), (200, 5, 9), (1000, 40, 11), (3000, 3, 900), (50, 60, 60)],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_equivalence_to_scikit_learn(size: int, num_a: int, num_b: int, seed: int) -> None:
    a, b = draw(seed, size, num_a, num_b)
    scores = partition_scores(a, b)
    assert scores.nmi == pytest.approx(metrics.normalized_mutual_info_score(a, b), abs=1e-9)
    assert scores.ami == pytest.approx(metrics.adjusted_mutual_info_score(a, b), abs=1e-9)
    assert scores.ari == pytest.approx(metrics.adjusted_rand_score(a, b), abs=1e-12)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (torch.zeros(5), torch.zeros(5)),
        (torch.zeros(5), torch.arange(5)),
        (torch.arange(5), torch.zeros(5)),
        (torch.zeros(1), torch.ones(1)),
        (torch.arange(4) % 2, torch.arange(4) // 2),
    ],
)
def test_equivalence_in_limit_cases(a: Tensor, b: Tensor) -> None:
    a, b = a.long(), b.long()
    scores = partition_scores(a, b)
    assert scores.nmi == pytest.approx(metrics.normalized_mutual_info_score(a, b))
    assert scores.ami == pytest.approx(metrics.adjusted_mutual_info_score(a, b), abs=1e-9)
    assert scores.ari == pytest.approx(metrics.adjusted_rand_score(a, b))


def test_values_equal_partitions_are_one() -> None:
    a = draw(3, 400, 9, 9)[0]
    renamed = 50 - a
    assert partition_scores(a, renamed) == pytest.approx((1.0, 1.0, 1.0, 1.0))
    alone = torch.arange(6)
    assert partition_scores(alone, alone.flip(0)) == (1.0, 1.0, 1.0, 1.0)


def test_values_chance_is_zero() -> None:
    """The adjusted scores of random groups are 0 on average, the others are not."""
    generator = torch.Generator().manual_seed(0)
    found = torch.tensor(
        [
            partition_scores(
                torch.randint(20, (200,), generator=generator),
                torch.randint(20, (200,), generator=generator),
            )
            for _ in range(40)
        ]
    ).mean(0)
    assert found[0] > 0.25
    assert abs(found[1]) < 0.01
    assert abs(found[2]) < 0.01


def test_values_expected_information_by_enumeration() -> None:
    """Sizes (2, 2) against (1, 3): the lone point lies in either group, always the same information."""
    expected = sum(
        share * math.log(share / chance)
        for share, chance in ((1 / 4, 1 / 8), (1 / 4, 3 / 8), (2 / 4, 3 / 8))
    )
    found = expected_mutual_information(torch.tensor([2, 2]), torch.tensor([1, 3]))
    assert found == pytest.approx(expected)


def test_raises_on_what_is_no_partition() -> None:
    with pytest.raises(ValueError, match=r"got \(3,\) and \(4,\)"):
        contingency(torch.arange(3), torch.arange(4))
    with pytest.raises(ValueError, match="at least one"):
        partition_scores(torch.arange(0), torch.arange(0))
    with pytest.raises(ValueError, match=r"integers, got torch.float32"):
        contingency(torch.rand(3), torch.arange(3))
