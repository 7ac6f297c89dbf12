"""Runs of DeepCluster-v2: no BatchNorm, 3 epochs of 4 batches, one of 25 images is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmssl.engine.hooks import MemoryClusterHook
from mmssl.engine.runner import Runner
from tests.helpers.runs import toy_config


def memory_config(work_dir: Path, *, others: tuple = (), **changes: Any) -> Config:
    """The run; dotted keys of `changes` override it.

    Args:
        work_dir: Of the run.
        others: Further hooks.
        changes: Dotted keys of the config.
    """
    config = toy_config(
        work_dir,
        model=dict(
            type="DeepClusterV2",
            _delete_=True,
            backbone=dict(type="ToyBackbone"),
            neck=dict(type="MLPNeck", hid_channels=8, out_channels=6, norm_cfg=None),
            num_samples=25,
            num_prototypes=(5, 7, 5),
        ),
        custom_hooks=[dict(type="MemoryClusterHook"), *others],
        **{
            "train_dataloader.batch_size": 6,
            "train_dataloader.drop_last": True,
            "train_dataloader.dataset.length": 25,
            "train_dataloader.dataset.sizes": [8, 8, 6],
            "default_hooks.report": None,
        },
    )
    config.merge_from_dict(changes)
    return config


def run_memory(work_dir: Path, **options: Any) -> Runner:
    """Build and train `memory_config`; the runner afterwards."""
    runner = Runner.from_cfg(memory_config(work_dir, **options))
    runner.train()
    return runner


def memory_hook(runner: Runner) -> MemoryClusterHook:
    """The hook of a run."""
    return next(hook for hook in runner.hooks if isinstance(hook, MemoryClusterHook))
