"""Crops at the image's own scale: anywhere, or in one corner."""

from __future__ import annotations

from collections.abc import Sequence

from mmssl.registry import TRANSFORMS

from .base import Size
from .geometric import CenterCrop, Crop
from .view_random import ViewRandom

CORNERS = ("top_left", "top_right", "bottom_left", "bottom_right")


@TRANSFORMS.register_module()
class RandomCrop(CenterCrop):
    """A rectangle of `size` at a uniformly drawn place; black bars where the image is smaller.

    Args:
        size: Side in pixels, or (height, width).
    """

    def draw(self, rng: ViewRandom, size: Size) -> Crop:
        """The rectangle for an image of `size` (width, height)."""
        centre = super().draw(rng, size)
        # Two numbers whatever the size, so that what is drawn behind does not depend on it.
        left, top = (rng.integer(0, max(room, 0)) for room in _room(size, self.size))
        width_fits, height_fits = (room >= 0 for room in _room(size, self.size))
        return Crop(
            left if width_fits else centre.left, top if height_fits else centre.top, *self.size
        )


@TRANSFORMS.register_module()
class CornerCrop(CenterCrop):
    """The rectangle of `size` in a corner; four of them and `CenterCrop` are torchvision's FiveCrop.

    Args:
        size: Side in pixels, or (height, width).
        corner: `top_left`, `top_right`, `bottom_left` or `bottom_right`.

    Raises:
        ValueError: Another corner.
    """

    def __init__(self, size: int | Sequence[int], *, corner: str) -> None:
        super().__init__(size)
        if corner not in CORNERS:
            raise ValueError(f"corner must be one of {CORNERS}, got {corner!r}.")
        self.corner = corner

    def draw(self, rng: ViewRandom, size: Size) -> Crop:
        """The rectangle; nothing is random."""
        right, bottom = _room(size, self.size)
        left = right if self.corner.endswith("right") else 0
        top = bottom if self.corner.startswith("bottom") else 0
        return Crop(left, top, *self.size)


def _room(size: Size, crop: Size) -> tuple[int, int]:
    """How far (right, down) a crop of (width, height) can be moved; negative if it does not fit."""
    return size[0] - crop[0], size[1] - crop[1]
