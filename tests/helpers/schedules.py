"""The schedules of a config, built as the runner builds them, on an optimizer of one number."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.config import Config

from mmssl.registry import PARAM_SCHEDULERS


def schedules_of(
    config: Config,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    epoch_length: int,
    epochs: int | None = None,
    **changes: Any,
) -> list[Any]:
    """The entries of `param_scheduler`, each from the first step of a run to its last.

    Args:
        config: Of a run that counts epochs.
        optimizer: Default one group with the learning rate and the weight decay of the config.
        epoch_length: Iterations of an epoch.
        epochs: Instead of the config's.
        changes: Arguments of those entries that have them, instead of theirs.
    """
    if optimizer is None:
        given = config.optim_wrapper.optimizer
        options = dict(lr=given.get("lr", 0.1), weight_decay=given.get("weight_decay", 0.0))
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], **options)
    built = []
    for entry in config.param_scheduler:
        options = dict(entry) | {key: value for key, value in changes.items() if key in entry}
        options.setdefault("end", epochs or config.train_cfg.max_epochs)
        if options.get("convert_to_iter_based"):
            options["epoch_length"] = epoch_length
        built.append(PARAM_SCHEDULERS.build(options, default_args=dict(optimizer=optimizer)))
    return built
