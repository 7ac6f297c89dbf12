"""Logistic regression on features: scikit-learn's minimum, its penalty, its accuracies."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mmssl.evaluation import Features, logistic_regression
from mmssl.evaluation.logistic_regression import DEFAULT_PENALTIES, _Regression, accuracies


def clouds(num: int, *, spread: float = 1.0, seed: int = 0, classes: int = 3) -> Features:
    """Overlapping clouds of points, one for each class."""
    random = torch.Generator().manual_seed(seed)
    centers = 2 * torch.eye(classes, 5)
    labels = torch.arange(num) % classes
    return Features(centers[labels] + spread * torch.randn(num, 5, generator=random), labels)


def fitted(data: Features, penalty: float) -> tuple[Tensor, Tensor]:
    found = _Regression(data.features.double(), data.labels, 3, 1000)
    assert found.fit(penalty)
    return found.weight.detach(), found.bias.detach()


@pytest.mark.parametrize("penalty", [1e-2, 1.0, 100.0])
def test_equivalence_scikit_learn(penalty: float) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    data = clouds(90)
    theirs = linear_model.LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=5000)
    theirs.fit(data.features.double().numpy(), data.labels.numpy())
    weight, bias = fitted(data, penalty)
    torch.testing.assert_close(weight, torch.from_numpy(theirs.coef_), rtol=1e-4, atol=1e-5)
    # a constant added to all biases changes nothing
    torch.testing.assert_close(
        bias - bias.mean(),
        torch.from_numpy(theirs.intercept_ - theirs.intercept_.mean()),
        rtol=1e-4,
        atol=1e-5,
    )


def test_values_the_slope_is_zero_at_the_minimum() -> None:
    data = clouds(60)
    weight, bias = fitted(data, 0.5)
    probabilities = (data.features.double() @ weight.T + bias).softmax(dim=1)
    gap = probabilities - torch.nn.functional.one_hot(data.labels, 3)
    slope = gap.T @ data.features.double() + 0.5 * weight
    assert slope.abs().max() < 1e-3
    assert gap.sum(dim=0).abs().max() < 1e-3


def test_values_default_penalties() -> None:
    assert len(DEFAULT_PENALTIES) == 45
    assert DEFAULT_PENALTIES[0] == pytest.approx(1e-6)
    assert DEFAULT_PENALTIES[-1] == pytest.approx(1e5)
    ratios = [b / a for a, b in zip(DEFAULT_PENALTIES, DEFAULT_PENALTIES[1:], strict=False)]
    assert ratios == pytest.approx([10 ** (11 / 44)] * 44)


def test_values_accuracies_by_hand() -> None:
    """Class 0: three of four right, class 2: one of two; class 1 shows no image."""
    labels = torch.tensor([0, 0, 0, 0, 2, 2])
    guesses = torch.tensor([0, 0, 0, 1, 2, 0])
    found = accuracies(torch.nn.functional.one_hot(guesses, 3).double(), labels)
    assert found["top1"] == pytest.approx(100 * 4 / 6)
    assert found["mean_per_class"] == pytest.approx(100 * (3 / 4 + 1 / 2) / 2)
    assert found["top5"] == 100.0


def test_values_penalty_is_chosen_on_held_out_images() -> None:
    """The best of the sweep, of equal ones the largest, is that of a regression on all images."""
    train, val = clouds(60, spread=2.0), clouds(3000, spread=2.0, seed=1)
    penalties = [1e-6, 10.0, 1e6]
    found = logistic_regression(train, val, penalties=penalties)
    assert set(found.sweep) == set(penalties)
    assert found.penalty == max(penalties, key=lambda each: (found.sweep[each], each))
    alone = logistic_regression(train, val, penalties=[found.penalty])
    assert (alone.top1, alone.selected_on, alone.sweep) == (found.top1, "one penalty", {})
    assert (found.selected_on, found.num_unconverged) == ("held_out", 0)
    assert (found.num_train, found.num_val) == (60, 3000)
    assert found == logistic_regression(train, val, penalties=penalties)


def test_state_regressions_that_stop_at_the_limit_are_counted() -> None:
    train, val = clouds(60), clouds(30, seed=1)
    found = logistic_regression(train, val, penalties=[1e-3, 1e-2], max_iter=2)
    assert found.num_unconverged == 3
    assert logistic_regression(train, val, penalties=[1.0], max_iter=2).num_unconverged == 1
    assert logistic_regression(train, val, penalties=[1.0]).num_unconverged == 0


def test_values_many_penalties_separate_what_can_be_separated() -> None:
    train, val = clouds(90, spread=0.05), clouds(30, spread=0.05, seed=1)
    found = logistic_regression(train, val)
    assert found.top1 == found.mean_per_class == 100.0
    assert math.isfinite(found.penalty) and len(found.sweep) == 45


def test_values_mean_per_class_may_choose_another_penalty() -> None:
    """Nine of ten images are of one class: always guessing it is 90 % right, and 50 % of the classes."""
    many, few = clouds(270), clouds(30, seed=2)
    labels = torch.cat([torch.zeros(270), torch.ones(30)]).long()
    features = torch.cat([many.features, few.features + 2.0])
    train = Features(features, labels)
    found = logistic_regression(train, train, penalties=[1.0, 1e6], metric="mean_per_class")
    assert found.sweep[1e6] == pytest.approx(50.0)
    assert found.penalty == 1.0


def test_state_images_without_label_are_left_out() -> None:
    train, val = clouds(60), clouds(30, seed=1)
    unlabelled = Features(
        torch.cat([train.features, torch.full((5, 5), 100.0)]),
        torch.cat([train.labels, torch.full((5,), -1)]),
    )
    expected = logistic_regression(train, val, penalties=[1.0])
    assert logistic_regression(unlabelled, val, penalties=[1.0]) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(penalties=[0.0]), "penalties above 0"),
        (dict(penalties=[]), "penalties above 0"),
        (dict(held_out=1.0), "held_out between 0 and 1"),
        (dict(max_iter=0), "max_iter >= 1"),
        (dict(metric="top5"), "'top1' or 'mean_per_class', got 'top5'"),
    ],
)
def test_raises_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        logistic_regression(clouds(30), clouds(30), **options)


def test_raises_classes_that_no_training_image_has() -> None:
    val = clouds(30)
    val.labels[0] = 7
    with pytest.raises(ValueError, match=r"classes that no training image has: \[7\]"):
        logistic_regression(clouds(30), val)
