"""ClassCheckHook: training images, validation images and classifier mean the same classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop

from mmssl.evaluation.features import bare_model
from mmssl.models.heads import LinearHead
from mmssl.registry import HOOKS


@HOOKS.register_module()
class ClassCheckHook(Hook):
    """Compare the labels of the data sets with the classifier before the first iteration.

    before_train            labels, names of classes, size of the head      <-

    A class folder that is missing on one side shifts all numbers behind it: without an error, every
    accuracy would be wrong. Lists that know numbers only are compared by their largest.
    """

    def before_train(self, runner) -> None:
        """Check the data of training and validation.

        Raises:
            ValueError: No labels, other classes on one side, or another number than the head has.
        """
        train = runner.train_dataloader.dataset
        sets = {"training": train}
        if isinstance(runner._val_loop, BaseLoop):
            sets["validation"] = runner._val_loop.dataloader.dataset
        for name, dataset in sets.items():
            _check_labels(name, dataset)
        if "validation" in sets:
            _check_names(train.classes, sets["validation"].classes)
        heads = [m for m in bare_model(runner.model).modules() if isinstance(m, LinearHead)]
        for head in heads:
            _check_size(head.num_classes, train.classes)


def _check_labels(name: str, dataset) -> None:
    labels = np.asarray(getattr(dataset, "labels", []))
    if getattr(dataset, "classes", None) is None or not labels.size:
        raise ValueError(
            f"The {name} images of {getattr(dataset, 'root', type(dataset).__name__)} have no labels. "
            "Put them into one folder per class, or use a list with labels."
        )
    if labels.ndim == 1 and (labels < 0).any() and name == "training":
        raise ValueError(
            f"{int((labels < 0).sum())} of the {len(labels)} training images have no label. A "
            "classifier needs one for each; list the labelled ones only."
        )


def _check_names(train: Sequence[str], val: Sequence[str]) -> None:
    if list(train) == list(val):
        return
    shorter, longer = sorted((list(train), list(val)), key=len)
    if all(name.isdigit() for name in longer) and longer[: len(shorter)] == shorter:
        return  # numbers of a list; the largest may be missing in a small one
    only_train = [name for name in train if name not in val]
    only_val = [name for name in val if name not in train]
    differences = [
        f"only {where}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
        for where, names in (("training has", only_train), ("validation has", only_val))
        if names
    ]
    raise ValueError(
        f"The {len(train)} classes of the training images are not the {len(val)} classes of the "
        f"validation images ({'; '.join(differences) or 'in another order'}). Name the class folders of "
        "both sets alike, and let both have all of them."
    )


def _check_size(num_classes: int, names: Sequence[str]) -> None:
    numbered = all(name.isdigit() for name in names)
    if num_classes == len(names) or (numbered and num_classes > len(names)):
        return
    raise ValueError(
        f"The classifier has {num_classes} outputs, the training images have {len(names)} classes. Set "
        f"model.head.num_classes={len(names)}."
    )
