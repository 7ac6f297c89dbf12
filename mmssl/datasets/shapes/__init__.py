"""Shapes: drawn images with a three-level hierarchy of classes, for tests and for the demo.

Everything is drawn from a seed, with numpy alone, and is the same on every machine. See README.md
beside this file for the design and for what was measured.
"""

from __future__ import annotations

from .draws import Draws
from .generate import draw_shapes
from .scenes import SceneObject, difficulty_value, draw_scene, draw_single
from .taxonomy import LEAVES, LEVELS, Leaf, categories, category_id, hierarchy
from .writers import coco_objects, segmentation_map, voc_palette

__all__ = [
    "LEAVES",
    "LEVELS",
    "Draws",
    "Leaf",
    "SceneObject",
    "categories",
    "category_id",
    "coco_objects",
    "difficulty_value",
    "draw_scene",
    "draw_shapes",
    "draw_single",
    "hierarchy",
    "segmentation_map",
    "voc_palette",
]
