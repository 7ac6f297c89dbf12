"""Recall and precision of removed negatives by hand."""

from __future__ import annotations

import pytest
import torch

from mmssl.evaluation.mining import MiningCounts, mining_counts

QUERIES, KEYS = torch.tensor([0, 1]), torch.tensor([0, 0, 1, 2])
KEPT = torch.tensor([[0, 1, 1, 0], [1, 1, 1, 1]])


def test_values_by_hand() -> None:
    counts = mining_counts(QUERIES, KEYS, KEPT)
    assert counts == MiningCounts(same_removed=1, same_kept=2, other_removed=1, other_kept=4)
    assert counts.metrics() == pytest.approx((1 / 3, 1 / 2, 4 / 5, 4 / 6))
    assert mining_counts(QUERIES, KEYS, KEPT.bool()) == counts


def test_values_pairs_of_unknown_class_do_not_count() -> None:
    unknown_keys = mining_counts(QUERIES, torch.tensor([0, -1, 1, 2]), KEPT)
    assert unknown_keys == MiningCounts(1, 1, 1, 3)
    unknown_query = mining_counts(torch.tensor([0, -1]), torch.tensor([0, -1, 1, 2]), KEPT)
    assert unknown_query == MiningCounts(1, 0, 1, 1)


def test_values_nothing_to_find_is_undefined() -> None:
    found = mining_counts(torch.tensor([5, 6]), KEYS, KEPT).metrics()
    assert found[:2] == (None, None)
    assert found[2:] == pytest.approx((6 / 8, 1.0))


def test_raises_on_another_shape() -> None:
    with pytest.raises(ValueError, match=r"\(2, 4\) for 2 queries .* got \(4, 2\)"):
        mining_counts(QUERIES, KEYS, KEPT.T)
