"""ClassCheckHook: training images, validation images and classifier mean the same classes."""

from __future__ import annotations

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop

from mmssl.models.algorithms.base import bare_model
from mmssl.models.heads import LinearHead
from mmssl.registry import HOOKS


@HOOKS.register_module()
class ClassCheckHook(Hook):
    """Compare the labels of the data sets with the classifier before the first iteration.

    before_train            labels, names of classes, size of the head      <-

    A class folder that is missing on one side shifts all numbers behind it: without an error, every
    accuracy would be wrong. Lists that know numbers only (`ImageList.numbered`) are compared by their
    largest, and the classifier may have more outputs than they have classes; that is a warning.
    """

    def before_train(self, runner) -> None:
        """Check the data of training and validation.

        Raises:
            ValueError: No labels, other classes on one side, or another number than the head has.
        """
        sets = {"training": runner.train_dataloader.dataset}
        if isinstance(runner._val_loop, BaseLoop):
            sets["validation"] = runner._val_loop.dataloader.dataset
        for name, dataset in sets.items():
            _check_labels(name, dataset)
        if "validation" in sets:
            _check_names(sets["training"], sets["validation"])
        heads = [m for m in bare_model(runner.model).modules() if isinstance(m, LinearHead)]
        for head in heads:
            for name, dataset in sets.items():
                _check_size(head.num_classes, name, dataset)
            classes = max(len(dataset.classes) for dataset in sets.values())
            if head.num_classes > classes:
                runner.logger.warning(
                    f"The classifier has {head.num_classes} outputs, the lists have numbers of {classes} "
                    f"classes. If that is all, set model.head.num_classes={classes}."
                )


def _check_labels(name: str, dataset) -> None:
    labels = np.asarray(getattr(dataset, "labels", []))
    if getattr(dataset, "classes", None) is None or not labels.size:
        raise ValueError(
            f"The {name} images of {getattr(dataset, 'root', type(dataset).__name__)} have no labels. "
            "Put them into one folder per class, or use a list with labels."
        )
    several = labels.ndim == 2
    if not ((labels > 0) if several else (labels >= 0)).any():
        raise ValueError(
            f"None of the {len(labels)} {name} images of {dataset.root} "
            f"{'shows any class' if several else 'has a label'}; there is nothing to "
            f"{'learn' if name == 'training' else 'measure'}."
        )
    if not several and (labels < 0).any() and name == "training":
        raise ValueError(
            f"{int((labels < 0).sum())} of the {len(labels)} training images have no label. A "
            "classifier needs one for each; list the labelled ones only."
        )


def _numbered(dataset) -> bool:
    return getattr(dataset, "numbered", False)


def _check_names(train, val) -> None:
    if list(train.classes) == list(val.classes) or (_numbered(train) and _numbered(val)):
        return
    only_train = [name for name in train.classes if name not in val.classes]
    only_val = [name for name in val.classes if name not in train.classes]
    differences = [
        f"only {where}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
        for where, names in (("training has", only_train), ("validation has", only_val))
        if names
    ]
    raise ValueError(
        f"The {len(train.classes)} classes of the training images are not the {len(val.classes)} classes "
        f"of the validation images ({'; '.join(differences) or 'in another order'}). Name the class "
        "folders of both sets alike, and let both have all of them."
    )


def _check_size(num_classes: int, name: str, dataset) -> None:
    count = len(dataset.classes)
    if num_classes == count or (_numbered(dataset) and num_classes > count):
        return
    advice = f"Set model.head.num_classes={count}."
    if _numbered(dataset) and 0 not in dataset.labels:
        advice = (
            "No image has the label 0: the list seems to count from 1, and labels count from 0. Subtract "
            "1 from every label of both lists."
        )
    raise ValueError(
        f"The classifier has {num_classes} outputs, the {name} images have {count} classes. {advice}"
    )
