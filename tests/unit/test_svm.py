"""Linear SVMs: against scikit-learn used directly, per protocol; draws; what is counted; errors."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.model_selection import cross_val_score
from sklearn.svm import LinearSVC
from torch import Tensor

from mmssl.evaluation.average_precision import average_precision
from mmssl.evaluation.features import Features, labelled, match_classes
from mmssl.evaluation.svm import draw_low_shot, linear_svm, presence
from mmssl.evaluation.svm_protocols import PROTOCOLS
from mmssl.evaluation.svm_solver import SvmSolver

NUM_CLASSES, DIM = 4, 12


def images(seed: int, count: int) -> Features:
    """Images of several classes each; some objects are difficult."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(NUM_CLASSES, DIM, generator=torch.Generator().manual_seed(9))
    shown = torch.rand(count, NUM_CLASSES, generator=generator) < 0.35
    difficult = torch.rand(count, NUM_CLASSES, generator=generator) < 0.1
    features = shown.float() @ centres + 1.5 * torch.randn(count, DIM, generator=generator)
    labels = (shown.to(torch.int8) * 2 - 1).masked_fill(difficult, 0)
    return Features(3 * features, labels)


TRAIN, VAL = images(0, 90), images(1, 70)


def unit(features: Tensor) -> np.ndarray:
    rows = features.numpy().astype(np.float32)
    return (rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-5)).astype(np.float64)


def solver(cost: float) -> LinearSVC:
    return LinearSVC(
        C=cost, class_weight={1: 2, -1: 1}, dual=True, tol=1e-4, max_iter=2000, random_state=0
    )


def direct(number: int, cost: float, *, ignore: bool) -> float:
    """AP of one class in per cent, by scikit-learn alone."""
    targets = np.where(TRAIN.labels[:, number] > 0, 1, -1)
    decision = solver(cost).fit(unit(TRAIN.features), targets)
    scores = torch.from_numpy(decision.decision_function(unit(VAL.features)))
    truth = VAL.labels[:, number]
    kept = truth != 0 if ignore else torch.ones(len(truth), dtype=torch.bool)
    return 100 * average_precision(scores[kept], truth[kept] > 0).item()


def test_equivalence_to_scikit_learn_pcl() -> None:
    found = linear_svm(TRAIN, VAL)
    expected = [direct(number, 0.5, ignore=False) for number in range(NUM_CLASSES)]
    assert found.per_class == pytest.approx(expected, abs=1e-4)
    assert found.mean_ap == pytest.approx(np.mean(expected), abs=1e-4)
    assert (found.costs, found.selected_on, found.sweep) == ([0.5] * 4, "one cost", {})
    assert (found.num_fits, found.num_unconverged) == (NUM_CLASSES, 0)
    assert found.top1 is None  # an image shows several classes
    assert (found.num_train, found.num_val) == (90, 70)
    assert 55 < found.mean_ap < 95


def test_values_pcl_takes_the_best_of_several_costs() -> None:
    costs = (0.001, 0.5, 30.0)
    found = linear_svm(TRAIN, VAL, costs=costs)
    each = {cost: linear_svm(TRAIN, VAL, costs=[cost]).mean_ap for cost in costs}
    assert found.sweep == pytest.approx(each)
    assert found.mean_ap == max(found.sweep.values())
    assert found.selected_on == "test"
    assert found.sweep[found.costs[0]] == found.mean_ap


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_equivalence_to_scikit_learn_vissl() -> None:
    costs = (0.01, 1, 20)
    found = linear_svm(TRAIN, VAL, protocol="vissl", costs=costs)
    inputs = unit(TRAIN.features)
    for number in range(NUM_CLASSES):
        targets = np.where(TRAIN.labels[:, number] > 0, 1, -1)
        scores = [
            cross_val_score(solver(cost), inputs, targets, cv=3, scoring="average_precision").mean()
            for cost in costs
        ]
        best = costs[int(np.argmax(scores))]
        assert found.costs[number] == best
        expected = direct(number, best, ignore=True)
        assert found.per_class[number] == pytest.approx(expected, abs=1e-3)
    assert found.selected_on == "cross-validation"
    assert found.num_fits == NUM_CLASSES * (3 * len(costs) + 1)


def test_values_costs_of_the_protocols() -> None:
    assert PROTOCOLS["pcl"].costs == (0.5,)
    assert PROTOCOLS["vissl"].costs == (0.01, 0.1, 1, 2, 5, 10, 15, 20, 50, 100, 1000)
    fair = PROTOCOLS["fair"].costs
    assert len(fair) == 19
    assert (fair[:3], fair[3], fair[-1]) == ((1, 10, 100), 0.0625, 0.5**19)


def test_values_one_class_per_image() -> None:
    """Each class against all others, and the accuracy of the best class."""
    labels = [data.features[:, :3].argmax(1) for data in (TRAIN, VAL)]
    train, val = (Features(data.features, own) for data, own in zip((TRAIN, VAL), labels))
    unknown = Features(
        torch.cat([train.features, torch.randn(5, DIM)]),
        torch.cat([train.labels, torch.full((5,), -1)]),
    )
    found = linear_svm(unknown, val)
    assert found.num_train == 90
    decision = np.stack(
        [
            solver(0.5)
            .fit(unit(train.features), np.where(train.labels == number, 1, -1))
            .decision_function(unit(val.features))
            for number in range(3)
        ],
        axis=1,
    )
    right = (decision.argmax(1) == val.labels.numpy()).mean()
    assert found.top1 == pytest.approx(100 * right)
    assert found.top1 > 70
    matrix = Features(train.features, presence(train.labels, 3))
    same = linear_svm(matrix, Features(val.features, presence(val.labels, 3)))
    assert same.per_class == found.per_class


def test_values_low_shot_by_hand() -> None:
    found = linear_svm(TRAIN, VAL, low_shot=[2, 5], runs=3, seed=4)
    generator = torch.Generator().manual_seed(4)
    inputs, test, expected = unit(TRAIN.features), unit(VAL.features), []
    for _ in range(3):
        rows = torch.cat(draw_low_shot(TRAIN.labels, 5, generator=generator)).numpy()
        assert len(rows) == 5 * NUM_CLASSES
        scores = []
        for number in range(NUM_CLASSES):
            targets = np.where(TRAIN.labels[:, number] > 0, 1, -1)
            fitted = solver(0.5).fit(inputs[rows], targets[rows])
            decision = torch.from_numpy(fitted.decision_function(test))
            scores.append(100 * average_precision(decision, VAL.labels[:, number] > 0).item())
        expected.append(np.mean(scores))
    shot = found.low_shot[5]
    assert shot.runs == pytest.approx(expected, abs=1e-4)
    assert shot.mean == pytest.approx(np.mean(expected), abs=1e-4)
    assert shot.std == pytest.approx(np.std(expected, ddof=1), abs=1e-3)
    assert found.num_fits == NUM_CLASSES * (1 + 2 * 3)
    alone = linear_svm(TRAIN, VAL, low_shot=[5], runs=3, seed=4)
    assert alone.low_shot[5] == shot  # whichever other numbers are asked for
    other = linear_svm(TRAIN, VAL, low_shot=[5], runs=3, seed=5)
    assert other.low_shot[5].runs != shot.runs


def test_values_low_shot_of_vissl_leaves_difficult_images_out() -> None:
    """A class trains on its k images and on the negatives that were drawn for others."""
    found = linear_svm(TRAIN, VAL, protocol="vissl", costs=[1.0], low_shot=[4], runs=1, seed=2)
    drawn = draw_low_shot(TRAIN.labels, 4, generator=torch.Generator().manual_seed(2))
    scores = []
    for number in range(NUM_CLASSES):
        others = torch.cat(drawn[:number] + drawn[number + 1 :]).unique()
        others = others[TRAIN.labels[others, number] == -1]
        rows = torch.cat([drawn[number], others]).numpy()
        targets = np.array([1] * 4 + [-1] * len(others))
        fitted = solver(1.0).fit(unit(TRAIN.features)[rows], targets)
        truth = VAL.labels[:, number]
        decision = torch.from_numpy(fitted.decision_function(unit(VAL.features)))[truth != 0]
        scores.append(100 * average_precision(decision, truth[truth != 0] > 0).item())
    assert found.low_shot[4].runs == pytest.approx([np.mean(scores)], abs=1e-4)
    assert found.low_shot[4].std == 0.0


def test_values_low_shot_draws_are_nested_and_of_the_class() -> None:
    few, more = (
        draw_low_shot(TRAIN.labels, count, generator=torch.Generator().manual_seed(0))
        for count in (2, 6)
    )
    for number in range(NUM_CLASSES):
        assert torch.equal(more[number][:2], few[number])
        assert (TRAIN.labels[more[number], number] == 1).all()
        assert len(more[number].unique()) == 6


def test_values_unconverged_machines_are_counted_not_warned_of() -> None:
    """Labels at random and a high cost: the solver does not get through in 2000 iterations."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(150, 3, generator=generator)
    hard = Features(features, torch.randint(2, (150,), generator=generator))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = linear_svm(hard, hard, costs=[1e5])
    assert (found.num_fits, found.num_unconverged) == (2, 2)


def test_values_a_class_without_test_images_is_left_out_of_the_mean() -> None:
    val = Features(VAL.features, VAL.labels.clone())
    val.labels[:, 2] = -1
    found = linear_svm(TRAIN, val)
    assert found.per_class[2] is None
    rest = [value for number, value in enumerate(found.per_class) if number != 2]
    assert found.mean_ap == pytest.approx(np.mean(rest))


@pytest.mark.slow
def test_equivalence_of_one_and_two_processes() -> None:
    options: dict[str, Any] = dict(protocol="vissl", costs=[0.1, 5], low_shot=[2], runs=2)
    assert linear_svm(TRAIN, VAL, jobs=2, **options) == linear_svm(TRAIN, VAL, **options)


def test_values_labelled_keeps_images_of_several_classes() -> None:
    assert labelled(TRAIN) is TRAIN
    assert presence(torch.tensor([2, 0]), 3).tolist() == [[-1, -1, 1], [1, -1, -1]]


def test_raises_on_images_of_several_classes_that_are_named_otherwise() -> None:
    assert match_classes(VAL, ["a", "b", "c", "d"], ["a", "b", "c", "d"]) is VAL
    with pytest.raises(ValueError, match="other classes or another order"):
        match_classes(VAL, ["a", "b", "d", "c"], ["a", "b", "c", "d"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(protocol="voc"), "one of pcl, vissl, fair, got 'voc'"),
        (dict(costs=[]), "costs above 0"),
        (dict(costs=[0.0]), "costs above 0"),
        (dict(low_shot=[0]), "low_shot >= 1"),
        (dict(runs=0), "runs >= 1"),
        (dict(low_shot=[2, 30]), "but class b has 21. Ask for at most 21"),
    ],
)
def test_raises_on_options_before_anything_is_trained(
    options: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(SvmSolver, "solve")
    with pytest.raises(ValueError, match=words):
        linear_svm(TRAIN, VAL, classes="abcd", **options)


def test_raises_on_a_draw_of_too_many() -> None:
    with pytest.raises(ValueError, match="Class 1 has 21 training images; 22 cannot be drawn"):
        draw_low_shot(TRAIN.labels, 22, generator=torch.Generator())


def test_raises_on_labels_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="4 classes, the others 3"):
        linear_svm(TRAIN, Features(VAL.features, VAL.labels[:, :3]))
    none = Features(TRAIN.features, TRAIN.labels.clone())
    none.labels[:, 1] = -1
    with pytest.raises(ValueError, match="of 90 images, class 1 has 0"):
        linear_svm(none, VAL)
    none.labels[:2, 1] = 1
    with pytest.raises(ValueError, match=r"\(vissl\) needs 3 .* class 1 has 2"):
        linear_svm(none, VAL, protocol="vissl")
    single = Features(VAL.features, torch.arange(70) % 3)
    with pytest.raises(ValueError, match="class 2, which no training image has"):
        linear_svm(Features(TRAIN.features, torch.arange(90) % 2), single)
    with pytest.raises(ValueError, match=r"got labels \(90, 4\) and \(70,\)"):
        linear_svm(TRAIN, single)
    with pytest.raises(ValueError, match="0 training and 70 test"):
        linear_svm(Features(TRAIN.features, torch.full((90,), -1)), single)
    with pytest.raises(ValueError, match="No test image"):
        linear_svm(TRAIN, Features(VAL.features, torch.full_like(VAL.labels, -1)))


def test_raises_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[evaluation\]'"):
        linear_svm(TRAIN, VAL)
