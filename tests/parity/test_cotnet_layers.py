"""Layers and blocks of CoTNet against the authors' code, with gradients and running statistics."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmssl.models.backbones.cot_bottleneck import CoTBottleneck
from mmssl.models.layers import CoTLayer, CoXtLayer, SEConv, WindowedSelfAttention
from tests.helpers.cotnet_goldens import CoTGolden, case_names

pytestmark = pytest.mark.parity

HYBRID = dict(avg_down=True, norm_cfg=dict(type="BN"))
BUILT = {
    "cot_layer_64": lambda: CoTLayer(64),
    "coxt_layer_96": lambda: CoXtLayer(96),
    "se_conv_64": lambda: SEConv(64, stride=2),
    "sasa_layer_64": lambda: WindowedSelfAttention(64),
    "bottleneck_s2": lambda: CoTBottleneck(256, 128, 128, stride=2, has_shortcut=True),
    "bottleneck_x_s2": lambda: CoTBottleneck(
        256, 128, 192, mixer="coxt", stride=2, has_shortcut=True
    ),
    "d_block_se_s2": lambda: CoTBottleneck(
        64, 64, 64, mixer="se", stride=2, has_shortcut=True, **HYBRID
    ),
    "d_block_cot_s2": lambda: CoTBottleneck(512, 256, 256, stride=2, has_shortcut=True, **HYBRID),
    "d_block_se_odd": lambda: CoTBottleneck(1024, 256, 256, mixer="se", **HYBRID),
    "d_block_cot_blur": lambda: CoTBottleneck(
        512, 256, 256, stride=2, has_shortcut=True, blur=True, **HYBRID
    ),
}
PREFIXES = tuple(BUILT)
CASES = case_names("layer", *PREFIXES)


def run(golden: CoTGolden, dtype: torch.dtype) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """The filled module after a backward pass, its output and the gradient of its input."""
    module = golden.fill(BUILT[golden.name.rsplit("_", 1)[0]](), dtype)
    x, upstream = golden.inputs(dtype)
    x.requires_grad_()
    y = module(x)
    (y * upstream).sum().backward()
    return module, y, x.grad


def test_state_all_cases_are_here():
    assert case_names("layer", "") == CASES
    assert len(CASES) == 2 * len(BUILT)


@pytest.mark.parametrize("case", CASES)
def test_values_float64(case):
    golden = CoTGolden(case)
    module, y, gradient = run(golden, torch.float64)
    golden.check("y", y)
    golden.check("gx", gradient)
    parameters = dict(module.named_parameters())
    names = golden.entry["arrays"]["gp_norm"]["names"]
    golden.check("gp_norm", torch.stack([parameters[name].grad.norm() for name in names]))
    buffers = dict(module.named_buffers())
    for array in golden.arrays:
        kind, _, name = array.partition(":")
        if kind == "gp":
            golden.check(array, parameters[name].grad)
        elif kind == "st":
            golden.check(array, buffers[name])
    # a bias right before a BatchNorm moves nothing
    left_out = set(parameters) - set(names)
    assert all(parameters[name].grad.norm() < 1e-10 for name in left_out)


@pytest.mark.parametrize("case", [case for case in CASES if case.endswith("eval")])
def test_values_float32(case):
    golden = CoTGolden(case)
    module, y, gradient = run(golden, torch.float32)
    golden.check("y", y)
    golden.check("gx", gradient)
    parameters = dict(module.named_parameters())
    names = golden.entry["arrays"]["gp_norm"]["names"]
    golden.check("gp_norm", torch.stack([parameters[name].grad.norm() for name in names]))
