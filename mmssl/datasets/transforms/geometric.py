"""Geometric transforms: crops, resizing, mirroring. Each carries the crop box along."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import cv2
import numpy as np
from PIL import Image

from mmssl.registry import TRANSFORMS

from .base import Box, GeometricTransform, Picture, Size, crop_box
from .view_random import ViewRandom

_PIL_FILTERS = dict(bilinear=Image.Resampling.BILINEAR, bicubic=Image.Resampling.BICUBIC)
_CV2_FILTERS = dict(bilinear=cv2.INTER_LINEAR, bicubic=cv2.INTER_CUBIC)


class Crop(NamedTuple):
    """A rectangle in pixels of the input."""

    left: int
    top: int
    width: int
    height: int


def check_interpolation(name: str) -> str:
    """Return `name` if it is known.

    Raises:
        ValueError: Unknown name.
    """
    if name not in _PIL_FILTERS:
        raise ValueError(f"interpolation must be one of {sorted(_PIL_FILTERS)}, got {name!r}.")
    return name


def pair(size: int | Sequence[int]) -> Size:
    """(width, height) of `size`: one number for a square, or (height, width) as torchvision."""
    if isinstance(size, int):
        return size, size
    height, width = size
    return int(width), int(height)


def resize(image: Picture, size: Size, interpolation: str) -> Picture:
    """Resize to (width, height), without aliasing.

    On the pil backend this is Pillow's antialiased filter. On the cv2 backend an image that shrinks
    is smoothed first, by as much as OpenCV's kernel is narrower than Pillow's; from a factor of
    three on it is halved by averages before. On photographs this is closer to Pillow's result than
    OpenCV's own INTER_AREA, and several times as fast.
    """
    if isinstance(image, Image.Image):
        return image if image.size == size else image.resize(size, _PIL_FILTERS[interpolation])
    height, width = image.shape[:2]
    if (width, height) == size:
        return image
    inherited = 0.0
    while width >= _HALVE_FROM * size[0] and height >= _HALVE_FROM * size[1]:
        exact = width % 2 == 0 and height % 2 == 0
        width, height = (width + 1) // 2, (height + 1) // 2
        # With odd sizes the plain average does not fit; close to a factor of two, linear is the
        # same.
        method = cv2.INTER_AREA if exact else cv2.INTER_LINEAR
        image = cv2.resize(image, (width, height), interpolation=method)
        inherited = inherited / 4 + _HALVING_VARIANCE
    lacking_x = _lacking_variance(width / size[0]) - inherited
    lacking_y = _lacking_variance(height / size[1]) - inherited
    largest = max(lacking_x, lacking_y)
    if largest > _SMALLEST_VARIANCE:
        side = 3 if largest <= _LARGEST_3_TAP_VARIANCE else 5
        image = cv2.GaussianBlur(
            image,
            (side, side),
            _sigma_of_variance(lacking_x, side),
            sigmaY=_sigma_of_variance(lacking_y, side),
        )
    return cv2.resize(image, size, interpolation=_CV2_FILTERS[interpolation])


_HALVE_FROM = 3.0
# Of the average of two neighbours, in pixels of the result: (2 ** 2 - 1) / 12 / 4
_HALVING_VARIANCE = 1 / 16
# Below, smoothing changes less than the interpolation itself: it starts at a factor of 1.17.
_SMALLEST_VARIANCE = 0.06
_LARGEST_3_TAP_VARIANCE = 0.55


def _lacking_variance(factor: float) -> float:
    """How much narrower linear interpolation is than Pillow's filter for shrinking by `factor`.

    A triangle of half width f has the variance f ** 2 / 6, linear interpolation 1 / 6 on average.
    """
    return max(factor * factor - 1, 0.0) / 6


def _sigma_of_variance(variance: float, side: int) -> float:
    """Sigma with which OpenCV's kernel of 3 or 5 taps has this variance."""
    variance = max(variance, 1e-6)
    if side == 5:
        return math.sqrt(variance)
    # [a, 1 - 2a, a] has the variance 2a; OpenCV samples exp(-d ** 2 / (2 sigma ** 2)).
    outer = variance / 2
    return math.sqrt(-0.5 / math.log(outer / (1 - 2 * outer)))


def cut(image: Picture, crop: Crop) -> Picture:
    """The pixels inside `crop`; black where it sticks out of the image."""
    left, top, width, height = crop
    if isinstance(image, Image.Image):
        return image.crop((left, top, left + width, top + height))
    full_height, full_width = image.shape[:2]
    if left < 0 or top < 0 or left + width > full_width or top + height > full_height:
        result = np.zeros((height, width, 3), np.uint8)
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + width, full_width), min(top + height, full_height)
        result[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
        return result
    return image[top : top + height, left : left + width]


@TRANSFORMS.register_module()
class RandomResizedCrop(GeometricTransform):
    """A random rectangle, resized to a fixed size (the law of torchvision's transform).

    Up to ten rectangles are drawn with area uniform in `scale` and aspect ratio uniform in
    log `ratio`; when none fits into the image, the central one of the nearest allowed ratio is
    taken.

    Args:
        size: Output side in pixels, or (height, width).
        scale: Range of the area, as a share of the image.
        ratio: Range of width / height.
        interpolation: 'bilinear' or 'bicubic'.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        scale: Sequence[float] = (0.08, 1.0),
        *,
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: str = "bilinear",
    ) -> None:
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale must be a range of positive shares, got {tuple(scale)}.")
        if not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f"ratio must be a range of positive ratios, got {tuple(ratio)}.")
        self.size = pair(size)
        self.scale = (float(scale[0]), float(scale[1]))
        self.ratio = (float(ratio[0]), float(ratio[1]))
        self.interpolation = check_interpolation(interpolation)

    def draw(self, rng: ViewRandom, size: Size) -> Crop:
        """The rectangle for an image of `size` (width, height)."""
        image_width, image_height = size
        area = image_width * image_height
        log_low, log_high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(10):
            target = area * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(log_low, log_high))
            width = round(math.sqrt(target * ratio))
            height = round(math.sqrt(target / ratio))
            if 0 < width <= image_width and 0 < height <= image_height:
                top = rng.integer(0, image_height - height)
                left = rng.integer(0, image_width - width)
                return Crop(left, top, width, height)
        width, height = image_width, image_height
        image_ratio = image_width / image_height
        if image_ratio < self.ratio[0]:
            height = max(round(width / self.ratio[0]), 1)
        elif image_ratio > self.ratio[1]:
            width = max(round(height * self.ratio[1]), 1)
        return Crop((image_width - width) // 2, (image_height - height) // 2, width, height)

    def output_size(self, size: Size, params: Crop) -> Size:
        """Always `self.size`."""
        return self.size

    def move_box(self, box: Box, size: Size, params: Crop) -> Box:
        """The rectangle in the source."""
        return crop_box(box, size, *params)

    def apply(self, image: Picture, params: Crop) -> Picture:
        """Cut first and resize then, so that no pixel outside the rectangle leaks in."""
        return resize(cut(image, params), self.size, self.interpolation)


class _Flip(GeometricTransform):
    """Mirror along one axis with probability `prob`."""

    _cv2_code: ClassVar[int]
    _pil_method: ClassVar[Image.Transpose]

    def __init__(self, prob: float = 0.5) -> None:
        if not 0.0 <= prob <= 1.0:
            raise ValueError(f"{type(self).__name__}.prob must lie in [0, 1], got {prob}.")
        self.prob = prob

    def draw(self, rng: ViewRandom, size: Size) -> bool:
        """Whether to mirror."""
        return rng.chance(self.prob)

    def output_size(self, size: Size, params: bool) -> Size:
        """Unchanged."""
        return size

    def apply(self, image: Picture, params: bool) -> Picture:
        """Mirror the image if drawn so."""
        if not params:
            return image
        if isinstance(image, Image.Image):
            return image.transpose(self._pil_method)
        return cv2.flip(image, self._cv2_code)


@TRANSFORMS.register_module()
class HorizontalFlip(_Flip):
    """Mirror left and right with probability `prob`; the box gets left > right."""

    _cv2_code = 1
    _pil_method = Image.Transpose.FLIP_LEFT_RIGHT

    def move_box(self, box: Box, size: Size, params: bool) -> Box:
        """Left and right swapped if mirrored."""
        return (box[2], box[1], box[0], box[3]) if params else box


@TRANSFORMS.register_module()
class VerticalFlip(_Flip):
    """Mirror top and bottom with probability `prob`; the box gets top > bottom."""

    _cv2_code = 0
    _pil_method = Image.Transpose.FLIP_TOP_BOTTOM

    def move_box(self, box: Box, size: Size, params: bool) -> Box:
        """Top and bottom swapped if mirrored."""
        return (box[0], box[3], box[2], box[1]) if params else box


@TRANSFORMS.register_module()
class Resize(GeometricTransform):
    """Resize the shorter side to `size` (one number), or both sides to (height, width).

    Args:
        size: Length of the shorter side, or (height, width).
        interpolation: 'bilinear' or 'bicubic'.
    """

    def __init__(self, size: int | Sequence[int], *, interpolation: str = "bilinear") -> None:
        self.size = size if isinstance(size, int) else (int(size[0]), int(size[1]))
        self.interpolation = check_interpolation(interpolation)

    def draw(self, rng: ViewRandom, size: Size) -> Size:
        """The output size; nothing is random."""
        if not isinstance(self.size, int):
            return self.size[1], self.size[0]
        width, height = size
        # The longer side is truncated, as in torchvision.
        if width <= height:
            return self.size, int(self.size * height / width)
        return int(self.size * width / height), self.size

    def output_size(self, size: Size, params: Size) -> Size:
        """The drawn size."""
        return params

    def move_box(self, box: Box, size: Size, params: Size) -> Box:
        """Unchanged: the whole input stays visible."""
        return box

    def apply(self, image: Picture, params: Size) -> Picture:
        """Resize the image."""
        return resize(image, params, self.interpolation)


def _centre_offset(length: int, crop: int) -> int:
    # torchvision rounds half to even when it cuts, and pads the smaller half first
    return round((length - crop) / 2) if length >= crop else -((crop - length) // 2)


@TRANSFORMS.register_module()
class CenterCrop(GeometricTransform):
    """The central rectangle of `size`; black bars where the image is smaller.

    Args:
        size: Side in pixels, or (height, width).
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = pair(size)

    def draw(self, rng: ViewRandom, size: Size) -> Crop:
        """The rectangle; nothing is random."""
        left, top = (_centre_offset(*sides) for sides in zip(size, self.size, strict=True))
        return Crop(left, top, *self.size)

    def output_size(self, size: Size, params: Crop) -> Size:
        """Always `self.size`."""
        return self.size

    def move_box(self, box: Box, size: Size, params: Crop) -> Box:
        """The rectangle in the source."""
        return crop_box(box, size, *params)

    def apply(self, image: Picture, params: Crop) -> Picture:
        """Cut the rectangle."""
        return cut(image, params)
