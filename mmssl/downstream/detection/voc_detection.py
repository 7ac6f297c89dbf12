"""PASCAL VOC boxes with a choice about `difficult` objects."""

from __future__ import annotations

from typing import Any, Literal

from mmdet.datasets import VOCDataset

from mmssl.registry import DATASETS


@DATASETS.register_module()
class VOCDetection(VOCDataset):
    """mmdet's `VOCDataset`, which can train on objects marked difficult.

    mmdet ignores them in training; detectron2, in which the published numbers of self-supervised
    methods were measured, trains on them. In test mode they are always ignored, as VOC demands.

    Args:
        difficult: What training does with difficult objects: "use" them or "ignore" them.
        **kwargs: Arguments of mmdet's `VOCDataset`.
    """

    def __init__(self, *, difficult: Literal["use", "ignore"] = "use", **kwargs) -> None:
        if difficult not in ("use", "ignore"):
            raise ValueError(f"difficult must be 'use' or 'ignore', got {difficult!r}.")
        self.difficult = difficult
        super().__init__(**kwargs)

    def _parse_instance_info(self, raw_ann_info: Any, minus_one: bool = True) -> list[dict]:
        instances = super()._parse_instance_info(raw_ann_info, minus_one)
        if self.test_mode or self.difficult == "ignore":
            return instances
        smallest = self.bbox_min_size or 0
        for instance in instances:
            left, top, right, bottom = instance["bbox"]
            instance["ignore_flag"] = int(min(right - left, bottom - top) < smallest)
        return instances
