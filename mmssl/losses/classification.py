"""Losses of classifiers: one class per image, or several."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


def class_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    label_smoothing: float = 0.0,
    share: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of the class of each image, batch mean.

        mean_i - log softmax(logits_i)[label_i]

    and of images mixed within the batch, with `targets` of `mixed_targets`,

        mean_i - sum_c targets_ic log softmax(logits_i)[c]

    Args:
        logits: (B, C), carry the gradient; the softmax runs in float32 at least, under autocast too.
        labels: (B,) int64 classes. Their range is checked on a GPU too, but no step waits for it: what is
            wrong ends the process at a later operation, by a device-side assertion.
        label_smoothing: Share of the target that is spread evenly over all classes.
        share: (B, B) the part that each image (row) has of each labelled one (column), from `BatchMix`.

    Raises:
        ValueError: Labels of another form, or outside 0..C-1.
    """
    if labels.shape != logits.shape[:1]:
        raise ValueError(
            f"Each of the {len(logits)} images needs one class, got labels of the form "
            f"{tuple(labels.shape)}. Images with several classes need multi_label=True."
        )
    _check_classes(labels, logits.shape[1])
    if share is None:
        return F.cross_entropy(_precise(logits), labels, label_smoothing=label_smoothing)
    targets = mixed_targets(labels, share, logits.shape[1], label_smoothing=label_smoothing)
    return F.cross_entropy(_precise(logits), targets.to(_precise(logits).dtype))


def _check_classes(labels: Tensor, num_classes: int) -> None:
    """Refuse labels outside 0..num_classes - 1, without a wait for the GPU that holds them."""
    if labels.is_cuda:
        torch._assert_async(
            ((labels >= 0) & (labels < num_classes)).all(),
            f"Classes must lie in 0..{num_classes - 1}. -1 is an image without a label. More classes "
            "than the head has: set head.num_classes.",
        )
        return
    lowest, highest = (int(bound) for bound in labels.aminmax())
    if lowest < 0 or highest >= num_classes:
        raise ValueError(
            f"Classes must lie in 0..{num_classes - 1}, got {lowest}..{highest}. -1 is an image "
            "without a label: put the images into one folder per class. More classes than the head "
            "has: set head.num_classes."
        )


def mixed_targets(
    labels: Tensor, share: Tensor, num_classes: int, *, label_smoothing: float = 0.0
) -> Tensor:
    """What images mixed within a batch show: smoothed classes, each with its part.

        share @ (label_smoothing / C + (1 - label_smoothing) onehot(labels))

    Args:
        labels: (B,) int64 classes of the images before they were mixed.
        share: (B, B) the part that each mixed image (row) has of each of them (column); rows sum to 1.
        num_classes: C.
        label_smoothing: Part of a target that is spread evenly over all classes.

    Returns:
        (B, C), rows sum to 1.

    Example:
        >>> mixed_targets(torch.tensor([0, 1]), torch.tensor([[0.75, 0.25], [0.25, 0.75]]), 2).tolist()
        [[0.75, 0.25], [0.25, 0.75]]
    """
    rest = label_smoothing / num_classes
    # neither autocast nor TF32 touches products of float64
    single = torch.full((len(labels), num_classes), rest, dtype=torch.float64, device=share.device)
    single.scatter_(1, labels[:, None], 1 - label_smoothing + rest)
    return (share.double() @ single).to(share.dtype)


def multi_label_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    reduction: Literal["mean", "sum"] = "mean",
    leave_out_difficult: bool = False,
) -> Tensor:
    """Binary cross-entropy of each class of each image.

        - log sigmoid(logits_ic) if class c is there,  - log sigmoid(-logits_ic) if not

    Args:
        logits: (B, C), carry the gradient; computed in float32 at least, under autocast too.
        labels: (B, C): 1 present, 0 only difficult objects, -1 absent.
        reduction: Mean or sum over images and classes (HCSC's VOC07 protocol sums).
        leave_out_difficult: Classes with label 0 have no part in the loss; else they count as absent.

    Raises:
        ValueError: Labels of another form, or nothing is left.
    """
    if labels.shape != logits.shape:
        raise ValueError(
            f"Each of the {len(logits)} images needs a label for each of {logits.shape[1]} classes, "
            f"got labels of the form {tuple(labels.shape)}. head.num_classes must be the number of "
            "classes of the data set, and multi_label=True is for data sets such as VOCClassification."
        )
    logits = _precise(logits)
    losses = F.binary_cross_entropy_with_logits(
        logits, (labels > 0).to(logits.dtype), reduction="none"
    )
    if leave_out_difficult:
        losses = losses[labels != 0]
        if not losses.numel():
            raise ValueError("Every label of the batch is 0 (only difficult objects): no loss.")
    return losses.sum() if reduction == "sum" else losses.mean()


def _precise(logits: Tensor) -> Tensor:
    """At least float32."""
    return logits.float() if logits.dtype.itemsize < 4 else logits
