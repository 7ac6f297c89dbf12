"""CachedViews: a view that never changes is rendered once and its pixels are kept.

An image of 224 x 224 pixels takes 3 * 224 * 224 = 150528 bytes, with its checksum and in whole pages 151552:
194 GB for the 1.28 million images of ImageNet, 15.2 TB for 100 million.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import weakref
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL
import torch
from mmengine.logging import print_log
from torch import Tensor
from torch.utils.data import Dataset

from mmssl.datasets.free_memory import free_memory
from mmssl.datasets.image_dataset import ImageDataset
from mmssl.ops.atomic_file import write_text_atomically
from mmssl.structures import ViewBatch

MEMORY = "memory"
ABOUT = "views.json"
_PAGE = 4096
_CHECKSUM = 4


class PixelFile:
    """Rows of pixels by number, in a file or in memory that forked workers share.

    Rows are written and read by offset, so any number of processes may do either at once; a row that was
    never written takes no room. Each has a checksum: one that is half written, by a process that was
    killed or that is still at it, counts as absent. Rows begin at whole pages, so that two machines that
    share a file never write into the same page. Plain writes, not a mapping: a full disk is then an error
    and not the end of the process.

    Args:
        num_rows: n.
        shape: Of a row.
        path: Of the file; `None` keeps the rows in memory (Linux).

    Raises:
        ValueError: There is no memory file on this system.
    """

    def __init__(
        self, num_rows: int, shape: tuple[int, ...], *, path: str | Path | None = None
    ) -> None:
        self.num_rows, self.shape = num_rows, tuple(shape)
        self.num_pixels = int(np.prod(self.shape))
        self.stride = -(-(self.num_pixels + _CHECKSUM) // _PAGE) * _PAGE
        if path is not None:
            self.path = str(path)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        elif hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("views")
            self.path = f"/proc/{os.getpid()}/fd/{descriptor}"
        else:
            raise ValueError(
                f"cache={MEMORY!r} needs Linux; name a folder to keep the views on disk."
            )
        os.truncate(descriptor, num_rows * self.stride)
        self._hold(descriptor)

    def _hold(self, descriptor: int) -> None:
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        del state["_descriptor"]  # a number that means nothing in a process that was not forked
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._hold(os.open(self.path, os.O_RDWR))

    @property
    def num_bytes(self) -> int:
        """What the rows take that were written so far."""
        return os.fstat(self._descriptor).st_blocks * 512

    def read(self, number: int) -> Tensor | None:
        """The uint8 row of that number, `None` if it was not written."""
        pixels, checksum = np.empty(self.num_pixels, np.uint8), bytearray(_CHECKSUM)
        os.preadv(self._descriptor, [pixels.data, checksum], number * self.stride)
        found = int.from_bytes(checksum, "little")
        if found == 0 or found != zlib.crc32(pixels):
            return None
        return torch.from_numpy(pixels.reshape(self.shape))

    def write(self, number: int, row: Tensor) -> None:
        """Keep a uint8 row.

        Raises:
            OSError: It could not be written.
        """
        pixels = np.ascontiguousarray(row.numpy()).reshape(-1)
        checksum = zlib.crc32(pixels).to_bytes(_CHECKSUM, "little")
        done = os.pwritev(self._descriptor, [pixels, checksum], number * self.stride)
        if done < self.num_pixels + _CHECKSUM:
            raise OSError(f"only {done} of {self.num_pixels + _CHECKSUM} bytes were written")


class CachedViews(Dataset):
    """The first view of each image of a data set, rendered when it is first asked for and then kept.

    An item is that of the data set in epoch 0, pixels bit by bit, without boxes and label. What cannot be
    read, and is shown as another image, is asked of the data set each time.

    A folder is good for every run on the same images with the same views, whatever its seed and number of
    processes: it belongs to the names of the files, to size and time of some of them, to the config of the
    views and to the versions of what decodes. A run that was killed leaves what it had.

    Args:
        dataset: Its items have one view, of one size, a function of the image alone.
        cache: 'memory' or a folder, which is made.
        views: Config of the views, by which a folder is recognised.
        num_local: Images that all processes of this machine together will ask for; default all.

    Raises:
        TypeError: A folder for a data set that cannot be recognised.
        ValueError: Several views or a photometric half for the device, a folder of other views, or too
            little room.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        cache: str,
        *,
        views: dict[str, Any],
        num_local: int | None = None,
    ) -> None:
        sample: ViewBatch = dataset[0]["inputs"]
        if len(sample.images) != 1 or sample.photometric:
            raise ValueError(
                "A cache keeps one view per image whose pixels are final, got "
                f"{len(sample.images)} view(s){' and device parameters' * bool(sample.photometric)}. "
                "Use the view of evaluation (configs/_base_/views/eval.py) or cache=None."
            )
        self.dataset = dataset
        self._writes = True
        shape = tuple(sample.images[0].shape)
        if cache == MEMORY:
            self.pixels = PixelFile(len(dataset), shape)
            number = len(dataset) if num_local is None else min(num_local, len(dataset))
            _check_room(number * self.pixels.stride, free_memory(), "the memory")
            return
        if not hasattr(dataset, "fingerprint"):
            raise TypeError(
                f"A folder of views is recognised by its images, but {type(dataset).__name__} has no "
                f"method `fingerprint`; use cache={MEMORY!r}."
            )
        folder = Path(cache).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        about = dict(fingerprint=_fingerprint(dataset, views), shape=list(shape))
        _check_owner(folder, about)
        # the name alone tells the pixels of other images apart, should the other file be lost
        path = folder / f"views_{about['fingerprint'][:16]}.bin"
        self.pixels = PixelFile(len(dataset), shape, path=path)
        wanted = len(dataset) * self.pixels.stride - self.pixels.num_bytes
        _check_room(wanted, shutil.disk_usage(folder).free, str(folder))
        write_text_atomically(
            folder / ABOUT, json.dumps(about, indent=1)
        )  # all ranks write the same

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, ViewBatch]:
        index = key[1] if isinstance(key, tuple) else key
        image, shown = self.pixels.read(index), torch.tensor(index)
        if image is None:
            sample: ViewBatch = self.dataset[index]["inputs"]
            image, shown = sample.images[0], sample.index
            if int(shown) == index:
                self._keep(index, image)
        return dict(inputs=ViewBatch([image], shown, [], torch.tensor(-1), []))

    def _keep(self, index: int, image: Tensor) -> None:
        if tuple(image.shape) != self.pixels.shape:
            raise ValueError(
                f"A cache keeps views of one size, {self.pixels.shape}, but image {index} gives "
                f"{tuple(image.shape)}. Add a CenterCrop to the views or use cache=None."
            )
        if not self._writes:
            return
        try:
            self.pixels.write(index, image)
        except OSError as error:  # what is missing is rendered again: slower, and nothing else
            self._writes = False
            print_log(
                f"The view cache {self.pixels.path} cannot be written ({error}): from here on this "
                "process renders what is not in it each time.",
                logger="current",
                level=logging.WARNING,
            )


def _fingerprint(dataset: ImageDataset, views: dict[str, Any]) -> str:
    """Of the images, how they are shown, and what decodes them."""
    shown = json.dumps(views, sort_keys=True, default=repr)
    versions = f"cv2 {cv2.__version__}, Pillow {PIL.__version__}, numpy {np.__version__}"
    text = "\n".join((dataset.fingerprint(), shown, versions))
    return hashlib.sha256(text.encode()).hexdigest()


def _check_owner(folder: Path, about: dict[str, Any]) -> None:
    """Refuse pixels of other images or views."""
    file = folder / ABOUT
    if file.is_file() and json.loads(file.read_text()) != about:
        raise ValueError(
            f"The view cache {folder} is of other images, other views or other versions of the "
            "decoders. Name another folder, or delete it to have it made anew."
        )


def _check_room(wanted: int, free: int, where: str) -> None:
    if wanted > free:
        raise ValueError(
            f"The views take {wanted / 1e9:.1f} GB more in {where}, where {free / 1e9:.1f} GB are free. "
            "Name a folder with more room as cache, or leave it out to decode anew each time."
        )
