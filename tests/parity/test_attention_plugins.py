"""Attention plugins against mmseg's disentangled non-local block and mmcv's context block."""

from __future__ import annotations

import pytest
import torch

from mmssl.models.layers.plugins import build_plugin
from tests.helpers.cotnet_goldens import CoTGolden, case_names

pytestmark = pytest.mark.parity
BLOCKS = {
    "dnl_32": dict(type="DNLBlock", norm_cfg=dict(type="BN")),
    "gc_32": dict(type="ContextBlock", ratio=0.25),
}


def test_values_all_goldens_are_found():
    names = case_names("attention block", "")
    assert {name.rpartition("_")[0] for name in names} == set(BLOCKS)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", case_names("attention block", *BLOCKS))
def test_values(name, dtype):
    config = BLOCKS[name.rpartition("_")[0]]
    if config["type"] == "ContextBlock":
        pytest.importorskip("mmcv")
        pytest.importorskip("mmssl.downstream.attention_plugins")
        config = dict(config, type="GCBlock")
    golden = CoTGolden(name)
    _, plugin = build_plugin(config, 32)
    plugin = golden.fill(plugin, dtype)
    x, grad = golden.inputs(dtype)
    x.requires_grad_()
    y = plugin(x)
    (y * grad).sum().backward()
    golden.check("y", y)
    golden.check("gx", x.grad)
    if dtype == torch.float64:
        parameters = dict(plugin.named_parameters())
        names = golden.entry["arrays"]["gp_norm"]["names"]
        golden.check("gp_norm", torch.stack([parameters[key].grad.norm() for key in names]))
