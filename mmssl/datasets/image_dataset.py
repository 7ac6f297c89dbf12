"""ImageDataset: what image folders and image lists share: keys, views, labels, unreadable files."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from mmssl.datasets.bad_files import BadFiles, TooManyBadFilesError
from mmssl.datasets.decode import UnreadableImageError, read_image
from mmssl.datasets.path_table import PathTable
from mmssl.datasets.transforms import MultiView, ViewRandom
from mmssl.datasets.transforms.base import Picture
from mmssl.registry import TRANSFORMS, build_module
from mmssl.structures import ViewBatch

NO_LABEL = -1
# Distinguishes the stream that picks replacements from those of the views
_REPLACEMENT_STREAM = 1 << 32
_MAX_REPLACEMENTS = 50
_SAMPLED_FILES = 64


class ImageDataset(Dataset):
    """Images by path; an item is `dict(inputs=ViewBatch)` of one sample.

    A key is an index (epoch 0) or a pair (epoch, index), which is what `CounterSampler` yields. The
    item is a pure function of (seed, epoch, index).

    An unreadable file is replaced by another image, chosen as a pure function of (seed, epoch,
    index) too, so that nothing else changes with the number of workers; the item is then exactly
    that of the other image, `ViewBatch.index` included.

    Args:
        root: Prepended to relative paths; may be empty.
        paths: Paths of the images.
        labels: A class number per image (-1: none), or None.
        classes: Names of the classes, or None.
        views: A `MultiView` or its config; None makes a dataset of `image(index)` only.
        seed: Seed of the views; None: the seed of the `CounterSampler` built for this dataset (the
            runner's), 0 without one.
        max_bad_ratio: Largest share of unreadable files; above it the run stops and lists them.
    """

    def __init__(
        self,
        root: str,
        paths: Iterable[str],
        *,
        labels: Sequence[int] | None,
        classes: Sequence[str] | None,
        views: MultiView | dict[str, Any] | None,
        seed: int | None,
        max_bad_ratio: float,
    ) -> None:
        self.root = root
        self.seed = seed
        self.views = _built_views(views)
        self.classes = None if classes is None else list(classes)
        self._paths = PathTable(paths)
        self._labels = np.full(len(self._paths), NO_LABEL, np.int64)
        if labels is not None:
            self._labels[:] = labels
        self.bad_files = BadFiles(
            len(self._paths), max_bad_ratio, name=root or "the list", path=self.path
        )

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def labels(self) -> list[int]:
        """The class of every image, -1 where it has none."""
        return self._labels.tolist()

    def path(self, index: int) -> str:
        """The file of an image."""
        return os.path.join(self.root, self._paths[index])

    def with_views(
        self, views: MultiView | dict[str, Any] | None, *, seed: int | None = None
    ) -> ImageDataset:
        """The same images at the same positions, in other views.

        Both know of the unreadable files that either finds.

        Args:
            views: A `MultiView` or its config.
            seed: Of the views and of what stands for unreadable files.
        """
        other = copy.copy(self)
        other.views, other.seed = _built_views(views), seed
        return other

    def fingerprint(self) -> str:
        """A word that changes with the images: their names and order, size and time of a sample of them."""
        digest = hashlib.sha256(f"{type(self).__name__} {os.path.abspath(self.root)}".encode())
        digest.update(self._paths.digest())
        for index in range(0, len(self), -(-len(self) // _SAMPLED_FILES)):
            try:
                status = os.stat(self.path(index))
            except OSError:
                continue
            digest.update(f"{index} {status.st_size} {status.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def image(self, index: int, backend: str = "cv2") -> Picture:
        """The decoded image: an (H, W, 3) uint8 RGB array, or a Pillow image for 'pil'.

        Raises:
            UnreadableImageError: See `read_image`.
        """
        return read_image(self.path(index), backend)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, ViewBatch]:
        if self.views is None:
            raise RuntimeError("This dataset was built with views=None: it only has image(index).")
        epoch, index = key if isinstance(key, tuple) else (0, key)
        _keep_worker_single_threaded()
        seed = 0 if self.seed is None else self.seed
        image, index = self._readable(seed, epoch, range(len(self))[index])
        views = self.views(image, seed=seed, epoch=epoch, index=index)
        sample = ViewBatch(
            images=views.images,
            index=torch.tensor(index),
            boxes=views.boxes,
            label=self._label(index),
            photometric=views.photometric,
        )
        return dict(inputs=sample)

    def _label(self, index: int) -> Tensor:
        return torch.tensor(int(self._labels[index]))

    def _readable(self, seed: int, epoch: int, index: int) -> tuple[Picture, int]:
        """The image of `index`, or of its replacement, and the index it really has."""
        rng = None
        for _ in range(_MAX_REPLACEMENTS):
            if index not in self.bad_files:
                self.bad_files.note_tried(index)
                try:
                    return self.image(index, self.views.backend), index
                except UnreadableImageError as error:
                    self.bad_files.add(index, str(error))
            if rng is None:
                rng = ViewRandom(seed, epoch, index, _REPLACEMENT_STREAM)
            index = rng.integer(0, len(self) - 1)
        raise TooManyBadFilesError(
            f"{_MAX_REPLACEMENTS} images of {self.root or 'the list'} in a row are unreadable, the "
            f"last is {self.path(index)}. {len(self.bad_files)} are known to be; see the log."
        )


def _built_views(views: MultiView | dict[str, Any] | None) -> MultiView | None:
    built = build_module(TRANSFORMS, views)
    if built is not None and not isinstance(built, MultiView):
        raise TypeError(
            f"views must be a MultiView or its config, got {type(built).__name__}; view "
            "sets are in configs/_base_/views."
        )
    return built


_prepared_process: int | None = None


def _keep_worker_single_threaded() -> None:
    """OpenCV's thread pool does not survive a fork; a loader worker has one core anyway."""
    global _prepared_process
    if _prepared_process != os.getpid():
        _prepared_process = os.getpid()
        if get_worker_info() is not None:
            cv2.setNumThreads(0)
