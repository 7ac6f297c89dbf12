"""Tiny runs of the evaluation protocols that train a classifier, on drawn Shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from mmssl.datasets import ImageDataset
from mmssl.datasets.shapes import draw_shapes
from mmssl.engine.config import load_config
from mmssl.models.algorithms import ImageClassifier
from mmssl.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
LEAVES = ROOT / "configs/benchmarks/shapes_classification"
LINEAR = LEAVES / "resnet18_linear_1xb64-steplr-10e_shapes.py"
SEMI_SUPERVISED = LEAVES / "resnet18_semi-supervised_1xb32-steplr-20e_shapes-10pct.py"
PLACES = LEAVES / "resnet18_places_1xb64-sgdr-10e_shapes.py"
VOC = LEAVES / "resnet18_voc_1xb16-coslr-10e_shapes.py"
BACKBONE = dict(type="TimmBackbone", name="test_resnet", out_indices=(3,))


def draw(root: Path) -> None:
    """120 single objects of 24 classes to train on, 49 to classify; 24 scenes and 10; a list."""
    draw_shapes(
        root,
        size=48,
        num_unlabelled=0,
        num_classify_train=120,
        num_classify_val=49,
        num_scenes_train=24,
        num_scenes_val=10,
        scene_size=48,
        num_workers=1,
    )
    paths = sorted((root / "classify/train").rglob("*.jpg"))
    rows = [f"{path.relative_to(root).as_posix()},{path.parent.name}" for path in paths]
    (root / "train.csv").write_text("\n".join(rows))


def write_pretrained(path: Path) -> None:
    """A checkpoint with a backbone whose running statistics are not those of a fresh one."""
    torch.manual_seed(0)
    backbone = MODELS.build(BACKBONE)
    with torch.no_grad():
        backbone(torch.randn(16, 3, 32, 32))
    torch.save(
        dict(state_dict={f"backbone.{key}": value for key, value in backbone.state_dict().items()}),
        path,
    )


def classifier_config(
    leaf: Path, shapes: Path, pretrained: Path, work_dir: Path, **changes: Any
) -> Config:
    """A leaf on small images of a drawn folder, with a tiny backbone; dotted keys of `changes` override.

    Args:
        leaf: One of the leaves above.
        shapes: What `draw` drew.
        pretrained: What `write_pretrained` wrote.
        work_dir: Where the run goes.
        changes: Overrides.
    """
    config = load_config(leaf)
    folders = {"train": "voc", "val": "voc"}
    if leaf != VOC:
        folders = {"train": "classify/train", "val": "classify/val"}
    init = dict(type="PretrainedBackbone", checkpoint=str(pretrained))
    images = {"train_dataloader.dataset.root": str(shapes / folders["train"])}
    if leaf == PLACES:
        images = {"train_dataloader.dataset.file": str(shapes / "train.csv")}
    config.merge_from_dict(
        images
        | {
            "model.backbone": dict(_delete_=True, **BACKBONE, init_cfg=init),
            "val_dataloader.dataset.root": str(shapes / folders["val"]),
            "train_dataloader.num_workers": 0,
            "val_dataloader.num_workers": 0,
            "train_dataloader.batch_size": 16,
            "val_dataloader.batch_size": 16,
            "train_cfg.max_epochs": 2,
            "default_hooks.report.num_images": 0,
            "visualizer.vis_backends": [dict(type="LocalVisBackend")],
            "work_dir": str(work_dir),
            "experiment_name": str(work_dir),  # message hubs are global and found by this name
            "log_level": "WARNING",
        }
    )
    config.merge_from_dict(changes)
    return config


def scores_of(model: ImageClassifier, dataset: ImageDataset) -> torch.Tensor:
    """(n, C) logits of all images of a data set, one by one."""
    model.eval()
    rows = []
    for number in range(len(dataset)):
        views = dataset[number]["inputs"]
        batch = views._replace(
            images=[image[None] for image in views.images],
            index=views.index[None],
            label=views.label[None],
        )
        with torch.no_grad():
            rows.append(model.val_step(dict(inputs=batch))[0].scores)
    return torch.cat(rows)
