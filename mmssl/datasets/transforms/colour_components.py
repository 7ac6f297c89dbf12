"""Changes of colour by components: those of the picture itself, and saturation, value and hue by powers.

Discriminative Unsupervised Feature Learning with Exemplar Convolutional Neural Networks, 2014 (NIPS) and 2016
(arXiv 1406.6909): its two changes of contrast, and its change of colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from mmssl.registry import TRANSFORMS

from .base import PhotometricTransform, Picture, Size
from .view_random import ViewRandom


def _ratios(name: str, bounds: Sequence[float]) -> tuple[float, float]:
    low, high = bounds
    if not 0 < low <= high:
        raise ValueError(f"{name} must be two positive numbers in ascending order, got {bounds}.")
    return math.log(low), math.log(high)


@TRANSFORMS.register_module()
class ColourComponents(PhotometricTransform):
    """Scale what pixels have along the principal components of the picture's colours, each by its own factor.

        x <- mean + U diag(f) U^T (x - mean)

    The three columns of U are the directions of the colours (x, 3) of all pixels. Nothing moves but contrast
    along them; a picture of one colour stays as it is.

    Args:
        factor: Range of f; its logarithm is uniform, so that a factor is as likely as its inverse.
        prob: Probability with which the image is changed.

    Raises:
        ValueError: A range that is not positive and ascending.
    """

    def __init__(self, factor: Sequence[float] = (0.5, 2.0), *, prob: float = 1.0) -> None:
        super().__init__(prob)
        self.bounds = _ratios("ColourComponents.factor", factor)

    def draw_params(self, rng: ViewRandom, size: Size) -> tuple[float, float, float]:
        """Factors of the components, of the one with the least variance first."""
        first, second, third = (math.exp(rng.uniform(*self.bounds)) for _ in range(3))
        return first, second, third

    def apply(self, image: Picture, params: tuple[float, float, float]) -> Picture:
        """Scale the components."""
        pixels = np.asarray(image, np.float32)
        colours = pixels.reshape(-1, 3)
        mean = colours.mean(axis=0)
        directions = np.linalg.eigh(np.cov((colours - mean).T.astype(np.float64)))[1]
        turn = ((directions * params) @ directions.T).astype(np.float32)
        changed = (pixels - mean) @ turn + mean
        array = np.rint(changed).clip(0, 255).astype(np.uint8)
        return Image.fromarray(array) if isinstance(image, Image.Image) else array


class HsvChange(NamedTuple):
    """Drawn parameters of `HsvPower`: power, factor and offset of saturation and value, turn of the hue."""

    saturation: tuple[float, float, float]
    value: tuple[float, float, float]
    hue: float


@TRANSFORMS.register_module()
class HsvPower(PhotometricTransform):
    """Raise saturation and value to a power, scale and shift them; turn the hue.

        s <- f s^p + o,   v <- f' v^p' + o'    clipped to [0, 1];    h <- h + d

    Saturation and value have draws of their own; all pixels of a picture share them.

    Args:
        power: Range of p; its logarithm is uniform.
        factor: Range of f.
        offset: Range of o.
        hue: Range of d, in turns of the colour circle.
        prob: Probability with which the image is changed.

    Raises:
        ValueError: A range of powers that is not positive and ascending.
    """

    def __init__(
        self,
        power: Sequence[float] = (0.25, 4.0),
        factor: Sequence[float] = (0.7, 1.4),
        offset: Sequence[float] = (-0.1, 0.1),
        hue: Sequence[float] = (-0.1, 0.1),
        *,
        prob: float = 1.0,
    ) -> None:
        super().__init__(prob)
        self.power = _ratios("HsvPower.power", power)
        self.factor, self.offset, self.hue = tuple(factor), tuple(offset), tuple(hue)

    def draw_params(self, rng: ViewRandom, size: Size) -> HsvChange:
        """Powers, factors, offsets and turn."""
        saturation, value = (
            (
                math.exp(rng.uniform(*self.power)),
                rng.uniform(*self.factor),
                rng.uniform(*self.offset),
            )
            for _ in range(2)
        )
        return HsvChange(saturation, value, rng.uniform(*self.hue))

    def apply(self, image: Picture, params: HsvChange) -> Picture:
        """Change the three channels by tables of 256 levels, on Pillow images."""
        on_arrays = isinstance(image, np.ndarray)
        picture = Image.fromarray(image) if on_arrays else image
        levels = np.arange(256)
        tables = [(levels + round(256 * params.hue)) % 256]
        for power, factor, offset in (params.saturation, params.value):
            changed = factor * (levels / 255) ** power + offset
            tables.append(np.rint(255 * changed.clip(0, 1)))
        table = np.concatenate(tables).astype(int).tolist()
        changed_picture = picture.convert("HSV").point(table).convert("RGB")
        return np.array(changed_picture) if on_arrays else changed_picture
