"""Classes of images from a file of their own."""

from __future__ import annotations

import os
from pathlib import Path

from mmssl.datasets.image_dataset import NO_LABEL, ImageDataset
from mmssl.datasets.image_list import ImageList


def read_label_file(file: str | Path, dataset: ImageDataset) -> tuple[list[int], list[str]]:
    """A class per image of a data set, for images that carry none or to see them by other classes.

    A `.csv`, `.tsv` or `.jsonl` is a list of paths (below the data set's folder or the list's own) and labels
    in any order, as `ImageList` reads it; images that it does not name have no class. Any other file has one
    class name per line, in the order of the data set; an empty line is an image without a class.

    Args:
        file: The file.
        dataset: The images.

    Returns:
        Class numbers, -1 for none, and the names of the classes.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Another number of lines than images, or a list that names none of them.
    """
    if Path(file).suffix.lower() in (".csv", ".tsv", ".jsonl"):
        return _from_list(file, dataset)
    names = [line.strip() for line in Path(file).read_text(encoding="utf-8").splitlines()]
    if len(names) != len(dataset):
        raise ValueError(
            f"{file} has {len(names)} lines, but there are {len(dataset)} images: one class per line is "
            "expected, in the order of the images. A .csv with columns path and label may have another order."
        )
    classes = sorted({name for name in names if name})
    number = {name: position for position, name in enumerate(classes)}
    return [number.get(name, NO_LABEL) for name in names], classes


def _from_list(file: str | Path, dataset: ImageDataset) -> tuple[list[int], list[str]]:
    """Classes by path."""
    root = os.path.abspath(dataset.root)
    paths = [os.path.abspath(dataset.path(index)) for index in range(len(dataset))]
    for folder in (root, os.path.dirname(os.path.abspath(file))):
        listing = ImageList(str(file), root=folder)
        found = {
            os.path.abspath(listing.path(index)): label
            for index, label in enumerate(listing.labels)
        }
        if listing.classes is not None and any(path in found for path in paths):
            return [found.get(path, NO_LABEL) for path in paths], listing.classes
    raise ValueError(
        f"{file} has no label of any image of {root}, such as {os.path.relpath(paths[0], root)}: columns "
        "`path` (below that folder or that of the list) and `label` are expected."
    )
