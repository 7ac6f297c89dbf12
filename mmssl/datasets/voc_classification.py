"""VOCClassification: which classes an image of PASCAL VOC shows, of any data set in its layout."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch
from torch import Tensor

from mmssl.datasets.image_dataset import ImageDataset
from mmssl.datasets.transforms import MultiView
from mmssl.registry import DATASETS

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
PRESENT, DIFFICULT, ABSENT = 1, 0, -1


@DATASETS.register_module()
class VOCClassification(ImageDataset):
    """The images of a VOC split, each with one label per class.

    Read from `ImageSets/Main/<split>.txt`, `Annotations/<name>.xml` and `JPEGImages/<name>.jpg`. A
    label is 1 (an object of the class is there), 0 (only objects marked difficult are) or -1 (none
    is), as in the lists `<class>_<split>.txt` of the VOC development kit. `ViewBatch.label` is (C,)
    int8 for a sample, (B, C) for a batch.

    The PASCAL Visual Object Classes Challenge (Everingham et al., IJCV 2010), section 4.1.

    Args:
        root: Folder of one year, such as `data/VOCdevkit/VOC2007`.
        views: A `MultiView` or its config; None makes a dataset of `image(index)` only.
        split: Name of a list in `ImageSets/Main`, such as `trainval`.
        classes: Names of the classes, in the order of their labels; default VOC's twenty.
        seed: Seed of the views; None: the sampler's (the runner's).
        max_bad_ratio: Largest share of unreadable files; above it the run stops and lists them.

    Raises:
        FileNotFoundError: The list or an annotation is missing.
        ValueError: An empty list, a damaged annotation, or an object of an unknown class.
    """

    def __init__(
        self,
        root: str,
        views: MultiView | dict[str, Any] | None = None,
        *,
        split: str = "trainval",
        classes: Sequence[str] = VOC_CLASSES,
        seed: int | None = None,
        max_bad_ratio: float = 0.05,
    ) -> None:
        root = os.path.expanduser(root)
        names = _read_split(root, split)
        number = {name: position for position, name in enumerate(classes)}
        self._presence = np.stack([_presence(root, name, number) for name in names])
        super().__init__(
            root,
            [os.path.join("JPEGImages", f"{name}.jpg") for name in names],
            labels=None,
            classes=classes,
            views=views,
            seed=seed,
            max_bad_ratio=max_bad_ratio,
        )

    @property
    def labels(self) -> np.ndarray:  # type: ignore[override]  # one label per class, not one in all
        """(n, C) int8: 1 present, 0 only difficult objects, -1 absent."""
        return self._presence

    def _label(self, index: int) -> Tensor:
        return torch.from_numpy(self._presence[index].copy())


def _read_split(root: str, split: str) -> list[str]:
    """Names of the images of a split; a second column (of a class's own list) is ignored."""
    path = os.path.join(root, "ImageSets", "Main", f"{split}.txt")
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"The VOC split {path} does not exist (looked for it from {os.getcwd()}). root is the "
            "folder of one year, which holds Annotations, ImageSets and JPEGImages."
        )
    with open(path, encoding="utf-8") as lines:
        names = [line.split()[0] for line in lines if line.strip()]
    if not names:
        raise ValueError(f"The VOC split {path} names no image.")
    return names


def _presence(root: str, name: str, number: dict[str, int]) -> np.ndarray:
    """(C,) int8 labels of one image from its annotation."""
    path = os.path.join(root, "Annotations", f"{name}.xml")
    try:
        tree = ElementTree.parse(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"The annotation {path} of the image {name} does not exist; without it the image has "
            "no labels. Complete the folder or take the name off the split."
        ) from None
    except ElementTree.ParseError as error:
        raise ValueError(f"The annotation {path} is no XML: {error}. Copy it again.") from error
    labels = np.full(len(number), ABSENT, np.int8)
    for thing in tree.getroot().findall("object"):
        kind = (thing.findtext("name") or "").strip()
        if kind not in number:
            raise ValueError(
                f"{path} has an object of the class {kind!r}, which is none of the "
                f"{len(number)} classes ({', '.join(list(number)[:3])}, ...). Name all classes of "
                "the data set in `classes`."
            )
        difficult = (thing.findtext("difficult") or "0").strip() == "1"
        state = DIFFICULT if difficult else PRESENT
        labels[number[kind]] = max(labels[number[kind]], state)
    return labels
