"""Protocols of linear SVMs on frozen features, and what their options and images must be.

Sources and differences: see `mmssl.evaluation.svm`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from torch import Tensor

Protocol = Literal["pcl", "vissl", "fair"]

FOLDS = 3
_NAMED = 5


class SvmProtocol(NamedTuple):
    """What distinguishes the protocols.

    Attributes:
        costs: Those that are tried.
        cross_validated: Whether folds of the training images choose among them, class by class.
    """

    costs: tuple[float, ...]
    cross_validated: bool


PROTOCOLS = {
    "pcl": SvmProtocol((0.5,), False),
    "vissl": SvmProtocol((0.01, 0.1, 1, 2, 5, 10, 15, 20, 50, 100, 1000), True),
    "fair": SvmProtocol((1, 10, 100, *(0.5**power for power in range(4, 20))), True),
}


def check_svm_options(
    protocol: str = "pcl",
    *,
    costs: Sequence[float] | None = None,
    low_shot: Sequence[int] = (),
    runs: int = 5,
) -> None:
    """Refuse options of `linear_svm` that no images can satisfy.

    Args:
        protocol: As there.
        costs: As there.
        low_shot: As there.
        runs: As there.

    Raises:
        ValueError: No such protocol, no cost above 0, or a number below 1.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(
            f"The SVM's protocol must be one of {', '.join(PROTOCOLS)}, got {protocol!r}."
        )
    chosen = PROTOCOLS[protocol].costs if costs is None else costs
    if not chosen or min(chosen) <= 0 or runs < 1 or any(count < 1 for count in low_shot):
        raise ValueError(
            "A linear SVM needs costs above 0, runs >= 1 and low_shot >= 1, got "
            f"costs={list(chosen)}, runs={runs}, low_shot={list(low_shot)}."
        )


def check_class_counts(
    counts: Tensor,
    num_images: int,
    protocol: str,
    *,
    low_shot: Sequence[int] = (),
    classes: Sequence[str] | None = None,
) -> None:
    """Refuse training images of which a class has too few, with it or without it.

    Args:
        counts: (C,) int64 training images that show each class.
        num_images: Training images.
        protocol: One of `PROTOCOLS`.
        low_shot: Numbers of images per class that are to be drawn.
        classes: Names of the classes; without them their numbers are told.

    Raises:
        ValueError: Too few images; the classes are named.
    """
    least = FOLDS if PROTOCOLS[protocol].cross_validated else 1
    few = (counts < least) | (num_images - counts < least)
    if few.any():
        raise ValueError(
            f"A linear SVM ({protocol}) needs {least} training image(s) with and {least} without every "
            f"class; of {num_images} images, {_listed(few, counts, classes)}."
        )
    most = max(low_shot, default=0)
    if (counts < most).any():
        raise ValueError(
            f"Low-shot SVMs of {most} images per class need as many training images of every class, but "
            f"{_listed(counts < most, counts, classes)}. Ask for at most {int(counts.min())}."
        )


def _listed(which: Tensor, counts: Tensor, classes: Sequence[str] | None) -> str:
    """The first of the classes in `which`, (C,) bool, with their number of images."""
    numbers = which.nonzero()[:, 0].tolist()
    told = [
        f"class {number if classes is None else classes[number]} has {int(counts[number])}"
        for number in numbers[:_NAMED]
    ]
    more = len(numbers) - _NAMED
    return ", ".join(told) + (f" and {more} more have too few" if more > 0 else "")
