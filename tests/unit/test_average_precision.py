"""Average precision by hand, with ties, ignored images and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from mmssl.evaluation.average_precision import average_precision

SCORES = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0])
TARGETS = torch.tensor([0, 1, 0, 1, 1])
"""Precision 0, 1/2, 1/3, 1/2, 3/5; recall 0, 1/3, 1/3, 2/3, 1."""


def test_values_by_hand() -> None:
    assert average_precision(SCORES, TARGETS).item() == pytest.approx(3 / 5)
    step = average_precision(SCORES, TARGETS, kind="step").item()
    assert step == pytest.approx((1 / 2 + 1 / 2 + 3 / 5) / 3)
    scores, targets = torch.tensor([3.0, 2.0, 1.0]), torch.tensor([1, 0, 1])
    assert average_precision(scores, targets).item() == pytest.approx((1 + 2 / 3) / 2)
    # recall 0 to .5 reaches precision 1 (6 points), .6 to 1 reaches 2/3 (5 points)
    eleven = average_precision(scores, targets, kind="11points").item()
    assert eleven == pytest.approx((6 + 5 * 2 / 3) / 11)


@pytest.mark.parametrize("levels", [3, 20, 10_000])
def test_equivalence_to_scikit_learn_with_ties(levels: int) -> None:
    random = np.random.RandomState(0)
    scores = torch.from_numpy(random.randint(levels, size=(200, 6)))
    targets = torch.from_numpy(random.rand(200, 6) < 0.3)
    found = average_precision(scores.float(), targets, kind="step")
    expected = [average_precision_score(targets[:, c], scores[:, c]) for c in range(6)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("kind", ["area", "step", "11points"])
def test_values_order_of_the_images_is_irrelevant(kind: str) -> None:
    random = np.random.RandomState(1)
    scores = torch.from_numpy(random.randint(6, size=80)).float()
    targets = torch.from_numpy(random.rand(80) < 0.4).long()
    order = targets.argsort(descending=True)  # the positive ones first, as in a sorted folder
    sorted_first = average_precision(scores[order], targets[order], kind=kind)
    sorted_last = average_precision(scores[order.flip(0)], targets[order.flip(0)], kind=kind)
    assert sorted_first.item() == pytest.approx(sorted_last.item(), rel=1e-12)
    constant = average_precision(torch.zeros(80), targets, kind=kind).item()
    assert constant == pytest.approx(targets.double().mean().item())


@pytest.mark.parametrize("kind", ["area", "step", "11points"])
def test_equivalence_of_ignored_and_absent_images(kind: str) -> None:
    random = np.random.RandomState(2)
    scores = torch.from_numpy(random.randint(9, size=(60, 2))).float()
    targets = torch.from_numpy(random.rand(60, 2) < 0.4)
    ignored = torch.from_numpy(random.rand(60, 2) < 0.3)
    found = average_precision(scores, targets, ignored=ignored, kind=kind)
    for c in range(2):
        kept = ~ignored[:, c]
        expected = average_precision(scores[kept, c], targets[kept, c], kind=kind)
        assert found[c].item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("kind", ["area", "step", "11points"])
def test_values_limits(kind: str) -> None:
    targets = torch.tensor([[1, 0], [0, 0], [1, 0]])
    best = average_precision(targets.float(), targets, kind=kind)
    assert best[0] == 1
    assert math.isnan(best[1])  # no image shows it


def test_raises_on_what_is_no_ranking() -> None:
    with pytest.raises(ValueError, match=r"got \(5,\) and \(4,\)"):
        average_precision(SCORES, TARGETS[:4])
    with pytest.raises(ValueError, match="1 of 5 scores are NaN"):
        average_precision(SCORES.clone().index_fill(0, torch.tensor([2]), math.nan), TARGETS)
    with pytest.raises(ValueError, match="'11points', got 'voc07'"):
        average_precision(SCORES, TARGETS, kind="voc07")
