"""What the figures of a training run depend on, for its result file."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

from mmengine.runner import BaseLoop
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmssl.datasets.splits import OFFICIAL_SPLITS
from mmssl.evaluation.provenance import provenance
from mmssl.models.algorithms.base import bare_model

NO_WEIGHTS = dict(checkpoint=None, branch="none")


def training_record(runner) -> dict[str, Any]:
    """Weights, images, optimizer, processes, config, versions of a run that is about to start.

    Args:
        runner: Its model has been initialised, and its loops and optimizer built.
    """
    train = runner.train_dataloader.dataset
    sets = dict(train=train)
    if isinstance(runner._val_loop, BaseLoop):
        sets["val"] = runner._val_loop.dataloader.dataset
    backbone = bare_model(runner.model).backbone
    batches = getattr(runner.optim_wrapper, "_accumulative_counts", 1)
    batch = runner.train_dataloader.batch_size or 1
    return dict(
        epochs=runner.max_epochs,
        seed=runner.seed,
        weights=getattr(backbone, "weights_record", NO_WEIGHTS),
        norms=norm_modes(bare_model(runner.model), backbone),
        **{f"num_{name}": len(dataset) for name, dataset in sets.items()},
        subset=subset_record(getattr(train, "subset", None)),
        images_per_step=batch * runner.world_size * batches,
        accumulated_batches=batches,
        processes=runner.world_size,
        optimizer=optimizer_record(runner.optim_wrapper),
        command=[Path(sys.argv[0]).name, *sys.argv[1:]],
        **provenance(runner.cfg, [getattr(dataset, "views", None) for dataset in sets.values()]),
    )


def norm_modes(model: nn.Module, backbone: nn.Module) -> list[str]:
    """How the BatchNorms of the backbone behave while the model trains, in words; most have one way.

    Args:
        model: Decides in `train` which modules are in train mode; it is left as it was.
        backbone: Part of it.
    """
    before = model.training
    model.train()
    found = {
        f"{type(layer).__name__}, {'batch' if layer.training else 'running'} statistics, parameters "
        + ("trained" if any(p.requires_grad for p in layer.parameters()) else "fixed")
        for layer in backbone.modules()
        if isinstance(layer, _BatchNorm)
    }
    model.train(before)
    return sorted(found)


def subset_record(file: str | None) -> dict[str, Any] | None:
    """The list that the training images are taken from, None for all images."""
    if file is None:
        return None
    digest = hashlib.sha256(Path(file).expanduser().read_bytes()).hexdigest()
    return dict(file=file, sha256=digest, official=OFFICIAL_SPLITS.get(digest))


def optimizer_record(wrapper) -> dict[str, Any]:
    """Kind, options and learning rates at the start; the rates are those after any scaling."""
    optimizer = wrapper.optimizer
    groups = optimizer.param_groups
    rates = sorted({group.get("initial_lr", group["lr"]) for group in groups if group["params"]})
    return dict(
        type=type(optimizer).__name__,
        lr=rates,
        weight_decay=sorted({group.get("weight_decay", 0.0) for group in groups}),
        momentum=groups[0].get("momentum"),
        nesterov=groups[0].get("nesterov", False),
        wrapper=type(wrapper).__name__,
    )
