"""MultiView: one decoded image -> views, their crop boxes and their photometric parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mmssl.registry import TRANSFORMS, build_module

from .base import Box, GeometricTransform, PhotometricTransform, Picture, Size, picture_size
from .foreign import ForeignPhotometric
from .geometric import HorizontalFlip, VerticalFlip
from .photometric import PackedTransform
from .view_random import ViewRandom

Transform = GeometricTransform | PhotometricTransform


class Views(NamedTuple):
    """The views of one image.

    Attributes:
        images: One uint8 RGB tensor (3, H_v, W_v) per view.
        boxes: One float32 tensor (4,) per view, or an empty list; see `MultiView`.
        photometric: One float32 tensor (P,) per view on the device path, else an empty list.
    """

    images: list[Tensor]
    boxes: list[Tensor]
    photometric: list[Tensor]


@TRANSFORMS.register_module()
class MultiView:
    """Draws and renders the views of an image; a view is a pure function of its address.

    The address is (seed, epoch, index of the image, number of the view), see `ViewRandom`.
    Geometric transforms move pixels and carry the crop box along; photometric ones change values.
    Any torchvision transform (or other callable on Pillow images) is taken as photometric.

    Boxes, in output orientation (a mirrored view has left > right, or top > bottom):

    - `boxes='unit'`: PixPro's convention, centres of the outermost pixels as fractions of the
      image,
      (x0 / (W - 1), y0 / (H - 1), (x1 - 1) / (W - 1), (y1 - 1) / (H - 1)) for the pixel edges
      (x0, y0, x1, y1): the whole image is exactly (0, 0, 1, 1).
    - `boxes='pixel'`: the same without the division: (x0, y0, x1 - 1, y1 - 1).
    - `boxes=None`: not recorded.

    Args:
        views: A list of `dict(num=how many, transforms=[...])`, in order.
        backend: 'cv2' (fast) or 'pil' (the published recipes' operations, bit for bit).
        photometric: 'workers': the whole pipeline runs here. 'device': only crops and flips run
            here, the photometric half runs in batches in the data preprocessor, from packed
            parameters.
        boxes: 'unit', 'pixel' or None.

    Raises:
        ValueError: An argument is unknown, a pipeline cannot run on the device, or boxes are asked for that
            a transform does not keep.
    """

    def __init__(
        self,
        views: Sequence[dict[str, Any]],
        *,
        backend: str = "cv2",
        photometric: str = "workers",
        boxes: str | None = "unit",
    ) -> None:
        for name, value, allowed in (
            ("backend", backend, ("cv2", "pil")),
            ("photometric", photometric, ("workers", "device")),
            ("boxes", boxes, ("unit", "pixel", None)),
        ):
            if value not in allowed:
                raise ValueError(f"MultiView.{name} must be one of {allowed}, got {value!r}.")
        self.backend = backend
        self.on_device = photometric == "device"
        self.boxes = boxes
        self.pipelines: list[list[Transform]] = []
        for position, group in enumerate(views):
            unknown = set(group) - {"num", "transforms"}
            if unknown or "transforms" not in group:
                raise ValueError(
                    f"views[{position}] must be dict(num=..., transforms=[...]), got the keys "
                    f"{sorted(group)}."
                )
            pipeline = [_as_transform(transform) for transform in group["transforms"]]
            if self.on_device:
                _check_device_order(pipeline, position)
            if boxes is not None:
                _check_boxes(pipeline, position)
            self.pipelines.extend([pipeline] * int(group.get("num", 1)))
        if not self.pipelines:
            raise ValueError("MultiView needs at least one view, got an empty list.")

    def __len__(self) -> int:
        """Number of views."""
        return len(self.pipelines)

    def draw(self, view: int, size: Size, rng: ViewRandom) -> list[Any]:
        """The parameters of one view of an image of `size` (width, height), one per transform."""
        drawn = []
        for transform in self.pipelines[view]:
            params = transform.draw(rng, size)
            drawn.append(params)
            if transform.moves_pixels:
                size = transform.output_size(size, params)
        return drawn

    def box(self, view: int, size: Size, drawn: Sequence[Any]) -> Box:
        """What a drawn view shows, as pixel edges of the source image of `size`."""
        box = (0.0, 0.0, float(size[0]), float(size[1]))
        for transform, params in zip(self.pipelines[view], drawn, strict=True):
            if transform.moves_pixels:
                box = transform.move_box(box, size, params)
                size = transform.output_size(size, params)
        return box

    def render(self, view: int, image: Picture, drawn: Sequence[Any]) -> Picture:
        """Apply drawn parameters; on the device path the geometric ones only."""
        for transform, params in zip(self.pipelines[view], drawn, strict=True):
            here = transform.moves_pixels or not self.on_device
            if here and params is not None:
                image = transform.apply(image, params)
        return image

    def pack(self, view: int, drawn: Sequence[Any]) -> list[float]:
        """The photometric parameters of a drawn view as one row for the device."""
        row: list[float] = []
        for transform, params in zip(self.pipelines[view], drawn, strict=True):
            if isinstance(transform, PackedTransform):
                row.extend(transform.pack(params))
        return row

    def __call__(self, image: Picture, *, seed: int = 0, epoch: int = 0, index: int = 0) -> Views:
        """Render all views of a decoded image.

        Args:
            image: Of this pipeline's backend: (H, W, 3) uint8 RGB array, or RGB Pillow image.
            seed: Seed of the run.
            epoch: Epoch, counted from 0.
            index: Position of the image in the dataset.
        """
        size = picture_size(image)
        result = Views([], [], [])
        for view in range(len(self.pipelines)):
            drawn = self.draw(view, size, ViewRandom(seed, epoch, index, view))
            result.images.append(_to_tensor(self.render(view, image, drawn)))
            if self.boxes is not None:
                result.boxes.append(self._encode_box(self.box(view, size, drawn), size))
            if self.on_device:
                result.photometric.append(torch.tensor(self.pack(view, drawn)))
        return result

    def _encode_box(self, box: Box, size: Size) -> Tensor:
        x0, y0, x1, y1 = box
        # Centres of the outermost pixels: half a pixel inside of the edges, whichever way round
        if x1 > x0:
            x1 -= 1
        else:
            x0 -= 1
        if y1 > y0:
            y1 -= 1
        else:
            y0 -= 1
        if self.boxes == "unit":
            width, height = max(size[0] - 1, 1), max(size[1] - 1, 1)
            x0, y0, x1, y1 = x0 / width, y0 / height, x1 / width, y1 / height
        return torch.tensor((x0, y0, x1, y1), dtype=torch.float32)


def _as_transform(config: Any) -> Transform:
    transform = build_module(TRANSFORMS, config)
    if isinstance(transform, (GeometricTransform, PhotometricTransform)):
        return transform
    if callable(transform):
        return ForeignPhotometric(transform)
    raise TypeError(
        f"A transform must be a config dict, a transform of mmssl or a callable, got {config!r}."
    )


def _check_device_order(pipeline: Sequence[Transform], position: int) -> None:
    """Photometric ops run last on the device: anything that does not commute must come before."""
    photometric_seen = False
    for transform in pipeline:
        name = type(transform).__name__
        if isinstance(transform, PhotometricTransform):
            photometric_seen = True
            if not isinstance(transform, PackedTransform):
                raise ValueError(
                    f"views[{position}] uses {transform!r}, which cannot run on the device; use "
                    "photometric='workers'."
                )
        elif photometric_seen and not isinstance(transform, (HorizontalFlip, VerticalFlip)):
            raise ValueError(
                f"views[{position}] has {name} behind a photometric transform. With "
                "photometric='device' crops and resizing must come first; flips may stand anywhere."
            )


def _check_boxes(pipeline: Sequence[Transform], position: int) -> None:
    for transform in pipeline:
        if isinstance(transform, GeometricTransform) and not transform.keeps_boxes:
            raise ValueError(
                f"views[{position}] has {type(transform).__name__}, which rotates and shears: no crop box "
                "says what its result shows. Record none: MultiView(boxes=None)."
            )


def _to_tensor(image: Picture) -> Tensor:
    array = np.asarray(image) if isinstance(image, Image.Image) else image
    planes = np.empty((3, *array.shape[:2]), np.uint8)
    cv2.split(array, [planes[0], planes[1], planes[2]])
    return torch.from_numpy(planes)
