"""ImageFolder: all images below a folder, labels from class folders if there are any."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from mmssl.datasets.image_dataset import ImageDataset
from mmssl.datasets.splits import read_split
from mmssl.datasets.transforms import MultiView
from mmssl.registry import DATASETS

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff")


@DATASETS.register_module()
class ImageFolder(ImageDataset):
    """The images of a folder and of all folders below it, sorted by path.

    Args:
        root: The folder.
        views: A `MultiView` or its config; None makes a dataset of `image(index)` only.
        labels: True: the first folder below `root` is the class; False: no labels; 'auto': labels
            if every image lies in one of at least two folders below `root`.
        subset: A file that lists the images to use, as `mmssl.datasets.splits.read_split` reads it. The
            classes stay those of the whole folder.
        extensions: File names that count as images, in lower case.
        seed: Seed of the views; None: the sampler's (the runner's).
        max_bad_ratio: Largest share of unreadable files; above it the run stops and lists them.

    Attributes:
        subset: The file of that name, or None.

    Raises:
        FileNotFoundError: There is no such folder or list, or no image in it.
        ValueError: `labels=True`, but images lie directly in `root`; or the list names an image that the
            folder lacks.
    """

    def __init__(
        self,
        root: str,
        views: MultiView | dict[str, Any] | None = None,
        *,
        labels: bool | str = "auto",
        subset: str | None = None,
        extensions: Sequence[str] = IMAGE_EXTENSIONS,
        seed: int | None = None,
        max_bad_ratio: float = 0.05,
    ) -> None:
        if labels not in (True, False, "auto"):
            raise ValueError(f"labels must be True, False or 'auto', got {labels!r}.")
        root = os.path.expanduser(root)
        paths = find_files(root, extensions)
        folders = [_first_folder(path) for path in paths]
        classes = sorted(set(folders))
        if labels is True and "" in classes:
            raise ValueError(
                f"labels=True takes the class from the folder, but {folders.count('')} images lie "
                f"directly in {root}, for example {paths[folders.index('')]}. Move them into class "
                "folders or use labels=False."
            )
        if labels == "auto":
            labels = "" not in classes and len(classes) > 1
        self.subset = subset
        if subset is not None:
            paths = _listed(subset, root, paths)
            folders = [_first_folder(path) for path in paths]
        number = {name: position for position, name in enumerate(classes)}
        super().__init__(
            root,
            paths,
            labels=[number[folder] for folder in folders] if labels else None,
            classes=classes if labels else None,
            views=views,
            seed=seed,
            max_bad_ratio=max_bad_ratio,
        )


def _first_folder(path: str) -> str:
    return path.split(os.sep, 1)[0] if os.sep in path else ""


def _listed(file: str, root: str, paths: list[str]) -> list[str]:
    """The paths that a split file lists, in order of the folder; all of them must be there."""
    wanted = set(read_split(file))
    found = [path for path in paths if path in wanted]
    if len(found) < len(wanted):
        absent = sorted(wanted.difference(found))
        raise ValueError(
            f"{len(absent)} of the {len(wanted)} images that {file} lists are not in {root}, for "
            f"example {absent[0]}. The list belongs to another folder, or images are missing."
        )
    return found


def find_files(root: str, extensions: Sequence[str]) -> list[str]:
    """Paths below `root`, relative to it, of files with one of the extensions; sorted.

    Hidden files and folders (a leading dot) are left out; links to folders are followed once.

    Raises:
        FileNotFoundError: There is no such folder, or no such file in it.
    """
    endings = tuple(ending.lower() for ending in extensions)
    if not os.path.isdir(root):
        what = "is a file, not a folder" if os.path.exists(root) else "does not exist"
        raise FileNotFoundError(
            f"The image folder {root} {what} (looked for it from {os.getcwd()})."
        )
    found: list[str] = []
    num_other = 0
    # Links come last: what they lead to may be a folder that is found without them.
    pending, links, visited = [""], [], {os.path.realpath(root)}
    while pending or links:
        if pending:
            folder = pending.pop()
        else:
            links.sort(reverse=True)
            folder = links.pop()
            target = os.path.realpath(os.path.join(root, folder))
            if target in visited:
                continue
            visited.add(target)
        with os.scandir(os.path.join(root, folder)) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = os.path.join(folder, entry.name)
                if entry.is_symlink() and entry.is_dir():
                    links.append(path)
                elif entry.is_dir():
                    target = os.path.realpath(entry.path)
                    if target not in visited:
                        visited.add(target)
                        pending.append(path)
                elif entry.name.lower().endswith(endings):
                    found.append(path)
                else:
                    num_other += 1
    if not found:
        raise FileNotFoundError(
            f"No image in {root} or below: looked for files that end with {', '.join(endings)} "
            f"(upper case too) and found {num_other} other files."
        )
    found.sort()
    return found
