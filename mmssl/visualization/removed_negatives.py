"""Which keys of the queue the selection removed from the negatives of an image, and which are truly false.

HCSC: Hierarchical Contrastive Selective Coding, 2022, arXiv 2202.00455, section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from mmssl.datasets.image_dataset import ImageDataset
from mmssl.evaluation.mining import MiningCounts, mining_counts
from mmssl.visualization.image_names import ImageNames
from mmssl.visualization.image_sheet import SheetCell, SheetLine, image_sheet

# Frame colours and words of a removed key by whether it is of the image's class.
MARKS: dict[bool | None, tuple[tuple[int, int, int], str]] = {
    True: ((18, 128, 92), "same class"),
    False: ((192, 38, 45), "other class"),
    None: ((138, 143, 152), ""),
}


class RemovedKey(NamedTuple):
    """A key that is no negative.

    Attributes:
        image: Position of the image that it is of.
        probability: With which it was removed.
        same: Whether it is of the class of the query (or of the query itself); `None` where unknown.
    """

    image: int
    probability: float
    same: bool | None


class RemovedOnLevel(NamedTuple):
    """What one level of prototypes removed from the negatives of one image.

    Attributes:
        keys: The removed keys, the most probable first, as many as were asked for.
        removed: How many there are.
        candidates: Keys of the queue that are of an image.
        counts: True and false decisions among keys of known class, or `None` without labels.
    """

    keys: list[RemovedKey]
    removed: int
    candidates: int
    counts: MiningCounts | None


def removed_negatives(
    keep: Tensor,
    mask: Tensor,
    *,
    query: int,
    key_index: Tensor,
    labels: Tensor | None = None,
    limit: int = 16,
) -> list[RemovedOnLevel]:
    """Look up the images behind the keys that selection removed for one image.

    Keys of the start of a run, which are random directions, count for nothing.

    Args:
        keep: (L, K) probabilities with which a key stays a negative.
        mask: (L, K) bool, what was drawn from them: true where it stays.
        query: Position of the image.
        key_index: (K,) int64 positions of the images of the keys, -1 for none.
        labels: (n,) int64 classes of all images, below 0 where unknown.
        limit: Keys that are listed per level.

    Raises:
        ValueError: A key of an image beyond the labels.

    Example:
        >>> keep, index = torch.tensor([[0.1, 0.9, 0.2]]), torch.tensor([4, 3, -1])
        >>> (level,) = removed_negatives(keep, keep > 0.5, query=0, key_index=index)
        >>> level.removed, level.candidates, level.keys[0].image
        (1, 2, 4)
    """
    filled = key_index >= 0
    images, keep, mask = key_index[filled], keep[:, filled], mask[:, filled]
    if labels is not None and len(images) and int(images.max()) >= len(labels):
        raise ValueError(
            f"The queue has a key of image {int(images.max())}, but there are {len(labels)} labels: "
            "the labels are not of the images that the run was trained on."
        )
    found = []
    for probability, kept in zip(keep, mask, strict=True):
        gone = (~kept).nonzero()[:, 0]
        shown = gone[probability[gone].argsort(stable=True)][:limit]
        keys = [
            RemovedKey(int(images[at]), 1 - float(probability[at]), _relation(query, labels, image))
            for at, image in zip(shown.tolist(), images[shown].tolist(), strict=True)
        ]
        counts = None
        if labels is not None:
            counts = mining_counts(labels[query].view(1), labels[images], kept[None])
        found.append(RemovedOnLevel(keys, len(gone), len(images), counts))
    return found


def _relation(query: int, labels: Tensor | None, image: int) -> bool | None:
    """Whether two images are of one class, `None` where that is unknown."""
    if image == query:
        return True
    if labels is None or min(int(labels[query]), int(labels[image])) < 0:
        return None
    return int(labels[query]) == int(labels[image])


def draw_masks(keep: Tensor, generator: torch.Generator) -> Tensor:
    """Which keys stay negatives, drawn as in a training step.

    Args:
        keep: Probabilities, any shape.
        generator: Of the draws, on the CPU.

    Returns:
        bool, of the same shape, on the CPU.
    """
    return torch.rand(keep.shape, generator=generator) < keep.cpu()


def removed_sentence(level: RemovedOnLevel) -> str:
    """What one level did, in words.

    Args:
        level: The level.
    """
    text = f"{level.removed} of {level.candidates} keys removed"
    if level.counts is None:
        return text
    same = level.counts.same_removed + level.counts.same_kept
    known = level.counts.same_removed + level.counts.other_removed
    return (
        f"{text}; {level.counts.same_removed:.0f} of {known:.0f} with known class are of the image's class, "
        f"of which the queue has {same:.0f}"
    )


def removed_record(
    query: int, levels: Sequence[RemovedOnLevel], names: ImageNames
) -> dict[str, Any]:
    """The removed keys of one image for JSON.

    Args:
        query: The image.
        levels: What each level removed.
        names: Of all images.
    """
    return dict(
        image=query,
        file=names.files[query],
        label=names.class_of(query),
        levels=[
            dict(
                level=number,
                removed=level.removed,
                candidates=level.candidates,
                metrics=None if level.counts is None else level.counts.metrics()._asdict(),
                keys=[
                    dict(
                        image=key.image,
                        file=names.files[key.image],
                        label=names.class_of(key.image),
                        probability=round(key.probability, 4),
                        same=key.same,
                    )
                    for key in level.keys
                ],
            )
            for number, level in enumerate(levels)
        ],
    )


def removed_sheet(
    dataset: ImageDataset, query: int, levels: Sequence[RemovedOnLevel], names: ImageNames
) -> Image.Image:
    """The image, and below it the removed keys of each level with probability and truth.

    Args:
        dataset: Has the images.
        query: The image.
        levels: What each level removed.
        names: Of all images.
    """
    lines = [SheetLine("the image", [SheetCell(query, names.class_of(query) or "")])]
    for number, level in enumerate(levels):
        cells = []
        for key in level.keys:
            colour, word = MARKS[key.same]
            word = "itself" if key.image == query else word
            share = f"p = {key.probability:.2f}" if key.probability >= 0.01 else "p < 0.01"
            cells.append(SheetCell(key.image, f"{share}\n{word}", colour))
        lines.append(SheetLine(f"level {number}: {removed_sentence(level)}", cells))
    return image_sheet(dataset, f"Removed negatives of image {query}: {names.files[query]}", lines)
