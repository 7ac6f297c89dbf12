"""Decoding: any image file -> RGB, 8 bits per channel, upright.

Plain JPEGs (8 bits, grayscale or three components, upright, complete) take OpenCV's decoder; every
other file takes Pillow, which knows CMYK, 16 bits, palettes, transparency and the EXIF orientation.
"""

from __future__ import annotations

import io
import os
import warnings

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mmssl.datasets.transforms.base import Picture

_START_OF_FRAME = frozenset({0xC0, 0xC1, 0xC2})
_EXIF_UPRIGHT = 1


class UnreadableImageError(Exception):
    """A file that cannot be read or decoded; the message says why."""


def read_image(path: str | os.PathLike, backend: str = "cv2") -> Picture:
    """Read an image file.

    Args:
        path: The file.
        backend: 'cv2' for an (H, W, 3) uint8 RGB array, 'pil' for an RGB Pillow image.

    Raises:
        UnreadableImageError: The file is missing, cut off, or no image.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise UnreadableImageError(error.strerror or str(error)) from error
    return decode_image(data, backend)


def decode_image(data: bytes, backend: str = "cv2") -> Picture:
    """Decode the bytes of an image file; see `read_image`."""
    if backend == "cv2" and is_plain_jpeg(data):
        array = cv2.imdecode(
            np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        )
        if array is not None:
            return array
    image = _decode_with_pillow(data)
    return image if backend == "pil" else np.asarray(image)


def _decode_with_pillow(data: bytes) -> Image.Image:
    if not data:
        raise UnreadableImageError("the file is empty")
    try:
        with warnings.catch_warnings():
            # Palette transparency and large photographs are no reason to fill the log.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                image.load()
                return _to_rgb(ImageOps.exif_transpose(image))
    except MemoryError:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImageError(
            "its format is not known (or a kind of it, such as a TIFF of float RGB), or it is damaged"
        ) from error
    except Exception as error:  # Pillow's decoders raise nearly anything on broken files
        raise UnreadableImageError(f"{type(error).__name__}: {error}") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    """RGB: the high byte of 16-bit images; transparency is dropped, as in torchvision."""
    if image.mode.startswith("I"):
        # Pillow's own conversion clips at 255 instead of scaling.
        array = np.asarray(image).astype(np.int64)
        image = Image.fromarray((np.clip(array, 0, 65535) >> 8).astype(np.uint8))
    elif image.mode == "F":
        array = np.nan_to_num(np.asarray(image))
        scale = 255.0 if array.size and array.min() >= 0.0 and array.max() <= 1.0 else 1.0
        image = Image.fromarray(np.clip(array * scale + 0.5, 0, 255).astype(np.uint8))
    return image if image.mode == "RGB" else image.convert("RGB")


def is_plain_jpeg(data: bytes) -> bool:
    """Whether OpenCV's decoder gives the same picture as Pillow's: see the module's head."""
    # Decoders fill the missing part of a file that was cut off; Pillow refuses it, and so must we.
    if data[:2] != b"\xff\xd8" or data.rfind(b"\xff\xd9", max(len(data) - 64, 0)) < 0:
        return False
    position, end = 2, len(data) - 9
    while position < end:
        if data[position] != 0xFF:
            return False
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        length = (data[position + 2] << 8) | data[position + 3]
        if marker in _START_OF_FRAME:
            precision, components = data[position + 4], data[position + 9]
            return precision == 8 and components in (1, 3)
        if marker == 0xE1 and data[position + 4 : position + 10] == b"Exif\0\0":
            orientation = _exif_orientation(data[position + 10 : position + 2 + length])
            if orientation != _EXIF_UPRIGHT:
                return False
        if 0xC3 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return False  # lossless, hierarchical or arithmetic coding
        if length < 2 or marker in (0xD9, 0xDA):
            return False
        position += 2 + length
    return False


def _exif_orientation(tiff: bytes) -> int:
    """Orientation tag of the first directory of an EXIF block; 0 when the block makes no sense."""
    order = {b"II": "little", b"MM": "big"}.get(bytes(tiff[:2]))
    if order is None or len(tiff) < 10:
        return 0
    start = int.from_bytes(tiff[4:8], order)
    count = int.from_bytes(tiff[start : start + 2], order)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        if int.from_bytes(tiff[entry : entry + 2], order) == 0x0112:
            return int.from_bytes(tiff[entry + 8 : entry + 10], order)
    return _EXIF_UPRIGHT
