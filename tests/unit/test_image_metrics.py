"""TopKAccuracy and MultiLabelPrecision: values, images that come twice, messages."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from mmssl.evaluation import MultiLabelPrecision, TopKAccuracy
from mmssl.structures import Predictions


def predictions(index: list[int], labels: torch.Tensor, scores: torch.Tensor) -> list[Predictions]:
    return [Predictions(torch.tensor(index), labels[index], scores[index])]


def drawn(num: int = 50, classes: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, classes, (num,), generator=generator)
    return labels, torch.randn(num, classes, generator=generator)


def test_values_accuracy_is_a_count() -> None:
    labels, scores = drawn()
    order = scores.numpy().argsort(axis=1)[:, ::-1]
    metric = TopKAccuracy((1, 2, 5))
    for start in range(0, 50, 16):
        rows = list(range(start, min(start + 16, 50)))
        metric.process(None, predictions(rows, labels, scores))
    found = metric.evaluate(50)
    for k in (1, 2, 5):
        right = sum(int(labels[i]) in order[i, :k] for i in range(50))
        assert found[f"accuracy/top{k}"] == pytest.approx(100 * right / 50)
    assert metric.results == []


def test_values_images_count_once_in_any_order() -> None:
    labels, scores = drawn()
    metric = TopKAccuracy()
    metric.process(None, predictions(list(range(50)), labels, scores))
    expected = metric.evaluate(50)
    for rows in ([*range(20, 50), *range(10)], [*range(20), *range(25)]):
        metric.process(None, predictions(rows, labels, scores))
    assert metric.evaluate(50) == expected


def test_values_ties_go_to_the_lower_class() -> None:
    """A classifier that says nothing is right about class 0 only."""
    labels = torch.tensor([0, 1, 2, 3])
    metric = TopKAccuracy((1, 2, 9))
    metric.process(None, predictions([0, 1, 2, 3], labels, torch.zeros(4, 4)))
    assert metric.evaluate(4) == {
        "accuracy/top1": 25.0,
        "accuracy/top2": 50.0,
        "accuracy/top9": 100.0,
    }


def test_values_images_without_label_do_not_count(monkeypatch) -> None:
    labels, scores = torch.tensor([0, -1, 1]), torch.eye(3)
    metric = TopKAccuracy((1,), prefix="val")
    metric.process(None, predictions([0, 1, 2], labels, scores))
    assert metric.evaluate(3) == {"val/top1": 50.0}
    said = []
    monkeypatch.setattr(
        "mmssl.evaluation.image_metric.print_log",
        lambda message, level=logging.INFO, **_: said.append((level, message)),
    )
    metric.process(None, predictions([0], labels, scores))
    assert metric.evaluate(3) == {"val/top1": 100.0}
    assert said[0][0] == logging.WARNING and "1 of 3 images were counted" in said[0][1]


def test_values_precision_by_hand() -> None:
    labels = torch.tensor([[1, -1], [-1, 1], [1, 0], [-1, -1]], dtype=torch.int8)
    scores = torch.tensor([[3.0, 4.0], [2.0, 3.0], [1.0, 2.0], [0.0, 1.0]])
    metric = MultiLabelPrecision(per_class=True)
    metric.process(None, predictions([0, 1, 2, 3], labels, scores))
    found = metric.evaluate(4)
    # class 0: hits at ranks 1 and 3; class 1: at rank 2
    assert found["multi_label/AP_0"] == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert found["multi_label/AP_1"] == pytest.approx(50)
    assert found["multi_label/mAP"] == pytest.approx(100 * (5 / 6 + 1 / 2) / 2)
    # images: true class second, first, second, none
    assert found["multi_label/image_mAP"] == pytest.approx(100 * (0.5 + 1 + 0.5 + 0) / 4)


def test_values_difficult_images_can_be_left_out() -> None:
    """The image with the highest score of class 1 shows it, but only as a difficult object."""
    labels = torch.tensor([[1, 0], [-1, 1], [1, -1]], dtype=torch.int8)
    scores = torch.tensor([[3.0, 4.0], [2.0, 3.0], [1.0, 2.0]])
    found = {}
    for leave_out in (False, True):
        metric = MultiLabelPrecision(leave_out_difficult=leave_out, per_class=True)
        metric.process(None, predictions([0, 1, 2], labels, scores))
        found[leave_out] = metric.evaluate(3)
    assert [found[key]["multi_label/AP_1"] for key in (False, True)] == pytest.approx([50, 100])
    assert found[False]["multi_label/image_mAP"] == found[True]["multi_label/image_mAP"]


def test_values_classes_that_no_image_shows_have_no_part() -> None:
    labels = torch.tensor([[1, -1, -1], [-1, 1, -1]], dtype=torch.int8)
    metric = MultiLabelPrecision()
    metric.process(None, predictions([0, 1], labels, torch.eye(2, 3)))
    assert metric.evaluate(2)["multi_label/mAP"] == pytest.approx(100)


def test_raises() -> None:
    labels, scores = drawn()
    with pytest.raises(ValueError, match="numbers of at least 1"):
        TopKAccuracy(())
    with pytest.raises(ValueError, match="saw no image"):
        TopKAccuracy().evaluate(5)
    spoilt = scores.clone()
    spoilt[7, 2] = float("nan")
    with pytest.raises(ValueError, match="1 images are not finite, the first is image 7"):
        TopKAccuracy().process(None, predictions(list(range(50)), labels, spoilt))
    with pytest.raises(ValueError, match="has class 6, the classifier has 3 classes"):
        TopKAccuracy().process(None, predictions(list(range(50)), labels, scores[:, :3]))
    with pytest.raises(ValueError, match="use MultiLabelPrecision for several"):
        TopKAccuracy().process(None, predictions([0], scores, scores))
    with pytest.raises(ValueError, match="a label for each of 7 classes"):
        MultiLabelPrecision().process(None, predictions([0], labels, scores))
    metric = TopKAccuracy()
    metric.process(None, predictions([0, 1], torch.tensor([-1, -1]), scores))
    with pytest.raises(ValueError, match="None of the 2 validation images has a label"):
        metric.evaluate(2)
    metric = MultiLabelPrecision()
    metric.process(None, predictions([0], -torch.ones(1, 7), scores))
    with pytest.raises(ValueError, match="shows any class"):
        metric.evaluate(1)


def test_values_numpy_count_of_many_classes() -> None:
    """ImageNet's size of head, float16 scores."""
    rng = np.random.default_rng(0)
    scores = torch.from_numpy(rng.normal(size=(64, 1000))).half()
    labels = scores.topk(6, dim=1).indices[:, 5]
    metric = TopKAccuracy((5, 6))
    metric.process(None, predictions(list(range(64)), labels, scores))
    found = metric.evaluate(64)
    assert found["accuracy/top6"] > 90 and found["accuracy/top5"] < 20
