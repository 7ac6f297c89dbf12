"""The distortions that RandAugment chooses among, and the three sets of them that published recipes use.

Formulas of AutoAugment (Cubuk et al. 2019, arXiv 1805.09501) and its descendants; all run on Pillow images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from PIL import Image, ImageEnhance, ImageOps

NEAREST, BILINEAR, BICUBIC = (
    Image.Resampling.NEAREST,
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
)
CUTOUT = "Cutout"


class Pixels(NamedTuple):
    """How pixels that move are sampled, and the colour of those that come from outside."""

    resample: Image.Resampling
    fill: tuple[int, ...]


def _identity(image: Image.Image, value: Any, pixels: Pixels) -> Image.Image:
    return image


def _invert(image: Image.Image, value: Any, pixels: Pixels) -> Image.Image:
    return ImageOps.invert(image)


def _auto_contrast(image: Image.Image, value: Any, pixels: Pixels) -> Image.Image:
    return ImageOps.autocontrast(image)


def _equalize(image: Image.Image, value: Any, pixels: Pixels) -> Image.Image:
    return ImageOps.equalize(image)


def _posterize(image: Image.Image, value: int, pixels: Pixels) -> Image.Image:
    # Pillow's own refuses to keep no bit
    mask = 256 - 2 ** max(8 - value, 0)
    return image.point([level & mask for level in range(256)] * 3)


def _solarize(image: Image.Image, value: int, pixels: Pixels) -> Image.Image:
    return ImageOps.solarize(image, value)


def _solarize_add(image: Image.Image, value: int, pixels: Pixels) -> Image.Image:
    table = [min(level + value, 255) if level < 128 else level for level in range(256)]
    return image.point(table * 3)


def _enhance(kind: type) -> Callable:
    def apply(image: Image.Image, value: float, pixels: Pixels) -> Image.Image:
        return kind(image).enhance(value)

    return apply


def _rotate(image: Image.Image, value: float, pixels: Pixels) -> Image.Image:
    return image.rotate(value, resample=pixels.resample, fillcolor=pixels.fill)


def _affine(coefficients: Callable[[float, tuple[int, int]], tuple[float, ...]]) -> Callable:
    def apply(image: Image.Image, value: float, pixels: Pixels) -> Image.Image:
        return image.transform(
            image.size,
            Image.Transform.AFFINE,
            coefficients(value, image.size),
            resample=pixels.resample,
            fillcolor=pixels.fill,
        )

    return apply


def _cutout(image: Image.Image, value: tuple[int, int, int, int], pixels: Pixels) -> Image.Image:
    image = image.copy()
    image.paste(pixels.fill, value)
    return image


class Kind(NamedTuple):
    """How a distortion is applied, what it takes at the level / 10, and whether in both directions."""

    apply: Callable
    value: Callable[[float], float] | None = None
    signed: bool = False


_SHEAR_X = _affine(lambda v, size: (1, v, 0, 0, 1, 0))
_SHEAR_Y = _affine(lambda v, size: (1, 0, 0, v, 1, 0))
_ENHANCE = {
    name: _enhance(getattr(ImageEnhance, name))
    for name in ("Color", "Contrast", "Brightness", "Sharpness")
}


def _enhanced(factor: Callable[[float], float]) -> dict[str, Kind]:
    return {name: Kind(apply, factor) for name, apply in _ENHANCE.items()}


def _moves(translate_x: Callable, translate_y: Callable, most: float) -> dict[str, Kind]:
    return {
        "ShearX": Kind(_SHEAR_X, lambda s: 0.3 * s, True),
        "ShearY": Kind(_SHEAR_Y, lambda s: 0.3 * s, True),
        "TranslateX": Kind(translate_x, lambda s: most * s, True),
        "TranslateY": Kind(translate_y, lambda s: most * s, True),
    }


_BY_PIXELS = (
    _affine(lambda v, size: (1, 0, v, 0, 1, 0)),
    _affine(lambda v, size: (1, 0, 0, 0, 1, v)),
)
_BY_SHARES = (
    _affine(lambda v, size: (1, 0, v * size[0], 0, 1, 0)),
    _affine(lambda v, size: (1, 0, 0, 0, 1, v * size[1])),
)
_BY_WHOLE_PIXELS_OF_SHARES = (
    _affine(lambda v, size: (1, 0, int(v * size[0]), 0, 1, 0)),
    _affine(lambda v, size: (1, 0, 0, 0, 1, int(v * size[1]))),
)
_ROTATE = Kind(_rotate, lambda s: 30 * s, True)
_SOLARIZE_ADD = Kind(_solarize_add, lambda s: int(110 * s))
_EFFICIENTNET = {
    "AutoContrast": Kind(_auto_contrast),
    "Equalize": Kind(_equalize),
    "Invert": Kind(_invert),
    "Rotate": _ROTATE,
    "Posterize": Kind(_posterize, lambda s: int(4 * s)),
    "Solarize": Kind(_solarize, lambda s: int(256 * s)),
    **_enhanced(lambda s: 1.8 * s + 0.1),
    **_moves(*_BY_PIXELS, 100),
    "SolarizeAdd": _SOLARIZE_ADD,
    CUTOUT: Kind(_cutout, lambda s: int(40 * s)),
}
_TIMM = {name: kind for name, kind in _EFFICIENTNET.items() if name != CUTOUT} | _moves(
    *_BY_SHARES, 0.45
)
_FIXMATCH = {
    "AutoContrast": Kind(_auto_contrast),
    "Equalize": Kind(_equalize),
    "Identity": Kind(_identity),
    "Posterize": Kind(_posterize, lambda s: int(4 * s) + 4),
    "Rotate": _ROTATE,
    "Solarize": Kind(_solarize, lambda s: 256 - int(256 * s)),
    **_enhanced(lambda s: 0.9 * s + 0.05),
    **_moves(*_BY_WHOLE_PIXELS_OF_SHARES, 0.3),
}


class Pool(NamedTuple):
    """A set of distortions.

    Attributes:
        kinds: By name.
        resample: How pixels that move are sampled; of several, one is drawn for each.
        whole_levels: Whether the level is a whole number of 1 .. magnitude - 1, each as likely, in place of a
            normal one around the magnitude.
    """

    kinds: Mapping[str, Kind]
    resample: tuple[Image.Resampling, ...]
    whole_levels: bool = False


POOLS = {
    "efficientnet": Pool(_EFFICIENTNET, (BICUBIC,)),
    "timm": Pool(_TIMM, (BILINEAR, BICUBIC)),
    "fixmatch": Pool(_FIXMATCH, (NEAREST,), whole_levels=True),
}
