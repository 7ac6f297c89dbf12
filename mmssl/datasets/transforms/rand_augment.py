"""RandAugment: a few distortions of an image, chosen at random, at one magnitude.

RandAugment: Practical automated data augmentation with a reduced search space (2020, arXiv 1909.13719), in
three published forms: that of the TPU code of EfficientNet (tensorflow/tpu, efficientnet/autoaugment.py),
which CoTNet trains with (arXiv 2107.12292; JDAI-CV/CoTNet); that of timm, which descends from it and which
InfoMin trains with (arXiv 2005.10243; HobbitLong/PyContrast); and that of FixMatch (arXiv 2001.07685), which
CLSA trains with (arXiv 2104.07713; maple-research-lab/CLSA).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from mmssl.registry import TRANSFORMS

from .base import Box, GeometricTransform, Picture, Size
from .distortions import BICUBIC, CUTOUT, POOLS, Pixels
from .view_random import ViewRandom

_DENOMINATOR = 10.0


class Distortion(NamedTuple):
    """A drawn distortion: its name, the number or the rectangle (left, top, right, bottom), the filter."""

    name: str
    value: float | tuple[int, int, int, int] | None = None
    resample: Image.Resampling = BICUBIC


@TRANSFORMS.register_module()
class RandAugment(GeometricTransform):
    """Distort an image `num_ops` times, each time by a distortion of a pool, each as likely.

    The level of each is drawn around `magnitude` and limited to 0..`max_level` (in `fixmatch` it is a whole
    number of 1..`magnitude` - 1, each as likely); its strength s is level / 10:

    | distortion                       | `efficientnet`            | `timm`          | `fixmatch`            |
    |----------------------------------|---------------------------|-----------------|-----------------------|
    | AutoContrast, Equalize           | no strength               | the same        | the same              |
    | Identity                         | -                         | -               | nothing is changed    |
    | Invert                           | no strength               | the same        | -                     |
    | Rotate, either way               | 30 s degrees              | the same        | the same              |
    | ShearX, ShearY, either way       | 0.3 s                     | the same        | the same              |
    | TranslateX, TranslateY, either way | 100 s pixels            | 0.45 s of a side | int(0.3 s of a side) |
    | Color, Contrast, Brightness, Sharpness | factor 1.8 s + 0.1  | the same        | factor 0.9 s + 0.05   |
    | Posterize: bits kept             | int(4 s)                  | the same        | int(4 s) + 4          |
    | Solarize: inverted from          | int(256 s)                | the same        | 256 - int(256 s)      |
    | SolarizeAdd below 128            | int(110 s)                | the same        | -                     |
    | Cutout                           | int(40 s) pixels each way | -               | -                     |
    | resampling                       | bicubic                   | bilinear or bicubic | nearest           |

    What moves in from outside, and what is cut out, has the colour `fill`. All run on Pillow images. Boxes
    cannot follow a rotation: use `MultiView(boxes=None)`.

    Args:
        num_ops: Distortions in a row, chosen with replacement.
        magnitude: Mean level; in `fixmatch` above the largest.
        magnitude_std: Standard deviation of the level (normal); not in `fixmatch`.
        max_level: Largest level; not in `fixmatch`.
        prob: Range of the probability with which a chosen distortion takes place, drawn for each (uniform).
        fill: RGB colour, 0..255: the mean of ImageNet.
        pool: `efficientnet`, `timm` or `fixmatch`.

    Raises:
        ValueError: A number outside its range, or an unknown pool.
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
        pool: Literal["efficientnet", "timm", "fixmatch"] = "efficientnet",
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
        if pool not in POOLS:
            raise ValueError(f"RandAugment.pool must be one of {sorted(POOLS)}, got {pool!r}.")
        if POOLS[pool].whole_levels and magnitude < 2:
            raise ValueError(
                f"pool={pool!r} draws levels below magnitude, got {magnitude}; give 10."
            )
        self.num_ops = num_ops
        self.magnitude = magnitude
        self.magnitude_std = magnitude_std
        self.max_level = max_level
        self.prob = (float(low), float(high))
        self.pool = POOLS[pool]
        self.fill = tuple(int(level) for level in fill)
        if len(self.fill) != 3 or not all(0 <= level <= 255 for level in self.fill):
            raise ValueError(f"RandAugment.fill must be three levels of 0..255, got {tuple(fill)}.")

    def draw(self, rng: ViewRandom, size: Size) -> tuple[Distortion, ...]:
        """The distortions that take place, in order."""
        names = tuple(self.pool.kinds)
        drawn = []
        for _ in range(self.num_ops):
            name = names[rng.integer(0, len(names) - 1)]
            if rng.chance(rng.uniform(*self.prob)):
                drawn.append(self._distortion(name, rng, size))
        return tuple(drawn)

    def _distortion(self, name: str, rng: ViewRandom, size: Size) -> Distortion:
        kind, filters = self.pool.kinds[name], self.pool.resample
        if kind.value is None:
            return Distortion(name)
        value = kind.value(self._level(rng) / _DENOMINATOR)
        if name == CUTOUT:
            return Distortion(name, _square(rng, size, int(value)))
        if kind.signed and rng.chance(0.5):
            value = -value
        chosen = filters[rng.integer(0, len(filters) - 1)] if len(filters) > 1 else filters[0]
        return Distortion(name, value, chosen)

    def _level(self, rng: ViewRandom) -> float:
        if self.pool.whole_levels:
            return rng.integer(1, int(self.magnitude) - 1)
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
        for name, value, resample in params:
            kind = self.pool.kinds[name]
            picture = kind.apply(picture, value, Pixels(resample, self.fill))
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
