"""Shapes on disk: JPEG files, COCO instances, VOC boxes and segmentation maps.

COCO: https://cocodataset.org/#format-data. VOC: "The PASCAL Visual Object Classes Challenge"
(Everingham et al., 2010), development kit of 2012.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from .scenes import SceneObject
from .taxonomy import LEAVES, categories, category_id

JPEG_QUALITY = 92
VOC_BORDER = 255


def write_jpeg(path: Path, image: np.ndarray) -> None:
    """Write an (H, W, 3) uint8 RGB image."""
    Image.fromarray(image).save(path, quality=JPEG_QUALITY, subsampling=0)


def run_lengths(mask: np.ndarray) -> list[int]:
    """Encode a mask as COCO's uncompressed run lengths.

    Args:
        mask: (H, W) bool.

    Returns:
        Lengths of the runs of 0, 1, 0, ... in column-major order, the first maybe 0.

    Example:
        >>> run_lengths(np.array([[False, True], [True, True]]))
        [1, 3]
    """
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate([[0], changes, [flat.size]])
    lengths = np.diff(edges).tolist()
    return [0, *lengths] if flat[0] else lengths


def coco_objects(objects: Sequence[SceneObject], level: str) -> list[dict[str, Any]]:
    """Describe a scene's objects as COCO annotations, still without ids of image and annotation.

    Args:
        objects: what :func:`draw_scene` returned.
        level: level of the hierarchy whose classes are the categories.

    Returns:
        One dictionary per object; ``category_id`` counts from 1, ``leaf`` and ``hidden`` are extra.
    """
    found = []
    for thing in objects:
        left, top, right, bottom = thing.box
        found.append(
            {
                "category_id": category_id(thing.leaf, level) + 1,
                "bbox": [left, top, right - left, bottom - top],
                "area": int(np.count_nonzero(thing.mask)),
                "iscrowd": 0,
                "segmentation": {
                    "size": list(thing.mask.shape),
                    "counts": run_lengths(thing.mask),
                },
                "leaf": thing.leaf,
                "hidden": round(thing.hidden, 4),
            }
        )
    return found


def write_coco(
    path: Path, scenes: Sequence[list[dict[str, Any]]], size: int, level: str, about: str
) -> None:
    """Write ``instances_*.json`` for the images ``000000.jpg``, ``000001.jpg``, ...

    Args:
        path: file to write.
        scenes: per image what :func:`coco_objects` returned.
        size: height and width of the images.
        level: level of the hierarchy whose classes are the categories.
        about: text of the field ``info``.
    """
    annotations = [
        {**thing, "image_id": image} for image, things in enumerate(scenes) for thing in things
    ]
    for number, annotation in enumerate(annotations):
        annotation["id"] = number + 1
    images = [
        {"id": i, "file_name": f"{i:06d}.jpg", "height": size, "width": size}
        for i in range(len(scenes))
    ]
    named = [
        {"id": i + 1, "name": name, "supercategory": name.split("_")[0]}
        for i, name in enumerate(categories(level))
    ]
    content = {
        "info": {"description": about},
        "images": images,
        "annotations": annotations,
        "categories": named,
    }
    path.write_text(json.dumps(content), encoding="utf-8")


def voc_xml(filename: str, size: int, objects: Sequence[SceneObject], level: str) -> bytes:
    """Return the VOC annotation of a scene; boxes count from 1 and include both ends."""
    root = ElementTree.Element("annotation")

    def put(parent: ElementTree.Element, **fields: object) -> None:
        for key, value in fields.items():
            ElementTree.SubElement(parent, key).text = str(value)

    put(root, folder="voc", filename=filename)
    put(ElementTree.SubElement(root, "source"), database="Shapes")
    put(ElementTree.SubElement(root, "size"), width=size, height=size, depth=3)
    put(root, segmented=1)
    for thing in objects:
        left, top, right, bottom = thing.box
        entry = ElementTree.SubElement(root, "object")
        cut = left == 0 or top == 0 or right == size or bottom == size
        put(
            entry,
            name=LEAVES[thing.leaf].at(level),
            pose="Unspecified",
            truncated=int(cut),
            occluded=int(thing.hidden > 0.05),
            difficult=0,
        )
        put(
            ElementTree.SubElement(entry, "bndbox"),
            xmin=left + 1,
            ymin=top + 1,
            xmax=right,
            ymax=bottom,
        )
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8")


def segmentation_map(size: int, objects: Sequence[SceneObject], level: str) -> np.ndarray:
    """Return the class of every pixel.

    Args:
        size: height and width of the scene.
        objects: what :func:`draw_scene` returned.
        level: level of the hierarchy whose classes count, from 1.

    Returns:
        (size, size) uint8: 0 is the background, 255 a border one pixel wide around every object,
        which is not evaluated.
    """
    classes = np.zeros((size, size), np.uint8)
    owners = np.zeros((size, size), np.uint8)
    for number, thing in enumerate(objects):
        classes[thing.mask] = category_id(thing.leaf, level) + 1
        owners[thing.mask] = number + 1
    border = np.zeros((size, size), bool)
    border[:, :-1] |= owners[:, 1:] != owners[:, :-1]
    border[:-1] |= owners[1:] != owners[:-1]
    classes[border] = VOC_BORDER
    return classes


def voc_palette() -> list[int]:
    """Return VOC's 256 colours, flat: the bits of a class number spread over red, green, blue."""
    colours = []
    for number in range(256):
        rgb = [0, 0, 0]
        for place in range(8):
            triple = number >> (3 * place)
            for channel in range(3):
                rgb[channel] |= ((triple >> channel) & 1) << (7 - place)
        colours += rgb
    return colours


def write_segmentation(path: Path, classes: np.ndarray) -> None:
    """Write a (H, W) uint8 class map as a PNG with VOC's palette."""
    picture = Image.fromarray(classes)
    picture.putpalette(voc_palette())
    picture.save(path, optimize=False)
