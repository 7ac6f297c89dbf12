"""What the images of a data set are called: files and classes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from mmssl.datasets.image_dataset import ImageDataset


class ImageNames(NamedTuple):
    """How images are called in pictures and records.

    Attributes:
        files: A name per image.
        labels: (n,) int64 classes, below 0 where unknown, or `None`.
        classes: Names of the classes, or `None` for their numbers.
    """

    files: Sequence[str]
    labels: Tensor | None
    classes: Sequence[str] | None

    def class_of(self, index: int) -> str | None:
        """Name of the class of an image, `None` where unknown.

        Args:
            index: Its position.
        """
        label = -1 if self.labels is None else int(self.labels[index])
        return None if label < 0 else self.class_name(label)

    def class_name(self, label: int) -> str:
        """Name of a class.

        Args:
            label: Its number.
        """
        return str(label) if self.classes is None else self.classes[label]


def image_names(
    dataset: ImageDataset, labels: Tensor | None, classes: Sequence[str] | None
) -> ImageNames:
    """The names of a data set's images: their paths below its folder.

    Args:
        dataset: The images.
        labels: (n,) int64 their classes, or `None`.
        classes: Names of the classes, or `None`.
    """
    paths = [dataset.path(index) for index in range(len(dataset))]
    root = dataset.root.rstrip(os.sep) + os.sep
    return ImageNames([path.removeprefix(root) for path in paths], labels, classes)
