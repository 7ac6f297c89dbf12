"""The loss that a method states for equally likely outcomes is the one it then has; the alarm about it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mmssl.engine.hooks import CollapseHook
from mmssl.evaluation.collapse_doctor import CollapseDoctor, LossWindow
from mmssl.models.algorithms import BaseAlgorithm
from mmssl.structures import Progress
from tests.helpers.tiny import (
    tiny_deepcluster_v2,
    tiny_dino,
    tiny_esvit,
    tiny_swav,
    tiny_views,
)

METHODS = [
    (tiny_dino, {}, ["loss"]),
    (tiny_esvit, {}, ["loss_view", "loss_region"]),
    (tiny_esvit, dict(view_weight=0.2, region_weight=0.8), ["loss_view", "loss_region"]),
    (tiny_esvit, dict(region_loss="mse"), ["loss_view"]),
    (tiny_swav, {}, ["loss"]),
    (tiny_deepcluster_v2, {}, ["loss"]),
]


@pytest.mark.parametrize(("build", "options", "terms"), METHODS)
def test_values_flat_predictions_give_the_stated_loss(
    build: Callable[..., BaseAlgorithm], options: dict, terms: list[str]
) -> None:
    torch.manual_seed(0)
    model = build(temperature=1e7, **options)
    model.progress = Progress(0, 100, 0, 10)
    losses = model.loss(tiny_views())
    assert list(model.uniform_losses) == terms
    doctor = CollapseDoctor()
    windows = {}
    for name in terms:
        value = float(losses[name].detach())
        assert value == pytest.approx(model.uniform_losses[name], rel=1e-5)
        windows[name] = LossWindow(value, value - 1e-6, value + 1e-6, 50)
    checks = [
        doctor.check(50 * number, losses=windows, uniform=model.uniform_losses)
        for number in range(1, 4)
    ]
    assert [(fault.name, fault.where) for fault in checks[-1]] == [
        ("uniform prediction", name) for name in terms
    ]


@pytest.mark.parametrize("build", [tiny_dino, tiny_esvit])
def test_values_bottlenecks_are_watched(build: Callable[..., BaseAlgorithm]) -> None:
    """Their heads are never called as modules, so the hook listens to what is inside."""
    hook = CollapseHook()
    model = build()
    assert "head.mlp" in hook.features
    heard = []
    for name in hook.features[1:]:
        if name.startswith(tuple(dict(model.named_children()))):
            module = model.get_submodule(name)
            module.register_forward_hook(lambda *args, name=name: heard.append(name))
    model.progress = Progress(0, 100, 0, 10)
    model.loss(tiny_views())
    assert set(heard) == {
        f"{name}.mlp" for name in dict(model.named_children()) if name.endswith("head")
    }
