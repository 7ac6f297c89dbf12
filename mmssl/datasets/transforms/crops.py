"""Crops at the image's own scale: anywhere, in one corner, or many in a grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from mmssl.registry import TRANSFORMS

from .base import Box, GeometricTransform, Picture, Size
from .geometric import CenterCrop, Crop, cut
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


@TRANSFORMS.register_module()
class PatchGrid(GeometricTransform):
    """Cut the image into cells, and a patch at a random place out of each; patches stand side by side.

    The jigsaw of PIRL (Misra and van der Maaten 2020, arXiv 1912.01991) and InfoMin: a crop of 255 px gives
    3 x 3 patches of 64 px out of cells of 85 px, a picture of 192 px. Boxes cannot say that: use
    `MultiView(boxes=None)`.

    Args:
        size: Side of a patch, in pixels.
        grid: Cells in each direction.

    Raises:
        ValueError: A number below 1.
    """

    keeps_boxes = False

    def __init__(self, size: int = 64, *, grid: int = 3) -> None:
        if size < 1 or grid < 1:
            raise ValueError(f"PatchGrid needs size >= 1 and grid >= 1, got {size=}, {grid=}.")
        self.patch = size
        self.grid = grid

    def draw(self, rng: ViewRandom, size: Size) -> list[Crop]:
        """The patches, row by row.

        Raises:
            ValueError: Cells smaller than a patch.
        """
        width, height = size[0] // self.grid, size[1] // self.grid
        room = width - self.patch, height - self.patch
        if min(room) < 0:
            raise ValueError(
                f"PatchGrid cuts patches of {self.patch} px out of {self.grid} x {self.grid} cells, but an "
                f"image of {size[0]} x {size[1]} px has cells of {width} x {height}; crop it larger before."
            )
        return [
            Crop(
                column * width + rng.integer(0, room[0]),
                row * height + rng.integer(0, room[1]),
                self.patch,
                self.patch,
            )
            for row in range(self.grid)
            for column in range(self.grid)
        ]

    def output_size(self, size: Size, params: list[Crop]) -> Size:
        """As many patches in a row, and in a column, as cells."""
        return self.grid * self.patch, self.grid * self.patch

    def move_box(self, box: Box, size: Size, params: list[Crop]) -> Box:
        """That of the whole image, for pictures of where a view comes from."""
        return box

    def apply(self, image: Picture, params: list[Crop]) -> Picture:
        """The patches side by side."""
        patches = [np.asarray(cut(image, crop)) for crop in params]
        rows = [
            np.concatenate(patches[start : start + self.grid], axis=1)
            for start in range(0, len(patches), self.grid)
        ]
        whole = np.concatenate(rows)
        return Image.fromarray(whole) if isinstance(image, Image.Image) else whole


def _room(size: Size, crop: Size) -> tuple[int, int]:
    """How far (right, down) a crop of (width, height) can be moved; negative if it does not fit."""
    return size[0] - crop[0], size[1] - crop[1]
