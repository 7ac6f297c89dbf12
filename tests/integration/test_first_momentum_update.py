"""When a twin moves before the first forward pass: not as a fresh copy, but if it was loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mmssl.convert.convert_file import convert_file
from mmssl.convert.official import densecl, pixpro
from mmssl.engine.runner import Runner
from mmssl.registry import MODELS
from tests.helpers.runs import toy_config

pytestmark = pytest.mark.integration
BACKBONE = dict(type="ResNet", depth=18, out_indices=(3,))
CONV = dict(type="ConvMLPNeck", hid_channels=12, out_channels=8, norm_cfg=dict(type="BN"))
CONFIGS: dict[str, dict[str, Any]] = {
    "pixpro": dict(type="PixPro", neck=CONV, head=dict(type="PixelPropagation"), momentum=0.75),
    "densecl": dict(
        type="DenseCL", neck=dict(hid_channels=12, out_channels=8), queue_length=16, momentum=0.75
    ),
}


def one_iteration(folder: Path, method: str, **changes: Any) -> Runner:
    """A run of a single step."""
    config = toy_config(
        folder,
        model=dict(CONFIGS[method], backbone=BACKBONE, _delete_=True),
        **{
            "train_dataloader.dataset": dict(type="ToyImages", length=4, sizes=[64, 64]),
            "train_cfg.max_epochs": 1,
            "param_scheduler": [],
        },
        **changes,
    )
    runner = Runner.from_cfg(config)
    runner.train()
    assert runner.iter == 1
    return runner


def converted(folder: Path, method: str) -> dict[str, Tensor]:
    """Both networks of a run of the authors' program, all numbers random, in our layout; the state."""
    torch.manual_seed(0)
    model = MODELS.build(dict(CONFIGS[method], backbone=BACKBONE))
    for parameter in model.twin.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    state = model.state_dict()
    theirs = {"pixpro": pixpro, "densecl": densecl}[method].to_official(state)
    holder = {"pixpro": "model", "densecl": "state_dict"}[method]
    torch.save({holder: theirs, "epoch": 3, "meta": dict(epoch=3)}, folder / "official.pth")
    convert_file(folder / "official.pth", folder / "ours.pth", method=method)
    return state


@pytest.mark.parametrize("method", CONFIGS)
def test_values_loaded_networks_move_before_the_first_pass(tmp_path: Path, method: str) -> None:
    """As the released programs: k becomes m k + (1 - m) q of what was loaded."""
    start = converted(tmp_path, method)
    runner = one_iteration(tmp_path / "run", method, load_from=str(tmp_path / "ours.pth"))
    twin = runner.model.twin
    for name, value in twin.named_parameters():
        expected = start[f"twin.{name}"] * 0.75 + start[name] * 0.25
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-7, msg=name)
    assert int(twin.num_updates) == 3 * 1251 + 1


@pytest.mark.parametrize("method", CONFIGS)
def test_state_a_copy_is_not_moved(tmp_path: Path, method: str) -> None:
    """Both networks are equal then; the first update is that after the first step."""
    runner = one_iteration(tmp_path / "run", method)
    assert int(runner.model.twin.num_updates) == 0
