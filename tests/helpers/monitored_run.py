"""Short runs of `MonitoredByol` under mmengine's runner, for tests of the monitors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from mmssl.engine.runner import Runner
from mmssl.models.algorithms.base import BaseAlgorithm
from tests.helpers.monitored import Fault, Gratings, MonitoredByol


def monitored_runner(
    work_dir: Path,
    *,
    fault: Fault = "none",
    seed: int = 0,
    epochs: int = 2,
    lr: float = 0.05,
    hooks: list[dict[str, Any]] = (),
    dataset: Gratings | None = None,
    resume: bool = False,
    checkpoints: bool = True,
    model: BaseAlgorithm | None = None,
) -> Runner:
    """A runner over 2 iterations of 32 images per epoch; not started yet. `model` replaces the small BYOL."""
    torch.manual_seed(seed)
    return Runner(
        model=model or MonitoredByol(fault),
        work_dir=str(work_dir),
        experiment_name=f"{work_dir}-{fault}-{seed}-{resume}",
        train_dataloader=dict(
            batch_size=32,
            num_workers=0,
            sampler=dict(type="CounterSampler", shuffle=True),
            collate_fn=dict(type="default_collate"),
            dataset=dataset or Gratings(),
        ),
        train_cfg=dict(type="EpochLoop", max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=lr, momentum=0.9, weight_decay=1e-4)),
        default_hooks=dict(
            timer=None,
            sampler_seed=None,
            logger=dict(type="LoggerHook", interval=1000),
            checkpoint=dict(type="CheckpointHook", interval=1) if checkpoints else None,
            progress=dict(type="ProgressHook"),
            momentum_update=dict(type="MomentumUpdateHook"),
            step_seed=dict(type="StepSeedHook"),
        ),
        custom_hooks=list(hooks),
        visualizer=dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")]),
        default_scope="mmssl",
        randomness=dict(seed=seed),
        log_level="WARNING",
        resume=resume,
        cfg=Config(dict(work_dir=str(work_dir))),
    )
