"""Every kind of image file becomes upright 8-bit RGB; whatever is no picture is refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmssl.datasets import UnreadableImageError, decode_image, read_image
from mmssl.datasets.decode import is_plain_jpeg
from tests.helpers.pictures import picture

ARRAY = picture(0, 40, 32)
RGB = Image.fromarray(ARRAY)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def with_orientation(value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return encode(RGB, "JPEG", quality=97, subsampling=0, exif=exif)


def gray16() -> Image.Image:
    return Image.fromarray(ARRAY[..., 0].astype(np.uint16) * 257)


LOSSLESS = {
    "png": encode(RGB, "PNG"),
    "bmp": encode(RGB, "BMP"),
    "tiff": encode(RGB, "TIFF"),
    "tiff_lzw": encode(RGB, "TIFF", compression="tiff_lzw"),
    "webp": encode(RGB, "WEBP", lossless=True),
    "rgba_png": encode(Image.fromarray(np.dstack([ARRAY, ARRAY[..., :1]])), "PNG"),
}
GRAY = {
    "png_1_channel": encode(RGB.getchannel(0), "PNG"),
    "png_16_bit": encode(gray16(), "PNG"),
    "tiff_16_bit": encode(gray16(), "TIFF"),
    "tiff_float": encode(Image.fromarray(ARRAY[..., 0].astype(np.float32) / 255), "TIFF"),
    "png_gray_alpha": encode(Image.merge("LA", [RGB.getchannel(0)] * 2), "PNG"),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_values_lossless_formats(name: str) -> None:
    assert np.array_equal(decode_image(LOSSLESS[name]), ARRAY)
    assert np.array_equal(decode_image(LOSSLESS[name], "pil"), ARRAY)


@pytest.mark.parametrize("name", GRAY)
def test_values_gray_formats(name: str) -> None:
    expected = np.repeat(ARRAY[..., :1], 3, axis=2)
    assert np.array_equal(decode_image(GRAY[name]), expected)


def test_values_palette_and_1_bit() -> None:
    palette = RGB.quantize(16)
    assert np.array_equal(decode_image(encode(palette, "PNG")), palette.convert("RGB"))
    bits = Image.fromarray(ARRAY[..., 0] > 128)
    expected = np.repeat((ARRAY[..., :1] > 128) * np.uint8(255), 3, axis=2)
    assert np.array_equal(decode_image(encode(bits, "PNG")), expected)


@pytest.mark.parametrize(
    "options",
    [
        dict(quality=90),
        dict(quality=60, progressive=True),
        dict(quality=95, subsampling=0),
        dict(quality=80, subsampling=1, optimize=True),
    ],
)
def test_equivalence_of_the_jpeg_decoders(options: dict) -> None:
    """OpenCV's fast path gives Pillow's picture to the bit, so files may take either."""
    for image in (RGB, RGB.getchannel(1)):
        data = encode(image, "JPEG", **options)
        assert is_plain_jpeg(data)
        assert np.array_equal(decode_image(data, "cv2"), decode_image(data, "pil"))


def test_values_cmyk_jpeg() -> None:
    data = encode(RGB.convert("CMYK"), "JPEG", quality=95)
    assert not is_plain_jpeg(data)
    assert np.abs(decode_image(data).astype(int) - ARRAY).mean() < 6


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("backend", ["cv2", "pil"])
def test_values_exif_orientation(value: int, backend: str) -> None:
    """The stored pixels are ARRAY; viewers show it mirrored and turned by the tag."""
    turned = {
        1: ARRAY,
        2: ARRAY[:, ::-1],
        3: ARRAY[::-1, ::-1],
        4: ARRAY[::-1],
        5: ARRAY.transpose(1, 0, 2),
        6: np.rot90(ARRAY, -1),
        7: ARRAY.transpose(1, 0, 2)[::-1, ::-1],
        8: np.rot90(ARRAY, 1),
    }[value]
    data = with_orientation(value)
    assert is_plain_jpeg(data) == (value == 1)
    decoded = np.asarray(decode_image(data, backend)).astype(int)
    assert decoded.shape == turned.shape
    assert np.abs(decoded - turned).mean() < 4


def test_values_exif_of_both_byte_orders() -> None:
    data = with_orientation(6)
    start = data.index(b"Exif\0\0") + 6
    assert data[start : start + 2] == b"MM"
    swapped = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    little = data[:start] + swapped + data[start + len(swapped) :]
    assert decode_image(little).shape == decode_image(data).shape == (40, 32, 3)


BROKEN = {
    "empty": b"",
    "text": b"this is no picture",
    "jpeg_head_only": encode(RGB, "JPEG")[:300],
    "jpeg_cut_off": encode(RGB, "JPEG", quality=95)[:-400],
    "png_cut_off": LOSSLESS["png"][:-200],
    "jpeg_marker_only": b"\xff\xd8\xff\xd9",
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("backend", ["cv2", "pil"])
def test_raises_on_broken_files(name: str, backend: str) -> None:
    with pytest.raises(UnreadableImageError):
        decode_image(BROKEN[name], backend)


def test_raises_on_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match="No such file"):
        read_image(tmp_path / "absent.jpg")


def test_values_jpeg_with_bytes_behind_its_end() -> None:
    """Cameras append data; the decoder stops at the end of the picture."""
    data = encode(RGB, "JPEG", quality=90)
    assert np.array_equal(decode_image(data + b"\0" * 200), decode_image(data))
