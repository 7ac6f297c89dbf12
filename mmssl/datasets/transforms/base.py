"""What a transform is: parameters are drawn first, from a `ViewRandom`, and applied afterwards.

Drawing and applying are separate so that the workers and the training device share the draws, and
so that one view can be rendered again from its address alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from .view_random import ViewRandom

# An (H, W, 3) uint8 RGB array on the cv2 backend, an RGB image on the pil backend.
Picture = np.ndarray | Image.Image
# (left, top, right, bottom): edges in source pixels; a mirrored axis has its ends swapped.
Box = tuple[float, float, float, float]
Size = tuple[int, int]


def picture_size(image: Picture) -> Size:
    """(width, height) of an image of either backend."""
    return image.size if isinstance(image, Image.Image) else (image.shape[1], image.shape[0])


class GeometricTransform(ABC):
    """Moves pixels: (image, box) -> (image, box).

    Attributes:
        keeps_boxes: Whether a box can say what the result shows; after a rotation none can.
    """

    moves_pixels: ClassVar[bool] = True
    keeps_boxes: ClassVar[bool] = True

    @abstractmethod
    def draw(self, rng: ViewRandom, size: Size) -> Any:
        """Parameters for an image of `size` (width, height)."""

    @abstractmethod
    def output_size(self, size: Size, params: Any) -> Size:
        """(width, height) of the result."""

    @abstractmethod
    def move_box(self, box: Box, size: Size, params: Any) -> Box:
        """The part of the source that the result shows, when the input of `size` shows `box`."""

    @abstractmethod
    def apply(self, image: Picture, params: Any) -> Picture:
        """The transformed image."""

    def __call__(self, image: Picture, box: Box, rng: ViewRandom) -> tuple[Picture, Box]:
        size = picture_size(image)
        params = self.draw(rng, size)
        return self.apply(image, params), self.move_box(box, size, params)


class PhotometricTransform(ABC):
    """Changes values and leaves every pixel where it is: image -> image.

    Args:
        prob: Probability with which the image is changed.
    """

    moves_pixels: ClassVar[bool] = False

    def __init__(self, prob: float = 1.0) -> None:
        if not 0.0 <= prob <= 1.0:
            raise ValueError(f"{type(self).__name__}.prob must lie in [0, 1], got {prob}.")
        self.prob = prob

    def draw(self, rng: ViewRandom, size: Size) -> Any | None:
        """Parameters for an image of `size`, or None when the image stays as it is."""
        return self.draw_params(rng, size) if rng.chance(self.prob) else None

    @abstractmethod
    def draw_params(self, rng: ViewRandom, size: Size) -> Any:
        """Parameters of an application that does take place."""

    @abstractmethod
    def apply(self, image: Picture, params: Any) -> Picture:
        """The changed image; `image` itself is never written to."""

    def __call__(self, image: Picture, rng: ViewRandom) -> Picture:
        params = self.draw(rng, picture_size(image))
        return image if params is None else self.apply(image, params)


def crop_box(box: Box, size: Size, left: float, top: float, width: float, height: float) -> Box:
    """The part of the source under a crop (in pixels of an image of `size` that shows `box`)."""
    x0, y0, x1, y1 = box
    scale_x, scale_y = (x1 - x0) / size[0], (y1 - y0) / size[1]
    return (
        x0 + left * scale_x,
        y0 + top * scale_y,
        x0 + (left + width) * scale_x,
        y0 + (top + height) * scale_y,
    )
