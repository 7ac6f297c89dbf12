"""Transfer configs on a few Shapes images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.registry import RUNNERS

from mmssl.datasets.shapes.generate import draw_shapes
from mmssl.datasets.shapes.taxonomy import categories
from mmssl.engine.config import load_config
from mmssl.engine.family_runtime import complete_family_runtime
from mmssl.models.backbones import ResNet

BENCHMARKS = Path(__file__).resolve().parents[2] / "configs" / "benchmarks"
_FOUND = sorted(
    str(path.relative_to(BENCHMARKS))
    for task in ("detection", "segmentation")
    for path in BENCHMARKS.glob(f"*_{task}/*.py")
)
# of CoTNet, and DETR: recipes of their own, not the protocols of self-supervised ResNets and Swins
OTHER_RECIPES = [leaf for leaf in _FOUND if "cotne" in leaf or "/detr_" in leaf]
LEAVES = [leaf for leaf in _FOUND if leaf not in OTHER_RECIPES]
SPECIES = categories("species")


def draw_few(root: Path) -> Path:
    """Six scenes of 64 px for training and four for validation, in both layouts."""
    draw_shapes(
        root, num_unlabelled=0, num_classify_train=0, num_classify_val=0, num_scenes_train=6,
        num_scenes_val=4, scene_size=64, num_workers=1,
    )  # fmt: skip
    return root


def write_backbone(path: Path, depth: int) -> dict[str, torch.Tensor]:
    """An export of a random ResNet, which is returned."""
    torch.manual_seed(depth)
    state = ResNet(depth).state_dict()
    torch.save(dict(state_dict={f"backbone.{k}": v for k, v in state.items()}), path)
    return state


def _loader(name: str, batch_size: int) -> dict[str, Any]:
    return {
        f"{name}.batch_size": batch_size,
        f"{name}.num_workers": 0,
        f"{name}.persistent_workers": False,
    }


def coco_on_shapes(root: Path) -> dict[str, Any]:
    """Overrides that make a COCO config read Shapes."""
    options = _loader("train_dataloader", 2) | _loader("val_dataloader", 2)
    for name, split in (("train_dataloader", "train"), ("val_dataloader", "val")):
        options |= {
            f"{name}.dataset.data_root": str(root / "coco"),
            f"{name}.dataset.ann_file": f"annotations/instances_{split}.json",
            f"{name}.dataset.data_prefix.img": f"{split}/",
            f"{name}.dataset.metainfo": dict(classes=SPECIES),
        }
    options["val_evaluator.ann_file"] = str(root / "coco/annotations/instances_val.json")
    return options


def voc_boxes_on_shapes(root: Path) -> dict[str, Any]:
    """Overrides that make the VOC07+12 config read Shapes (twice the same images)."""
    options = _loader("train_dataloader", 2) | _loader("val_dataloader", 2)
    for name, split in (
        ("train_dataloader.dataset.datasets.0", "train"),
        ("train_dataloader.dataset.datasets.1", "train"),
        ("val_dataloader.dataset", "val"),
    ):
        options |= {
            f"{name}.data_root": str(root / "voc"),
            f"{name}.ann_file": f"ImageSets/Main/{split}.txt",
            f"{name}.data_prefix.sub_data_root": "",
            f"{name}.metainfo": dict(classes=SPECIES),
        }
    return options


def voc_masks_on_shapes(root: Path) -> dict[str, Any]:
    """Overrides that make a VOC2012 segmentation config read Shapes (twice the same images)."""
    options = _loader("train_dataloader", 2) | _loader("val_dataloader", 1)
    folders = dict(img_path="JPEGImages", seg_map_path="SegmentationClass")
    for name, split in (
        ("train_dataloader.dataset.datasets.0", "train"),
        ("train_dataloader.dataset.datasets.1", "train"),
        ("val_dataloader.dataset", "val"),
    ):
        options |= {
            f"{name}.type": "BaseSegDataset",  # PascalVOCDataset takes VOC's classes only
            f"{name}.data_root": str(root / "voc"),
            f"{name}.ann_file": f"ImageSets/Segmentation/{split}.txt",
            f"{name}.data_prefix": folders,
            f"{name}.metainfo": dict(
                classes=("background", *SPECIES), palette=[(i, i, i) for i in range(13)]
            ),
        }
    return options


def ade_on_shapes(root: Path) -> dict[str, Any]:
    """Overrides that make the ADE20K config read Shapes; the ground is label 0, which it leaves out."""
    options = _loader("train_dataloader", 2) | _loader("val_dataloader", 1)
    for name, split in (("train_dataloader", "train"), ("val_dataloader", "val")):
        options |= {
            f"{name}.dataset.type": "BaseSegDataset",
            f"{name}.dataset.reduce_zero_label": True,
            f"{name}.dataset.data_root": str(root / "voc"),
            f"{name}.dataset.ann_file": f"ImageSets/Segmentation/{split}.txt",
            f"{name}.dataset.data_prefix": dict(
                img_path="JPEGImages", seg_map_path="SegmentationClass"
            ),
            f"{name}.dataset.metainfo": dict(
                classes=SPECIES, palette=[(i, i, i) for i in range(len(SPECIES))]
            ),
        }
    return options


def shapes_segmentation(root: Path) -> dict[str, Any]:
    """Overrides for the segmentation config of Shapes itself."""
    options = _loader("train_dataloader", 2) | _loader("val_dataloader", 2)
    for name in ("train_dataloader", "val_dataloader"):
        options[f"{name}.dataset.data_root"] = str(root / "voc")
    return options


def run(leaf: str, work_dir: Path, options: dict[str, Any]) -> Any:
    """Train a leaf as `tools/train.py` does; returns the runner."""
    config = load_config(BENCHMARKS / leaf, options)
    config.work_dir = str(work_dir)
    config.experiment_name = str(work_dir)
    config.launcher = "none"
    config.log_level = "WARNING"
    config.runner_type = "mmssl.Runner"
    complete_family_runtime(config)
    runner = RUNNERS.build(config)
    runner.train()
    return runner
