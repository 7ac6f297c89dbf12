"""Runs of HCSC and PCL that take a second: no BatchNorm, 4 epochs of 4 iterations of 24 images, warm-up 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from mmssl.engine.hooks import ClusterHook
from mmssl.engine.runner import Runner
from tests.helpers.runs import toy_config

VIEWS = dict(
    type="MultiView",
    boxes=None,
    views=[dict(num=1, transforms=[dict(type="Resize", size=8), dict(type="CenterCrop", size=8)])],
)
PROTOTYPES: dict[str, dict[str, Any]] = {
    "HCSC": dict(prototypes=dict(type="Prototypes", num_clusters=[6, 3])),
    "PCL": dict(prototypes=dict(type="Prototypes", num_clusters=[6, 8]), num_negatives=None),
}


def clustered_config(
    work_dir: Path,
    method: str = "HCSC",
    *,
    hook: dict[str, Any] | None = None,
    others: list[dict[str, Any]] = (),
    **changes: Any,
) -> Config:
    """The run of a method.

    Args:
        work_dir: Of the run.
        method: `HCSC` or `PCL`.
        hook: Arguments of `ClusterHook` that differ from these.
        others: Further hooks.
        changes: Dotted keys of the config.
    """
    model = dict(
        type=method,
        _delete_=True,
        backbone=dict(type="ToyBackbone"),
        neck=dict(type="MLPNeck", hid_channels=8, out_channels=8),
        queue_length=20,
        **PROTOTYPES[method],
    )
    clusters = dict(type="ClusterHook", views=VIEWS, begin_epoch=1, batch_size=5) | (hook or {})
    config = toy_config(
        work_dir,
        model=model,
        custom_hooks=[clusters, *others],
        **{
            "train_dataloader.batch_size": 6,
            "train_dataloader.dataset.length": 24,
            "train_cfg.max_epochs": 4,
            "default_hooks.report": None,
        },
    )
    config.merge_from_dict(changes)
    return config


def run_clustered(work_dir: Path, method: str = "HCSC", **options: Any) -> Runner:
    """Build and train `clustered_config`; the runner afterwards."""
    runner = Runner.from_cfg(clustered_config(work_dir, method, **options))
    runner.train()
    return runner


def cluster_hook(runner: Runner) -> ClusterHook:
    """The hook of a run."""
    return next(hook for hook in runner.hooks if isinstance(hook, ClusterHook))


def figures_without_seconds(history: list[dict[str, float]]) -> list[dict[str, float]]:
    """What two runs of the same must have in common."""
    return [
        {key: value for key, value in entry.items() if "second" not in key} for entry in history
    ]


def state_of(runner: Runner) -> dict[str, Tensor]:
    """Weights, memories, prototypes and the optimizer's momentum."""
    state = {f"model/{key}": value for key, value in runner.model.state_dict().items()}
    for key, entry in runner.optim_wrapper.state_dict()["state"].items():
        state[f"momentum/{key}"] = entry["momentum_buffer"]
    return state


def assert_same(first: Runner, second: Runner) -> None:
    """Bit by bit, the figures of the clusterings included."""
    expected, found = state_of(first), state_of(second)
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value), key
    histories = [figures_without_seconds(cluster_hook(run).history) for run in (first, second)]
    assert histories[0] == histories[1]
