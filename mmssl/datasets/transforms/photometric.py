"""Photometric transforms: colour jitter, grayscale, blur, solarisation.

Every op exists three times with the same drawn parameters: on Pillow images (bit-equal to
torchvision's functionals on Pillow images, which the published recipes ran on), on arrays with
OpenCV (fast; within the tolerances of `tests/unit/test_transforms_photometric.py`), and in batches
on the training device (`device.py`, from the rows that `pack` writes).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from mmssl.registry import TRANSFORMS

from .base import PhotometricTransform, Picture, Size
from .view_random import ViewRandom

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
# ITU-R 601 luma, the weights of Pillow's and OpenCV's grayscale
LUMA = (0.299, 0.587, 0.114)
_LUMA_ROW = np.array(LUMA, np.float32)
_DIAGONAL = np.arange(3), np.arange(3)
_SMALLEST_WEIGHT = 1 / 1024
# Pillow cuts off the fraction, OpenCV rounds; exact integers must stay what they are.
_ROUND_DOWN = 0.498


class PackedTransform(PhotometricTransform):
    """A photometric transform that can also run on the training device.

    A packed row starts with `code` and a flag (1: apply, 0: leave), followed by the parameters.

    Attributes:
        code: Identifies the op in a packed row.
        packed_size: Number of floats of its row.
    """

    code: ClassVar[int]
    packed_size: ClassVar[int]

    @abstractmethod
    def pack(self, params: Any | None) -> list[float]:
        """The row of `packed_size` floats for drawn parameters (None: leave the image)."""


class Jitter(NamedTuple):
    """Drawn parameters of `ColorJitter`: the order of the four ops and the factor of each."""

    order: tuple[int, ...]
    factors: tuple[float, float, float, float]


def _strength_range(name: str, value: float | Sequence[float]) -> tuple[float, float]:
    centre, limit = (0.0, 0.5) if name == "hue" else (1.0, float("inf"))
    if isinstance(value, (int, float)):
        if value < 0:
            raise ValueError(f"ColorJitter.{name} must not be negative, got {value}.")
        low, high = centre - value, centre + value
        if name != "hue":
            low = max(low, 0.0)
    else:
        low, high = value
    if not (-limit if name == "hue" else 0.0) <= low <= high <= limit:
        raise ValueError(f"ColorJitter.{name} is no valid strength or range: {value}.")
    return float(low), float(high)


@TRANSFORMS.register_module()
class ColorJitter(PackedTransform):
    """Brightness, contrast, saturation and hue by random factors, in random order.

    Args:
        brightness: Strength b (factor uniform in [max(0, 1 - b), 1 + b]) or a range of factors.
        contrast: As `brightness`.
        saturation: As `brightness`.
        hue: Strength h (shift uniform in [-h, h], in turns of the colour circle) or a range.
        prob: Probability with which the image is changed.
    """

    code = 1
    packed_size = 10

    def __init__(
        self,
        brightness: float | Sequence[float] = 0.0,
        contrast: float | Sequence[float] = 0.0,
        saturation: float | Sequence[float] = 0.0,
        hue: float | Sequence[float] = 0.0,
        *,
        prob: float = 1.0,
    ) -> None:
        super().__init__(prob)
        self.ranges = (
            _strength_range("brightness", brightness),
            _strength_range("contrast", contrast),
            _strength_range("saturation", saturation),
            _strength_range("hue", hue),
        )

    def draw_params(self, rng: ViewRandom, size: Size) -> Jitter:
        """Order and factors."""
        order = rng.permutation(4)
        brightness, contrast, saturation, hue = (rng.uniform(*bounds) for bounds in self.ranges)
        return Jitter(order, (brightness, contrast, saturation, hue))

    def apply(self, image: Picture, params: Jitter) -> Picture:
        """Apply the four ops in the drawn order."""
        adjust = _adjust_pil if isinstance(image, Image.Image) else _adjust_cv2
        return adjust(image, params)

    def pack(self, params: Jitter | None) -> list[float]:
        """[code, flag, four op numbers in order, four factors]."""
        if params is None:
            return [self.code, 0.0, 0.0, 1.0, 2.0, 3.0, 1.0, 1.0, 1.0, 0.0]
        return [self.code, 1.0, *params.order, *params.factors]


def _adjust_pil(image: Image.Image, params: Jitter) -> Image.Image:
    for op in params.order:
        factor = params.factors[op]
        if op == BRIGHTNESS:
            image = ImageEnhance.Brightness(image).enhance(factor)
        elif op == CONTRAST:
            image = ImageEnhance.Contrast(image).enhance(factor)
        elif op == SATURATION:
            image = ImageEnhance.Color(image).enhance(factor)
        elif factor != 0.0:  # HSV and back is lossy: not for jitter without hue
            hue, saturation, value = image.convert("HSV").split()
            # Truncated towards zero, then added modulo 256: what torchvision does.
            shift = int(factor * 255) % 256
            hue = hue.point([(level + shift) % 256 for level in range(256)])
            image = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
    return image


def _adjust_cv2(image: np.ndarray, params: Jitter) -> np.ndarray:
    for op in params.order:
        factor = params.factors[op]
        if op == HUE:
            image = _shift_hue_cv2(image, int(factor * 255) % 256)
        elif factor == 1.0:
            continue
        elif op == SATURATION:
            matrix = np.empty((3, 4), np.float32)
            matrix[:, :3] = (1.0 - factor) * _LUMA_ROW
            matrix[_DIAGONAL] += factor
            matrix[:, 3] = -_ROUND_DOWN
            image = cv2.transform(image, matrix)
        else:
            offset = -_ROUND_DOWN
            if op == CONTRAST:
                mean = int(cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0] + 0.5)
                offset += (1.0 - factor) * mean
            # The quickest way to scale and shift with saturation at both ends
            image = cv2.addWeighted(image, factor, image, 0.0, offset)
    return image


def _shift_hue_cv2(image: np.ndarray, shift: int) -> np.ndarray:
    if shift == 0:
        return image
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    # Whole rows at once: adding to every third byte alone is several times slower.
    rows = hsv.reshape(hsv.shape[0], -1)
    np.add(rows, np.tile(np.array([shift, 0, 0], np.uint8), hsv.shape[1]), out=rows)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


@TRANSFORMS.register_module()
class RandomGrayscale(PackedTransform):
    """Replace the three channels by their luma.

    Args:
        prob: Probability with which the image is changed.
    """

    code = 2
    packed_size = 2

    def __init__(self, prob: float = 0.2) -> None:
        super().__init__(prob)

    def draw_params(self, rng: ViewRandom, size: Size) -> bool:
        """There is nothing to draw."""
        return True

    def apply(self, image: Picture, params: bool) -> Picture:
        """Three equal channels."""
        if isinstance(image, Image.Image):
            gray = image.convert("L")
            return Image.merge("RGB", (gray, gray, gray))
        return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)

    def pack(self, params: bool | None) -> list[float]:
        """[code, flag]."""
        return [self.code, float(params is not None)]


@TRANSFORMS.register_module()
class GaussianBlur(PackedTransform):
    """Blur with a standard deviation drawn uniformly.

    Pillow's blur, which the published recipes use, is three box filters of fractional width in a
    row. OpenCV and the device apply the product of the three at once (`blur_kernel`), without its
    rounding in between. Pixels beyond the border repeat the edge in all three.

    Args:
        sigma: Range of the standard deviation in pixels.
        prob: Probability with which the image is changed.
    """

    code = 3
    packed_size = 3

    def __init__(self, sigma: Sequence[float] = (0.1, 2.0), *, prob: float = 0.5) -> None:
        super().__init__(prob)
        low, high = sigma
        if not 0 < low <= high:
            raise ValueError(f"GaussianBlur.sigma must be positive numbers, got {sigma}.")
        self.sigma = (float(low), float(high))

    def draw_params(self, rng: ViewRandom, size: Size) -> float:
        """Sigma in pixels."""
        return rng.uniform(*self.sigma)

    def apply(self, image: Picture, params: float) -> Picture:
        """Blur by the drawn sigma."""
        if isinstance(image, Image.Image):
            return image.filter(ImageFilter.GaussianBlur(radius=params))
        kernel = blur_kernel(params)
        return cv2.sepFilter2D(image, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)

    def pack(self, params: float | None) -> list[float]:
        """[code, flag, sigma]."""
        return [self.code, float(params is not None), params or 0.0]


def box_radius(sigma: float) -> float:
    """Half width, without the centre, of each of three box filters that make a blur of `sigma`.

    The whole part l is the widest box whose variance l (l + 1) / 3 stays below sigma ** 2 / 3, the
    fraction is the weight of the two outer taps that makes the variances equal (extended box
    filter, Gwosdek et al. 2011; Pillow's formula).
    """
    variance = sigma * sigma / 3
    whole = math.floor((math.sqrt(12 * variance + 1) - 1) / 2)
    fraction = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance)
    return whole + fraction / (6 * (variance - (whole + 1) ** 2))


def blur_kernel(sigma: float) -> np.ndarray:
    """The weights (2 R + 1,) float32 of three box filters in a row; R <= 3 ceil(box_radius)."""
    radius = box_radius(sigma)
    reach = math.ceil(radius)
    box = np.clip(radius + 1 - np.abs(np.arange(-reach, reach + 1)), 0.0, 1.0)
    kernel = np.convolve(np.convolve(box, box), box)
    kernel /= kernel.sum()
    # The outermost taps of a fractional box are tiny: below half a level in all together
    while len(kernel) > 3 and kernel[0] < _SMALLEST_WEIGHT:
        kernel = kernel[1:-1]
    return (kernel / kernel.sum()).astype(np.float32)


@TRANSFORMS.register_module()
class Solarize(PackedTransform):
    """Invert every value at or above a threshold: v -> 255 - v.

    Args:
        threshold: In pixel units (0..256).
        prob: Probability with which the image is changed.
    """

    code = 4
    packed_size = 3

    def __init__(self, threshold: int = 128, *, prob: float = 0.2) -> None:
        super().__init__(prob)
        if not 1 < threshold <= 256:
            raise ValueError(
                f"Solarize.threshold is in pixel units (2..256), got {threshold}; a threshold of "
                "0.5 on images in [0, 1] is 128 here."
            )
        self.threshold = int(threshold)
        levels = np.arange(256)
        # At 128 the result is the smaller of a value and its inverse: no table needed.
        inverted = np.where(levels >= threshold, 255 - levels, levels).astype(np.uint8)
        self._table = None if threshold == 128 else inverted

    def draw_params(self, rng: ViewRandom, size: Size) -> bool:
        """There is nothing to draw."""
        return True

    def apply(self, image: Picture, params: bool) -> Picture:
        """Invert the bright values."""
        if isinstance(image, Image.Image):
            return ImageOps.solarize(image, self.threshold)
        if self._table is None:
            return cv2.min(image, cv2.bitwise_not(image))
        return cv2.LUT(image, self._table)

    def pack(self, params: bool | None) -> list[float]:
        """[code, flag, threshold]."""
        return [self.code, float(params is not None), float(self.threshold)]
