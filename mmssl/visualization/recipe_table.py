"""The table of how recipes train: optimizer, learning rate, decay, schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COLUMNS = ["recipe", "optimizer", "learning rate", "weight decay", "schedule"]


def recipe_rows(recipes: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """A row for all recipes that train alike, under `COLUMNS`, in the order of the first of them.

    Args:
        recipes: Training configs by name.

    Example:
        >>> wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.03, weight_decay=1e-4))
        >>> steps = dict(type="MultiStepLR", milestones=[120, 160], gamma=0.1, by_epoch=True)
        >>> leaf = dict(optim_wrapper=wrapper, param_scheduler=[steps])
        >>> recipe_rows(dict(a=leaf, b=leaf))
        [['`a`<br>`b`', 'SGD', '0.03', '1e-4', 'x 0.1 after 120, 160 epochs']]
    """
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, config in recipes.items():
        alike.setdefault(tuple(_settings(config)), []).append(f"`{name}`")
    return [["<br>".join(names), *settings] for settings, names in alike.items()]


def _settings(config: Mapping[str, Any]) -> list[str]:
    wrapper, schedules = config["optim_wrapper"], config.get("param_scheduler") or []
    optimizer = wrapper["optimizer"]
    decay = _number(optimizer.get("weight_decay", 0.0))
    rates = [each for each in schedules if each.get("param_name", "lr") == "lr"]
    for each in schedules:
        if each.get("param_name") == "weight_decay":
            decay += f" to {_number(each['eta_min'])}"
    clip = wrapper.get("clip_grad")
    whose = "each gradient" if clip and clip.get("type") == "per_tensor" else "gradients"
    norm = f", {whose} clipped at {_number(clip['max_norm'])}" if clip else ""
    return [
        optimizer["type"] + norm,
        _number(optimizer["lr"]),
        decay,
        "; ".join(_schedule(each) for each in rates) or "constant",
    ]


def _schedule(schedule: Mapping[str, Any]) -> str:
    if schedule["type"] == "MultiStepLR":
        steps = ", ".join(map(str, schedule["milestones"]))
        return f"x {_number(schedule['gamma'])} after {steps} epochs"
    if schedule["type"] != "WarmupCosineLR":
        raise ValueError(f"No words for {schedule['type']}; add them to {__name__}.")
    words = "cosine"
    if schedule.get("eta_min_ratio"):
        words += f" to {_number(schedule['eta_min_ratio'])} of it"
    elif schedule.get("eta_min"):
        words += f" to {_number(schedule['eta_min'])}"
    if schedule.get("by_epoch"):
        words += ", by epochs"
    warmup = schedule.get("warmup", 0)
    return words + (f", warm-up {_number(warmup)} epochs" if warmup else "")


def _number(value: float) -> str:
    """As people write it: 0.03, 1e-4, 1.5e-6."""
    if value and abs(value) < 1e-3:
        mantissa, exponent = f"{value:e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:g}"
