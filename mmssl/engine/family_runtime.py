"""Give a config of mmdet or mmseg the reliability that every run of this project has."""

from __future__ import annotations

from mmengine.config import Config

_HOOKS = dict(
    data_time="mmssl.DataTimeHook",
    finite_loss="mmssl.FiniteLossHook",
    preemption="mmssl.PreemptionHook",
    report="mmssl.ReportHook",
)


def complete_family_runtime(config: Config) -> None:
    """Add what configs of other families lack, in place; a config of scope `mmssl` stays as it is.

    Transfer configs inherit the families' own runtime, so that they stay usable with the families'
    own tools. Trained by ours they also get: the guard against non-finite losses, SIGTERM that
    saves, checkpoints that are pruned only after the new one is complete, resume inside an epoch,
    the share of time spent waiting for data, and a report; and a seed, 0 unless they have one, so
    that a resumed run sees the data in the same order. A hook that the config sets to `None` stays
    off.
    """
    if config.get("default_scope", "mmssl") == "mmssl":
        return
    config.setdefault("default_hooks", {})
    hooks = config.default_hooks
    for name, kind in _HOOKS.items():
        hooks.setdefault(name, dict(type=kind))
    hooks.setdefault("checkpoint", dict(type="CheckpointHook", interval=1))
    _replace(hooks.checkpoint, "CheckpointHook")
    _replace(config.get("optim_wrapper"), "OptimWrapper")
    randomness = config.get("randomness") or {}
    config.randomness = dict(randomness, seed=randomness.get("seed") or 0)
    train_cfg = config.get("train_cfg")
    if train_cfg and train_cfg.get("by_epoch"):
        train_cfg.pop("by_epoch")
        train_cfg["type"] = "mmssl.EpochLoop"
    elif train_cfg and train_cfg.get("type") == "EpochBasedTrainLoop":
        train_cfg["type"] = "mmssl.EpochLoop"


def _replace(part: dict | None, kind: str) -> None:
    """Name our class of the same name, where the family's default is used."""
    if part is not None and part.get("type", kind) == kind:
        part["type"] = f"mmssl.{kind}"
