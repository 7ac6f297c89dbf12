"""Every method on every family of backbones: two steps each. No pair is refused.

A family replaces the toy backbone in each row of `tests.helpers.tiny.TINY`; images have 64 px. What a method
asks of any backbone is tested where it is refused: CARE two maps, of which the T-stream fits one; methods
with cells or regions a map.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from mmssl.models.backbones import CoTNet, ResNet, Swin, TimmBackbone, VisionTransformer
from tests.helpers import tiny

pytestmark = pytest.mark.integration
COTNET = dict(
    depths=(1, 1, 1, 1), planes=(8, 8, 8, 16), mixers=("se", "cot", "cot", "cot"), stem_channels=8
)


def resnet(stages: tuple[int, ...]) -> nn.Module:
    return ResNet(18, out_indices=stages, base_channels=4)


def swin(stages: tuple[int, ...]) -> nn.Module:
    return Swin(
        4,
        depths=(1, 1, 1, 1),
        num_heads=(1, 1, 2, 2),
        window_size=2,
        pretrain_img_size=64,
        out_indices=stages,
    )


def vit(stages: tuple[int, ...]) -> nn.Module:
    """Its blocks stand for stages; all of them have one resolution."""
    return VisionTransformer(
        12, depth=4, num_heads=2, patch_size=16, pretrain_img_size=64, out_indices=stages
    )


def cotnet(stages: tuple[int, ...]) -> nn.Module:
    return CoTNet(COTNET, out_indices=stages, zero_init_residual=False)


def timm_network(name: str) -> Callable[[tuple[int, ...]], nn.Module]:
    return lambda stages: TimmBackbone(name, out_indices=stages)


FAMILIES: dict[str, Callable[[tuple[int, ...]], nn.Module]] = {
    "resnet": resnet,
    "swin": swin,
    "vit": vit,
    "cotnet": cotnet,
    "timm_resnet": timm_network("test_resnet"),
    "timm_convnext": timm_network("test_convnext"),
    "timm_efficientnet": timm_network("test_efficientnet"),
    "timm_vit": timm_network("test_vit"),
}


# CARE's C-stream alone reads the last of its two maps; here the other has a norm of its own
UNREAD = {("swin", "care_c_stream"): {"backbone.norm2.weight", "backbone.norm2.bias"}}


@pytest.fixture(params=FAMILIES)
def family(request, monkeypatch) -> str:
    """The family takes the place of the toy backbone."""

    def build(out_indices: tuple[int, ...] = (2, 3), norm: bool = True) -> nn.Module:
        return FAMILIES[request.param](out_indices)

    probe = build()
    pyramid = partial(tiny.TinyPyramid, tuple(probe.out_channels))
    stack = partial(tiny.tiny_stack, fmap_size=64 // probe.strides[0])
    monkeypatch.setattr(tiny, "TinyBackbone", build)
    monkeypatch.setattr(tiny, "TinyPyramid", pyramid)
    monkeypatch.setattr(tiny, "tiny_stack", stack)
    monkeypatch.setattr(tiny, "tiny_views", partial(tiny.tiny_views, pixels=64))
    return request.param


@pytest.mark.parametrize("name", tiny.TINY)
def test_values_two_steps(family: str, name: str) -> None:
    """Losses are finite; every online parameter has a gradient and most of them move; the twin has none."""
    model = tiny.tiny_model(name)
    online = {n: p for n, p in model.named_parameters() if not n.startswith("twin.")}
    before = copy.deepcopy({n: p.detach() for n, p in online.items()})
    optimizer = tiny.sgd(model)
    assert all(math.isfinite(tiny.train_step(model, optimizer, step)) for step in range(2))
    frozen = tiny.FROZEN.get(name, set()) | UNREAD.get((family, name), set())
    assert {n for n, p in online.items() if p.grad is None} == frozen
    assert all(p.grad.isfinite().all() for n, p in online.items() if n not in frozen)
    # a bias in front of a norm has no slope, and a scale of 1 none that float32 can add
    still = {n for n, p in online.items() if torch.equal(p, before[n])}
    assert not {n for n in still - frozen if online[n].ndim > 1}, sorted(still)
    assert len(still) < len(online) / 4, sorted(still)
    assert model.twin is None or all(p.grad is None for p in model.twin.parameters())
