"""Hooks of the classifier protocols alone: classes, frozen tensors across a resume, a hook left out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.hooks import IterTimerHook
from mmengine.runner import BaseLoop
from torch import nn

from mmssl.engine.hooks import BestEpochHook, ClassCheckHook, CollapseHook, FrozenCheckHook
from mmssl.engine.runner import Runner
from mmssl.models.heads import LinearHead
from tests.helpers.runs import toy_config


class Loop(BaseLoop):
    """A loop that is built, as far as its data set goes."""

    def __init__(self, dataset: Any) -> None:
        self.dataloader = SimpleNamespace(dataset=dataset)

    def run(self) -> None:
        raise NotImplementedError


def labelled(
    classes: list[str] | None, labels: Any = None, *, numbered: bool = False
) -> SimpleNamespace:
    if labels is None:
        labels = [-1, -1] if classes is None else list(range(len(classes)))
    return SimpleNamespace(classes=classes, labels=labels, root="photos", numbered=numbered)


def listed(*labels: int) -> SimpleNamespace:
    """A list of numbers, as ImageList reads it."""
    return labelled([str(number) for number in range(max(labels) + 1)], list(labels), numbered=True)


def check(train: SimpleNamespace, val: SimpleNamespace, num_classes: int) -> list[str]:
    """The warnings."""
    said: list[str] = []
    runner = SimpleNamespace(
        model=nn.Sequential(LinearHead(2, num_classes)),
        train_dataloader=SimpleNamespace(dataset=train),
        _val_loop=Loop(val),
        logger=SimpleNamespace(warning=said.append),
    )
    ClassCheckHook().before_train(runner)
    return said


NUMBERS = [str(number) for number in range(5)]


def test_values_classes_that_agree() -> None:
    assert check(labelled(["a", "b"]), labelled(["a", "b"]), 2) == []
    check(labelled(["a", "b"]), labelled(["a", "b"], [-1, 0, 1]), 2)
    presence = np.array([[1, -1], [0, -1]], np.int8)
    check(labelled(["a", "b"], presence), labelled(["a", "b"], presence), 2)
    # lists of numbers: the largest may be missing on either side, and in both
    assert check(listed(0, 4), listed(0, 2), 5) == []
    assert check(listed(0, 2), listed(0, 4), 5) == []
    (warning,) = check(listed(0, 3), listed(0, 2), 5)
    assert "has 5 outputs, the lists have numbers of 4 classes" in warning
    # folders may be named with numbers, too
    assert check(labelled(NUMBERS), labelled(NUMBERS), 5) == []


@pytest.mark.parametrize(
    ("train", "val", "num_classes", "message"),
    [
        (["a", "b", "c"], ["a", "c"], 3, r"3 classes .* 2 classes .*only training has: b\)"),
        (["a", "b"], ["b", "a"], 2, "in another order"),
        (["a", "b"], ["a", "d"], 2, "only training has: b; only validation has: d"),
        (["a", "b"], ["a", "b"], 1000, "has 1000 outputs, the training images have 2 classes"),
        (NUMBERS, NUMBERS, 4, "has 4 outputs, the training images have 5 classes"),
        (NUMBERS, NUMBERS, 1000, "has 1000 outputs, the training images have 5 classes"),
        (NUMBERS, NUMBERS[:3], 5, r"5 classes .* 3 classes .*only training has: 3, 4\)"),
        (None, ["a"], 2, "The training images of photos have no labels"),
        (["a"], None, 1, "The validation images of photos have no labels"),
    ],
)
def test_raises_on_classes_that_differ(train, val, num_classes, message) -> None:
    with pytest.raises(ValueError, match=message):
        check(labelled(train), labelled(val), num_classes)


@pytest.mark.parametrize(
    ("train", "val", "num_classes", "message"),
    [
        (
            listed(0, 3),
            listed(0, 4),
            4,
            "4 outputs, the validation images have 5 classes. Set model",
        ),
        (
            listed(1, 4),
            listed(1, 4),
            4,
            "4 outputs, .* 5 classes. No image has the label 0: .* from 1",
        ),
        (listed(0, 1), listed(0, 1), 1, "1 outputs, .* 2 classes. Set model.head.num_classes=2"),
        (
            listed(0, 1),
            labelled(["0", "1"], [-1, -1]),
            2,
            "None of the 2 validation .* has a label",
        ),
        (
            labelled(["a", "b"], np.array([[1, -1]])),
            labelled(["a", "b"], np.array([[0, -1]])),
            2,
            "None of the 1 validation images of photos shows any class",
        ),
    ],
)
def test_raises_on_labels_beyond_the_classifier(train, val, num_classes, message) -> None:
    with pytest.raises(ValueError, match=message):
        check(train, val, num_classes)


def test_raises_on_training_images_without_label() -> None:
    with pytest.raises(ValueError, match="2 of the 4 training images have no label"):
        check(labelled(["a", "b"], [0, -1, -1, 1]), labelled(["a", "b"]), 2)


def frozen_runner(iteration: int = 0) -> SimpleNamespace:
    torch.manual_seed(0)
    model = nn.ModuleDict(dict(backbone=nn.BatchNorm1d(2), head=nn.Linear(2, 2)))
    return SimpleNamespace(model=model, iter=iteration)


def test_state_frozen_tensors_across_a_resume() -> None:
    hook, runner = FrozenCheckHook(), frozen_runner()
    hook.before_train(runner)
    runner.model["head"].weight.data.add_(1)
    hook.after_train_epoch(runner)
    checkpoint: dict = {}
    hook.before_save_checkpoint(runner, checkpoint)
    same, other = frozen_runner(5), frozen_runner(5)
    other.model["backbone"].running_mean[1] = 1e-20
    again = FrozenCheckHook()
    again.after_load_checkpoint(same, checkpoint)
    again.before_train(same)
    again.after_load_checkpoint(other, checkpoint)
    with pytest.raises(RuntimeError, match=r"1 of 5 frozen tensors .* backbone\.running_mean"):
        again.before_train(other)
    # a new run from these weights has its own start
    other.iter = 0
    again.after_load_checkpoint(other, checkpoint)
    again.before_train(other)


def test_state_running_statistics_may_move_when_asked() -> None:
    hook, runner = FrozenCheckHook(buffers=False), frozen_runner()
    hook.before_train(runner)
    runner.model["backbone"].running_var.mul_(2)
    hook.after_train_epoch(runner)
    runner.model["backbone"].bias.data[0] = 1
    with pytest.raises(RuntimeError, match=r"1 of 2 frozen tensors .* backbone\.bias"):
        hook.after_train_epoch(runner)


def test_state_default_hooks_that_are_none_are_left_out(tmp_path: Path) -> None:
    kinds = {
        name: [type(hook) for hook in Runner.from_cfg(toy_config(tmp_path / name, **changes)).hooks]
        for name, changes in {
            "all": {},
            "some": {"default_hooks.collapse": None, "default_hooks.timer": None},
        }.items()
    }
    left = set(kinds["all"]) - set(kinds["some"])
    assert left == {CollapseHook, IterTimerHook}


def test_raises_on_a_metric_that_validation_does_not_have() -> None:
    runner = SimpleNamespace(_train_loop=Loop(None), iter=6, epoch=2, train_dataloader=[0, 1, 2])
    with pytest.raises(ValueError, match=r"metric='accuracy/top1'\): validation gave a/mAP"):
        BestEpochHook().after_val_epoch(runner, {"a/mAP": 1.0})


def test_state_validation_inside_an_epoch_is_not_one_of_an_epoch() -> None:
    """As happens when a hook sets `stop_training`: the weights are those of no epoch."""
    hook = BestEpochHook("x")
    runner = SimpleNamespace(_train_loop=Loop(None), iter=5, epoch=1, train_dataloader=[0, 1, 2])
    hook.after_val_epoch(runner, dict(x=1.0))
    assert hook.history == []


def test_values_first_of_equal_epochs_is_best() -> None:
    hook = BestEpochHook("x")
    hook.history = [dict(epoch=e, x=v) for e, v in ((1, 2.0), (2, 5.0), (3, 5.0), (4, 1.0))]
    assert hook.best()["epoch"] == 2
