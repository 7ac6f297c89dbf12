"""Thumbnails: small square pictures of the images of a data set."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from PIL import Image, ImageOps
from rich.progress import track

from mmssl.datasets.decode import UnreadableImageError
from mmssl.datasets.image_dataset import ImageDataset

_UNREADABLE = (128, 128, 128)


def thumbnail(dataset: ImageDataset, index: int, side: int) -> Image.Image:
    """The middle of an image as a square of `side` pixels; grey if it cannot be read.

    Args:
        dataset: Has the image.
        index: Its position.
        side: Pixels.
    """
    try:
        image = dataset.image(index, "pil")
    except UnreadableImageError:
        return Image.new("RGB", (side, side), _UNREADABLE)
    return ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)


def jpeg_thumbnails(
    dataset: ImageDataset,
    indices: Sequence[int],
    *,
    side: int = 64,
    quality: int = 70,
    num_threads: int = 2,
    progress: str = "",
) -> list[bytes]:
    """JPEG files of some images, 1 to 2 KB each at 64 pixels.

    Their tables are those of the standard, so they all begin with the same 600 bytes.

    Args:
        dataset: Has the images.
        indices: Their positions.
        side: Pixels.
        quality: Of the JPEGs.
        num_threads: Threads that decode.
        progress: Title of the progress bar; empty shows none.
    """

    def encode(index: int) -> bytes:
        buffer = io.BytesIO()
        thumbnail(dataset, index, side).save(buffer, "JPEG", quality=quality)
        return buffer.getvalue()

    with ThreadPoolExecutor(num_threads) as pool:
        encoded = pool.map(encode, indices)
        return list(track(encoded, progress, total=len(indices), disable=not progress))
