"""Configs of small runs of PIC."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config

from tests.helpers.runs import toy_config

NUM_IMAGES = 24


def pic_config(work_dir: Path, head: dict[str, Any], *, batch_size: int = 8, **changes) -> Config:
    """Three epochs over 24 images with a checkpoint every second iteration.

    Args:
        work_dir: Of the run.
        head: Arguments of the classifier.
        batch_size: Of each process.
        changes: Dotted keys.
    """
    model = dict(
        type="PIC",
        _delete_=True,
        backbone=dict(type="ToyBackbone"),
        neck=dict(type="MLPNeck", hid_channels=8, out_channels=6),
        head=dict(num_instances=NUM_IMAGES, init_std=0.1) | head,
    )
    options = {
        "train_dataloader.batch_size": batch_size,
        "train_dataloader.dataset": dict(type="ToyImages", length=NUM_IMAGES, sizes=[12, 8, 8]),
        "train_cfg.max_epochs": 3,
        "optim_wrapper.optimizer.weight_decay": 0.01,
        "default_hooks.report": None,
        "default_hooks.collapse": None,
        "default_hooks.checkpoint": dict(
            type="CheckpointHook", interval=2, by_epoch=False, max_keep_ckpts=-1
        ),
        "custom_hooks": [dict(type="InstanceRowsHook")],
    }
    return toy_config(work_dir, model=model, **(options | changes))
