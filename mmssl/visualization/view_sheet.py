"""One picture of what the augmentations do: sources with their crop boxes, and their views."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from PIL import Image, ImageDraw, ImageFont

from mmssl.datasets.decode import UnreadableImageError, read_image
from mmssl.datasets.image_dataset import ImageDataset
from mmssl.datasets.image_folder import ImageFolder
from mmssl.datasets.transforms import MultiView, ViewRandom, apply_photometric
from mmssl.datasets.transforms.base import Picture, picture_size
from mmssl.registry import DATASETS

_COLOURS = (
    (230, 75, 53),
    (52, 120, 200),
    (0, 150, 110),
    (240, 160, 30),
    (140, 80, 180),
    (90, 190, 220),
    (200, 80, 140),
    (120, 120, 40),
    (80, 90, 100),
    (160, 110, 70),
)
_MARGIN = 8
_BORDER = 3
_CAPTION = 16


class SheetRow(NamedTuple):
    """A source image of a sheet.

    Attributes:
        path: The file.
        position: Its position in the dataset: part of the address of its views.
    """

    path: str
    position: int


def find_views(config: Config | dict[str, Any]) -> dict[str, Any]:
    """The view set of a config: of its training dataset, or the only one at its top level.

    Raises:
        ValueError: The config has none, or several and no training dataset.
    """
    dataset = config.get("train_dataloader", {}).get("dataset", {})
    if "views" in dataset:
        return dict(dataset["views"])
    found = [
        name
        for name, value in config.items()
        if isinstance(value, dict) and value.get("type") in ("MultiView", "mmssl.MultiView")
    ]
    if len(found) != 1:
        raise ValueError(
            "Expected a config with train_dataloader.dataset.views or with one MultiView at its top "
            f"level, found {found or 'none'}. View sets are in configs/_base_/views."
        )
    return dict(config[found[0]])


def find_rows(
    images: Sequence[str] | None,
    *,
    num: int,
    index: int | None = None,
    config: Config | dict[str, Any] | None = None,
) -> list[SheetRow]:
    """The images of a sheet: the files given, or some of a folder or of a config's training set.

    Args:
        images: A folder, or files; `None` for the config's training images.
        num: How many images of a folder, spread over it. Of files, all are taken.
        index: Only the image at this position; negative counts from the end.
        config: Names the training images.

    Raises:
        FileNotFoundError: The folder is missing or empty.
        ValueError: Folders among several names, no image at `index`, or nothing that names images.
    """
    if images and len(images) > 1 and any(map(os.path.isdir, images)):
        raise ValueError("--images takes one folder, or files.")
    if images and os.path.isfile(images[0]):
        dataset = ImageDataset(
            "", images, labels=None, classes=None, views=None, seed=None, max_bad_ratio=0.0
        )
        num = len(images)
    elif images:
        dataset = ImageFolder(images[0])
    elif config is not None and "train_dataloader" in config:
        dataset = DATASETS.build(config["train_dataloader"]["dataset"])
    else:
        raise ValueError("The config names no images: give --images FOLDER or FILES.")
    if index is not None:
        if not -len(dataset) <= index < len(dataset):
            raise ValueError(f"--index {index}: there are {len(dataset)} images.")
        chosen = [range(len(dataset))[index]]
    else:
        num = min(num, len(dataset))
        chosen = [position * len(dataset) // num for position in range(num)]
    return [SheetRow(dataset.path(position), position) for position in chosen]


def render_view(
    views: MultiView, view: int, image: Picture, *, seed: int, epoch: int, index: int
) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """One view by its address, with its photometric half on either path.

    Returns:
        The view (H, W, 3) uint8 and its box: pixel edges in the source, left > right if mirrored.
    """
    size = picture_size(image)
    drawn = views.draw(view, size, ViewRandom(seed, epoch, index, view))
    rendered = np.asarray(views.render(view, image, drawn))
    if views.on_device:
        batch = torch.from_numpy(rendered.transpose(2, 0, 1).copy())[None]
        batch = apply_photometric(batch, torch.tensor([views.pack(view, drawn)]))
        rendered = batch[0].permute(1, 2, 0).round().to(torch.uint8).numpy()
    return rendered, views.box(view, size, drawn)


def view_sheet(
    rows: Sequence[SheetRow], views: MultiView, *, seed: int = 0, epoch: int = 0, cell: int = 176
) -> Image.Image:
    """Draw a row per source: the source with one frame per view, then the views.

    The frame of a view has the colour of its border and number; a dashed left side marks a mirrored
    view.

    Args:
        rows: The sources.
        views: The view pipeline.
        seed: Seed of the run.
        epoch: Epoch of the views.
        cell: Side of the cells in pixels; the largest view fills one, smaller ones keep their ratio.
    """
    if not rows:
        raise ValueError("A sheet needs at least one image.")
    font = ImageFont.load_default(12)
    captions, lines = [], []
    for row in rows:
        try:
            image = read_image(row.path, views.backend)
        except UnreadableImageError as error:
            print_log(f"Left out {row.path}: {error}.", logger="current", level=logging.WARNING)
            continue
        address = dict(seed=seed, epoch=epoch, index=row.position)
        rendered = [render_view(views, view, image, **address) for view in range(len(views))]
        largest = max(max(view.shape[:2]) for view, _ in rendered)
        scale = (cell - 2 * _BORDER) / largest
        framed = [
            _framed_view(view, number, scale, font) for number, (view, _) in enumerate(rendered)
        ]
        lines.append([_framed_source(image, [box for _, box in rendered], cell), *framed])
        name = row.path.rsplit("/", 1)[-1]
        captions.append(f"{name}  (seed {seed}, epoch {epoch}, index {row.position})")
    if not lines:
        raise ValueError(
            f"None of the {len(rows)} images can be read, the first is {rows[0].path}."
        )
    columns = [max(image.width for image in column) for column in zip(*lines, strict=True)]
    width = _MARGIN + sum(columns) + _MARGIN * len(columns)
    sheet = Image.new("RGB", (width, _MARGIN + len(lines) * (cell + _CAPTION + _MARGIN)), "white")
    for number, (caption, line) in enumerate(zip(captions, lines, strict=True)):
        top = _MARGIN + number * (cell + _CAPTION + _MARGIN)
        ImageDraw.Draw(sheet).text((_MARGIN, top), caption, (60, 60, 60), font)
        left = _MARGIN
        for image, column in zip(line, columns, strict=True):
            offset = (column - image.width) // 2, (cell - image.height) // 2
            sheet.paste(image, (left + offset[0], top + _CAPTION + offset[1]))
            left += column + _MARGIN
    return sheet


def _framed_view(
    view: np.ndarray, position: int, scale: float, font: ImageFont.FreeTypeFont
) -> Image.Image:
    image = Image.fromarray(view)
    size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
    image = image.resize(size, Image.Resampling.BICUBIC)
    colour = _COLOURS[position % len(_COLOURS)]
    framed = Image.new("RGB", (size[0] + 2 * _BORDER, size[1] + 2 * _BORDER), colour)
    framed.paste(image, (_BORDER, _BORDER))
    draw = ImageDraw.Draw(framed)
    draw.rectangle((0, 0, 15, 15), fill=colour)
    draw.text((4, 1), str(position), (255, 255, 255), font)
    return framed


def _framed_source(
    image: Picture, boxes: Sequence[tuple[float, float, float, float]], cell: int
) -> Image.Image:
    source = image if isinstance(image, Image.Image) else Image.fromarray(image)
    scale = cell / max(source.size)
    size = (max(round(source.width * scale), 1), max(round(source.height * scale), 1))
    source = source.resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(source)
    for position, (x0, y0, x1, y1) in enumerate(boxes):
        colour = _COLOURS[position % len(_COLOURS)]
        left, right = min(x0, x1) * scale, max(x0, x1) * scale - 1
        top, bottom = min(y0, y1) * scale, max(y0, y1) * scale - 1
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        draw.line(corners, fill=colour, width=2)
        pieces = 7 if x0 > x1 else 1
        for piece in range(0, pieces, 2):
            low = top + (bottom - top) * piece / pieces
            high = top + (bottom - top) * (piece + 1) / pieces
            draw.line([(left, low), (left, high)], fill=colour, width=2)
    return source
