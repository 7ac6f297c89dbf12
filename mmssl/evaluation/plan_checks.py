"""What is wrong with an evaluation, told before features are computed, which may take hours.

The functions that evaluate check the same again, on the images that could be read.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmssl.evaluation.class_levels import class_levels
from mmssl.evaluation.clustering import check_cluster_options, check_cluster_sizes
from mmssl.evaluation.feature_protocols import Method, parts_needed
from mmssl.evaluation.features import Features, labelled, match_classes
from mmssl.evaluation.labelled_sets import LabelledSets, Part
from mmssl.evaluation.logistic_regression import check_logistic_options
from mmssl.evaluation.svm_protocols import check_class_counts, check_svm_options
from mmssl.ops.knn import check_votes

_LISTS = {
    "knn": ("k",), "logistic": ("penalties",), "svm": ("costs", "low_shot"),
    "cluster": ("num_clusters", "tree"),
}  # fmt: skip
_ONE_CLASS = {
    "linear": "The linear probe", "knn": "k-NN", "logistic": "A logistic regression",
    "cluster": "Clustering",
}  # fmt: skip


def _run(check: Callable[..., None], options: Mapping[str, Any], *arguments: Any) -> None:
    """Call a check with the options that it takes."""
    taken = inspect.signature(check).parameters
    check(*arguments, **{key: value for key, value in options.items() if key in taken})


def check_options(plan: Mapping[str, Any], methods: Sequence[Method]) -> None:
    """Refuse values that no images can satisfy.

    Args:
        plan: See `evaluation_plan`.
        methods: What is to be evaluated.

    Raises:
        ValueError: A value that the protocol does not take; the message names `evaluation.<method>`.
    """
    checks: dict[Method, Callable[..., None]] = dict(
        knn=check_votes,
        logistic=check_logistic_options,
        svm=check_svm_options,
        cluster=check_cluster_options,
    )
    for method, check in checks.items():
        if method not in methods:
            continue
        for key in _LISTS[method]:
            value = plan[method].get(key)
            if value is not None and (isinstance(value, str) or not isinstance(value, Sequence)):
                raise ValueError(
                    f"evaluation.{method}.{key} must be a list of numbers, such as [4], got {value!r}."
                )
        try:
            _run(check, plan[method])
        except ValueError as error:
            raise ValueError(f"evaluation.{method}: {error}") from error


def check_images(sets: LabelledSets, plan: Mapping[str, Any], methods: Sequence[Method]) -> None:
    """Refuse images that cannot be evaluated so, by their number, labels and classes.

    Args:
        sets: The images.
        plan: See `evaluation_plan`.
        methods: What is to be evaluated.

    Raises:
        ValueError: Images of several classes or without labels, classes that do not match, more clusters
            or more images per class than there are, or a hierarchy that does not fit.
    """
    for method, what in _ONE_CLASS.items():
        if method in methods:
            _one_class_each(sets, "train" if method != "cluster" else _split(plan), what)
    for method in methods:
        parts = parts_needed(method, plan)
        known = {part: labels for part in parts if (labels := sets.labels(part)) is not None}
        if len(known) < len(parts):
            continue  # a data set of somebody else's that does not tell its labels
        for part, labels in known.items():
            sets.require_labels(part, labels)
        if len(parts) == 2:
            rows = Features(torch.empty(len(known["val"]), 0), known["val"])
            match_classes(labelled(rows), sets.classes("val"), sets.classes("train"))
        if method == "svm":
            _check_svm(known["train"], sets.classes("train"), plan["svm"])
        if method == "cluster":
            _check_clusters(known[_split(plan)], sets.classes(_split(plan)), plan["cluster"])


def _split(plan: Mapping[str, Any]) -> Part:
    (part,) = parts_needed("cluster", plan)
    return part


def _one_class_each(sets: LabelledSets, part: Part, what: str) -> None:
    if sets.several_classes(part):
        raise ValueError(
            f"{what} needs one class per image; the images of {part}_dataset may show several. "
            "Evaluate them with --svm."
        )


def _check_svm(labels: Tensor, classes: Sequence[str] | None, options: Mapping[str, Any]) -> None:
    if labels.ndim == 1:
        labels = labels[labels >= 0]
        counts = labels.bincount()
    else:
        counts = (labels > 0).sum(0)
    check_class_counts(
        counts,
        len(labels),
        options.get("protocol", "pcl"),
        low_shot=options.get("low_shot", ()),
        classes=classes,
    )


def _check_clusters(
    labels: Tensor, classes: Sequence[str] | None, options: Mapping[str, Any]
) -> None:
    _run(check_cluster_sizes, options, int((labels >= 0).sum()))
    hierarchy = options.get("hierarchy")
    if hierarchy is None:
        return
    if classes is None:
        raise ValueError(f"The hierarchy {hierarchy!r} needs the names of the classes.")
    class_levels(hierarchy, classes)
