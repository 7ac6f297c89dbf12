"""CollapseHook on PixPro: collapse of cells, of the propagated map, the method's own floor; a healthy run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mmssl.engine.hooks import CollapseHook
from mmssl.evaluation.collapse_doctor import CollapseDoctor, LossWindow, measure_spread
from mmssl.models.algorithms import PixPro
from tests.helpers.monitored import Gratings, TinyBackbone
from tests.helpers.monitored_run import monitored_runner

DATA = Gratings(apart=4)


def pixpro(dead: str | None = None, num_layers: int = 1) -> PixPro:
    """PixPro with a healthy projector, or with a `neck` or `head` of which nothing but a bias is left."""
    torch.manual_seed(0)
    neck: dict[str, Any] = dict(hid_channels=64, out_channels=32)
    if dead != "neck":
        neck["last_norm_cfg"] = dict(type="BN", affine=False)
    model = PixPro(TinyBackbone(32), neck, dict(num_layers=num_layers))
    if dead is not None:
        part = model.get_submodule(dead)
        last = [module for module in part.modules() if isinstance(module, nn.Conv2d)][-1]
        nn.init.zeros_(last.weight)
        last.weight.requires_grad_(False)
        model.twin.sync(model)
    return model


def watch(path: Path, model: PixPro, steps: int) -> tuple[CollapseHook, Any]:
    runner = monitored_runner(
        path,
        epochs=steps // 2,
        dataset=DATA,
        hooks=[dict(type="CollapseHook", interval=4)],
        checkpoints=False,
        model=model,
    )
    runner.train()
    return next(hook for hook in runner.hooks if isinstance(hook, CollapseHook)), runner


def named(hook: CollapseHook) -> set[tuple[str, str]]:
    return {(fault.name, fault.where) for fault in hook.faults}


def test_values_healthy_pixpro_raises_no_alarm(tmp_path: Path) -> None:
    hook, runner = watch(tmp_path, pixpro(), 24)
    assert hook.faults == []
    logged = runner.message_hub
    # the spread is that of the cells, as the method's own measure of the first view has it
    assert logged.get_scalar("train/head_spread").current() == pytest.approx(
        logged.get_scalar("train/embedding_std").current() * math.sqrt(32), rel=0.1
    )
    assert logged.get_scalar("train/head_rank").current() > 4


def test_values_constant_propagation_is_named(tmp_path: Path) -> None:
    hook, runner = watch(tmp_path, pixpro("head"), 12)
    assert named(hook) == {("constant embedding", "head")}
    assert "all cells look the same" in str(hook.faults[0])
    assert runner.message_hub.get_scalar("train/neck_spread").current() > 0.5


def test_values_constant_projections_and_their_floor_are_named(tmp_path: Path) -> None:
    """Without a layer in the head y is x: all pairs agree at once, and every fourth image has none."""
    hook, runner = watch(tmp_path, pixpro("neck", num_layers=0), 12)
    assert {
        ("constant embedding", "neck"),
        ("constant embedding", "head"),
        ("loss at its floor", "loss_pixel"),
    } <= named(hook)
    losses = runner.message_hub.get_scalar("train/loss_pixel").data[0]
    assert losses.mean() == pytest.approx(-3, abs=1e-3)  # -4 of three images of four


def test_values_spread_of_maps_is_that_of_their_cells() -> None:
    generator = torch.Generator().manual_seed(0)
    cells = torch.randn(1, 16, 4, 4, generator=generator)
    # the same cells in every image: the pooled maps are one vector
    same = measure_spread(cells.expand(8, -1, -1, -1))
    assert same.kind == "cells" and same.rows == 128
    assert same.spread == pytest.approx(1, abs=0.15)
    rows = cells.flatten(2)[0].T
    few = measure_spread(cells)
    assert few.spread == pytest.approx(measure_spread(rows).spread)
    assert few.rank == pytest.approx(measure_spread(rows).rank)
    # cells of many images, whatever the sizes: here even steps would meet one image, or one cell
    for shape in ((8, 4, 32, 32), (128, 4, 7, 7)):
        maps = torch.ones(shape)
        maps[::2, 1] = -1.0
        maps.flatten(2)[:, 2, ::2] = -1.0
        found = measure_spread(maps)
        assert found.rows == 128 and found.rank == pytest.approx(2, abs=0.1), shape


def test_values_a_floor_of_its_own_replaces_the_general_ones() -> None:
    def names(mean: float, floors: dict[str, float]) -> set[str]:
        doctor, window = CollapseDoctor(), LossWindow(mean, mean - 0.2, mean + 0.2, 50)
        checks = [doctor.check(i, losses=dict(a=window), floors=floors) for i in range(1, 5)]
        return {fault.name for faults in checks for fault in faults}

    assert names(-3.8, {"a": -3.8}) == {"loss at its floor"}
    assert names(-3.8, {}) == names(-3.7, {"a": -3.8}) == set()
    assert names(-1.0, {}) == {"loss at its floor"}
    assert names(-1.0, {"a": -3.8}) == set()  # PixPro passes -1 on its way
