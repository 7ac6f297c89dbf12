"""ForeignPhotometric: any torchvision transform as a photometric step, made deterministic."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image

from .base import PhotometricTransform, Picture, Size, picture_size
from .view_random import ViewRandom


class ForeignPhotometric(PhotometricTransform):
    """Runs a callable on Pillow images under seeds drawn from the view's own stream.

    The global generators of torch, numpy and Python are seeded around the call and put back, so the
    result is a function of the view's address and nothing else is disturbed.

    Args:
        transform: Maps an RGB Pillow image to a Pillow image, a uint8 array (H, W, 3) or a uint8
            tensor (3, H, W) of the same size.
        prob: Probability with which it is called.
    """

    def __init__(self, transform: Callable[[Any], Any], *, prob: float = 1.0) -> None:
        super().__init__(prob)
        self.transform = transform

    def draw_params(self, rng: ViewRandom, size: Size) -> int:
        """A seed."""
        return rng.integer(0, 2**32 - 1)

    def apply(self, image: Picture, params: int) -> Picture:
        """Call the transform.

        Raises:
            ValueError: The result has another size: then it is no photometric transform.
            TypeError: The result is no uint8 RGB image.
        """
        on_arrays = isinstance(image, np.ndarray)
        python_state, numpy_state = random.getstate(), np.random.get_state()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(params)
            random.seed(params)
            np.random.seed(params)
            try:
                result = self.transform(Image.fromarray(image) if on_arrays else image)
            finally:
                random.setstate(python_state)
                np.random.set_state(numpy_state)
        array = self._as_array(result)
        if (array.shape[1], array.shape[0]) != picture_size(image):
            raise ValueError(
                f"{self.transform!r} turned an image of (width, height) {picture_size(image)} into "
                f"{array.shape[1], array.shape[0]}. A transform from elsewhere must keep the size; "
                "use the geometric transforms of mmssl for crops and resizing."
            )
        return array if on_arrays else Image.fromarray(array)

    def _as_array(self, result: Any) -> np.ndarray:
        if isinstance(result, Image.Image):
            return np.asarray(result.convert("RGB"))
        if isinstance(result, torch.Tensor):
            result = result.permute(1, 2, 0).numpy() if result.ndim == 3 else result.numpy()
        if not isinstance(result, np.ndarray) or result.dtype != np.uint8 or result.ndim != 3:
            raise TypeError(
                f"{self.transform!r} must return an RGB Pillow image or uint8 values, got "
                f"{type(result).__name__} {getattr(result, 'dtype', '')}. Leave ToTensor and "
                "Normalize out: the data preprocessor does that."
            )
        return np.ascontiguousarray(result)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.transform!r}, prob={self.prob})"
