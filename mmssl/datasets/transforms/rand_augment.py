"""RandAugment: a few of sixteen distortions of an image, chosen at random, at one magnitude.

RandAugment: Practical automated data augmentation with a reduced search space (2020, arXiv 1909.13719), in
the form of the TPU code of EfficientNet (tensorflow/tpu, efficientnet/autoaugment.py), which CoTNet trains
with (arXiv 2107.12292; JDAI-CV/CoTNet). Deviations from timm's, which descends from the same code: Cutout is
among the distortions, a magnitude may exceed 10, translations are in pixels, solarisation is not capped, and
the chance that a chosen distortion takes place is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from mmssl.registry import TRANSFORMS

from .base import Box, GeometricTransform, Picture, Size
from .view_random import ViewRandom

_DENOMINATOR = 10.0
_CUTOUT = "Cutout"


class Distortion(NamedTuple):
    """A drawn distortion: its name, and the number or the rectangle (left, top, right, bottom) it takes."""

    name: str
    value: float | tuple[int, int, int, int] | None = None


def _invert(image: Image.Image, value: Any, fill: tuple) -> Image.Image:
    return ImageOps.invert(image)


def _auto_contrast(image: Image.Image, value: Any, fill: tuple) -> Image.Image:
    return ImageOps.autocontrast(image)


def _equalize(image: Image.Image, value: Any, fill: tuple) -> Image.Image:
    return ImageOps.equalize(image)


def _posterize(image: Image.Image, value: int, fill: tuple) -> Image.Image:
    # Pillow's own refuses to keep no bit
    mask = 256 - 2 ** max(8 - value, 0)
    return image.point([level & mask for level in range(256)] * 3)


def _solarize(image: Image.Image, value: int, fill: tuple) -> Image.Image:
    return ImageOps.solarize(image, value)


def _solarize_add(image: Image.Image, value: int, fill: tuple) -> Image.Image:
    table = [min(level + value, 255) if level < 128 else level for level in range(256)]
    return image.point(table * 3)


def _enhance(kind: type) -> Callable:
    def apply(image: Image.Image, value: float, fill: tuple) -> Image.Image:
        return kind(image).enhance(value)

    return apply


def _rotate(image: Image.Image, value: float, fill: tuple) -> Image.Image:
    return image.rotate(value, resample=Image.Resampling.BICUBIC, fillcolor=fill)


def _affine(coefficients: Callable[[float], tuple[float, ...]]) -> Callable:
    def apply(image: Image.Image, value: float, fill: tuple) -> Image.Image:
        return image.transform(
            image.size,
            Image.Transform.AFFINE,
            coefficients(value),
            resample=Image.Resampling.BICUBIC,
            fillcolor=fill,
        )

    return apply


def _cutout(image: Image.Image, value: tuple[int, int, int, int], fill: tuple) -> Image.Image:
    image = image.copy()
    image.paste(fill, value)
    return image


class _Kind(NamedTuple):
    """How a distortion is applied, what it takes at the magnitude / 10, and whether in both directions."""

    apply: Callable
    value: Callable[[float], float] | None = None
    signed: bool = False


def _factor(strength: float) -> float:
    return 1.8 * strength + 0.1


_KINDS: dict[str, _Kind] = {
    "AutoContrast": _Kind(_auto_contrast),
    "Equalize": _Kind(_equalize),
    "Invert": _Kind(_invert),
    "Rotate": _Kind(_rotate, lambda s: 30 * s, True),
    "Posterize": _Kind(_posterize, lambda s: int(4 * s)),
    "Solarize": _Kind(_solarize, lambda s: int(256 * s)),
    "Color": _Kind(_enhance(ImageEnhance.Color), _factor),
    "Contrast": _Kind(_enhance(ImageEnhance.Contrast), _factor),
    "Brightness": _Kind(_enhance(ImageEnhance.Brightness), _factor),
    "Sharpness": _Kind(_enhance(ImageEnhance.Sharpness), _factor),
    "ShearX": _Kind(_affine(lambda v: (1, v, 0, 0, 1, 0)), lambda s: 0.3 * s, True),
    "ShearY": _Kind(_affine(lambda v: (1, 0, 0, v, 1, 0)), lambda s: 0.3 * s, True),
    "TranslateX": _Kind(_affine(lambda v: (1, 0, v, 0, 1, 0)), lambda s: 100 * s, True),
    "TranslateY": _Kind(_affine(lambda v: (1, 0, 0, 0, 1, v)), lambda s: 100 * s, True),
    "SolarizeAdd": _Kind(_solarize_add, lambda s: int(110 * s)),
    _CUTOUT: _Kind(_cutout, lambda s: int(40 * s)),
}


@TRANSFORMS.register_module()
class RandAugment(GeometricTransform):
    """Distort an image `num_ops` times, each time by one of sixteen distortions, each as likely.

    The level of each is drawn around `magnitude` and limited to 0..`max_level`; its strength is level / 10:

    | distortion                            | at strength s                                      |
    |---------------------------------------|----------------------------------------------------|
    | AutoContrast, Equalize, Invert        | no strength                                        |
    | Rotate                                | 30 s degrees, either way                           |
    | ShearX, ShearY                        | 0.3 s, either way                                  |
    | TranslateX, TranslateY                | 100 s pixels, either way                           |
    | Color, Contrast, Brightness, Sharpness| factor 1.8 s + 0.1                                 |
    | Posterize                             | int(4 s) bits are kept                             |
    | Solarize                              | values from int(256 s) on are inverted             |
    | SolarizeAdd                           | int(110 s) is added to values below 128            |
    | Cutout                                | a square reaching int(40 s) pixels from its centre |

    What moves in from outside, and what is cut out, has the colour `fill`; resampling is bicubic. All run on
    Pillow images. Boxes cannot follow a rotation: use `MultiView(boxes=None)`.

    Args:
        num_ops: Distortions in a row, chosen with replacement.
        magnitude: Mean level.
        magnitude_std: Standard deviation of the level (normal).
        max_level: Largest level.
        prob: Range of the probability with which a chosen distortion takes place, drawn for each (uniform).
        fill: RGB colour, 0..255: the mean of ImageNet.

    Raises:
        ValueError: A number outside its range.
    """

    keeps_boxes = False

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: float = 15.0,
        *,
        magnitude_std: float = 0.5,
        max_level: float = 15.0,
        prob: Sequence[float] = (0.2, 0.8),
        fill: Sequence[int] = (124, 116, 104),
    ) -> None:
        if num_ops < 1:
            raise ValueError(f"RandAugment.num_ops must be at least 1, got {num_ops}.")
        if not 0 <= magnitude <= max_level or magnitude_std < 0:
            raise ValueError(
                "RandAugment needs 0 <= magnitude <= max_level and magnitude_std >= 0, got "
                f"magnitude={magnitude}, max_level={max_level}, magnitude_std={magnitude_std}."
            )
        low, high = prob
        if not 0 <= low <= high <= 1:
            raise ValueError(f"RandAugment.prob must be a range within [0, 1], got {tuple(prob)}.")
        self.num_ops = num_ops
        self.magnitude = magnitude
        self.magnitude_std = magnitude_std
        self.max_level = max_level
        self.prob = (float(low), float(high))
        self.fill = tuple(int(level) for level in fill)
        if len(self.fill) != 3 or not all(0 <= level <= 255 for level in self.fill):
            raise ValueError(f"RandAugment.fill must be three levels of 0..255, got {tuple(fill)}.")

    def draw(self, rng: ViewRandom, size: Size) -> tuple[Distortion, ...]:
        """The distortions that take place, in order."""
        names = tuple(_KINDS)
        drawn = []
        for _ in range(self.num_ops):
            name = names[rng.integer(0, len(names) - 1)]
            if rng.chance(rng.uniform(*self.prob)):
                drawn.append(self._distortion(name, rng, size))
        return tuple(drawn)

    def _distortion(self, name: str, rng: ViewRandom, size: Size) -> Distortion:
        kind = _KINDS[name]
        if kind.value is None:
            return Distortion(name)
        value = kind.value(self._level(rng) / _DENOMINATOR)
        if name == _CUTOUT:
            return Distortion(name, _square(rng, size, int(value)))
        return Distortion(name, -value if kind.signed and rng.chance(0.5) else value)

    def _level(self, rng: ViewRandom) -> float:
        # Box and Muller's normal number out of two uniform ones, which ViewRandom keeps stable
        radius = math.sqrt(-2 * math.log(1 - rng.random()))
        normal = radius * math.cos(2 * math.pi * rng.random())
        return min(max(self.magnitude + self.magnitude_std * normal, 0.0), self.max_level)

    def output_size(self, size: Size, params: tuple[Distortion, ...]) -> Size:
        """Unchanged."""
        return size

    def move_box(self, box: Box, size: Size, params: tuple[Distortion, ...]) -> Box:
        """That of the image before it was distorted, for pictures of where a view comes from."""
        return box

    def apply(self, image: Picture, params: tuple[Distortion, ...]) -> Picture:
        """The distorted image."""
        if not params:
            return image
        picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
        for name, value in params:
            picture = _KINDS[name].apply(picture, value, self.fill)
        return picture if isinstance(image, Image.Image) else np.array(picture)


def _square(rng: ViewRandom, size: Size, half: int) -> tuple[int, int, int, int]:
    """A square around a random pixel, cut at the border, as edges (left, top, right, bottom)."""
    width, height = size
    row, column = rng.integer(0, height - 1), rng.integer(0, width - 1)
    return (
        max(column - half, 0),
        max(row - half, 0),
        min(column + half, width),
        min(row + half, height),
    )
