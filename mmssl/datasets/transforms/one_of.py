"""OneOf: one of several photometric transforms, chosen anew for each view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmssl.registry import TRANSFORMS, build_module

from .base import PhotometricTransform, Picture, Size
from .foreign import ForeignPhotometric
from .view_random import ViewRandom


@TRANSFORMS.register_module()
class OneOf(PhotometricTransform):
    """Choose one of several photometric transforms, each as likely, and draw that (RandomChoice).

    The probability of the chosen one applies after the choice: of two, a `RandomGrayscale(prob=0.25)`
    changes one image in eight.

    Args:
        transforms: Photometric transforms, their configs, or callables on Pillow images.
        prob: Probability with which a choice is made at all.

    Raises:
        ValueError: Fewer than two transforms.
        TypeError: A transform that moves pixels, or something else.
    """

    def __init__(self, transforms: Sequence[Any], *, prob: float = 1.0) -> None:
        super().__init__(prob)
        if len(transforms) < 2:
            raise ValueError(f"OneOf chooses among at least two transforms, got {len(transforms)}.")
        self.transforms = [_photometric(transform) for transform in transforms]

    def draw_params(self, rng: ViewRandom, size: Size) -> tuple[int, Any] | None:
        """Which transform, and its parameters; None when the chosen one leaves the image."""
        chosen = rng.integer(0, len(self.transforms) - 1)
        params = self.transforms[chosen].draw(rng, size)
        return None if params is None else (chosen, params)

    def apply(self, image: Picture, params: tuple[int, Any]) -> Picture:
        """Apply the chosen transform."""
        chosen, drawn = params
        return self.transforms[chosen].apply(image, drawn)


def _photometric(config: Any) -> PhotometricTransform:
    transform = build_module(TRANSFORMS, config)
    if isinstance(transform, PhotometricTransform):
        return transform
    if getattr(transform, "moves_pixels", False) or not callable(transform):
        raise TypeError(
            f"OneOf takes photometric transforms and callables on Pillow images, got {transform!r}; "
            "crops and flips stand in the list of the view."
        )
    return ForeignPhotometric(transform)
