"""A tiny CoTNet under every method, as a ResNet would be: losses, gradients, twins, groups of parameters."""

from __future__ import annotations

import copy
import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmssl.engine.activation_checkpointing import checkpoint_activations
from mmssl.engine.optimizers import LARS, ParamGroupConstructor
from mmssl.models.backbones import CoTNet, crop_features
from mmssl.models.layers import make_norms_local, synchronise_norms
from mmssl.models.momentum_twin import MomentumTwin
from tests.helpers import tiny

ARCH = dict(
    depths=(1, 1, 1, 1), planes=(8, 8, 8, 16), mixers=("se", "cot", "sasa", "cot"), stem_channels=8
)


def tiny_cotnet(out_indices: tuple[int, ...] = (2, 3), **options) -> CoTNet:
    """In place of `TinyBackbone`; the residual branches take part from the start."""
    return CoTNet(ARCH, out_indices=out_indices, zero_init_residual=False, **options)


@pytest.fixture(autouse=True)
def _cotnet_for_the_tiny_backbone(monkeypatch):
    """Images of 64 px, so that its maps are as large as those of 32 px there."""
    monkeypatch.setattr(tiny, "TinyBackbone", tiny_cotnet)
    monkeypatch.setattr(tiny, "TinyPyramid", partial(tiny.TinyPyramid, (32, 64)))
    monkeypatch.setattr(tiny, "tiny_views", partial(tiny.tiny_views, pixels=64))


@pytest.mark.parametrize("name", tiny.TINY)
def test_values_three_steps_of_every_method(name):
    """Finite; every online tensor has a gradient and no tensor of the twin; the twin follows."""
    model = tiny.tiny_model(name)
    assert type(model.backbone) is CoTNet
    before = copy.deepcopy(model.state_dict())
    optimizer = tiny.sgd(model)
    assert all(math.isfinite(tiny.train_step(model, optimizer, step)) for step in range(3))
    with_gradient = {n for n, p in model.named_parameters() if p.grad is not None}
    online = {n for n, _ in model.named_parameters() if not n.startswith("twin.")}
    assert with_gradient == online - tiny.FROZEN.get(name, set())
    after = model.state_dict()
    parts = ["", "twin."] if model.twin is not None else [""]
    for part in parts:
        for entry in (
            "conv1.weight",
            "layer4.0.conv2.se.0.weight",
            "layer2.0.conv2.embed.4.weight",
        ):
            key = f"{part}backbone.{entry}"
            assert not torch.equal(after[key], before[key]), key


def test_state_twin_averages_every_parameter_and_keeps_its_statistics():
    owner = nn.ModuleDict(dict(backbone=tiny_cotnet(drop_path_rate=0.5)))
    twin = MomentumTwin(owner, ["backbone"], momentum=0.75, update_at="after_step")
    drops = [module.drop_prob for module in twin.modules() if hasattr(module, "drop_prob")]
    assert len(drops) == 3 and not any(drops)
    for parameter in owner.parameters():
        parameter.data += 1.0
    expected = {n: 0.75 * p for n, p in twin.backbone.named_parameters()}
    twin.update(owner, 0, 1)
    for name, parameter in twin.backbone.named_parameters():
        own = 0.25 * owner["backbone"].get_parameter(name)
        torch.testing.assert_close(parameter.data, expected[name].data + own.data)
    owner["backbone"](torch.randn(4, 3, 64, 64))
    assert not torch.equal(
        twin.backbone.layer4[0].conv2.se[1].running_mean,
        owner["backbone"].layer4[0].conv2.se[1].running_mean,
    )


def test_state_norms_switch_between_processes_and_back():
    network = tiny_cotnet()
    count = sum(isinstance(module, _BatchNorm) for module in network.modules())
    before = copy.deepcopy(network).eval()(torch.ones(2, 3, 64, 64))
    assert synchronise_norms(network) == count
    assert isinstance(network.layer4[0].conv2.se[1], nn.SyncBatchNorm)
    assert make_norms_local(network) == count
    for a, b in zip(network.eval()(torch.ones(2, 3, 64, 64)), before, strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="at least 2 images"):
        network.train()(torch.ones(1, 3, 64, 64))


def test_state_groups_of_parameters():
    """Norms of both kinds, biases and positions are not decayed where a recipe says so."""
    config = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=1.0, weight_decay=0.1))
    network = tiny_cotnet()
    rules = dict(no_decay=("norm", "bias", "position"), lars_exclude=("norm", "bias"))
    wrapper = ParamGroupConstructor(config, rules)(network)
    free = {
        id(p) for group in wrapper.optimizer.param_groups for p in group["params"]
        if group["weight_decay"] == 0
    }  # fmt: skip
    names = {name for name, p in network.named_parameters() if id(p) in free}
    assert names == {name for name, p in network.named_parameters() if p.ndim < 4}
    assert {"layer3.0.conv2.pos_h", "layer2.0.conv2.embed.4.weight"} <= names


def test_values_lars_with_biases_that_no_gradient_reaches():
    """A bias right before a BatchNorm has the gradient 0, exactly or nearly."""
    network = tiny_cotnet()
    optimizer = LARS(network.parameters(), lr=0.1, weight_decay=0.0)
    for _ in range(2):
        optimizer.zero_grad()
        sum(one.square().mean() for one in network(torch.randn(4, 3, 64, 64))).backward()
        bias = network.layer4[0].conv2.se[0].bias
        assert bias.grad.norm() < 1e-5 * network.layer4[0].conv2.se[0].weight.grad.norm()
        optimizer.step()
    assert all(parameter.isfinite().all() for parameter in network.parameters())


def test_equivalence_crops_of_several_sizes():
    """Neighbours of equal size go through it together."""
    network = tiny_cotnet((3,)).eval()
    views = [torch.randn(2, 3, size, size) for size in (64, 64, 48)]
    crops = crop_features(network, views)
    assert crops.sizes == [4, 4, 4]
    for number, view in enumerate(views):
        torch.testing.assert_close(crops.views[:, number], network(view)[-1].mean((2, 3)))


def test_equivalence_checkpointed_by_the_engine_or_by_itself():
    results = []
    for options, names in ((dict(with_cp=True), []), ({}, ["layer1", "layer3.0"])):
        torch.manual_seed(0)
        network = tiny_cotnet(**options)
        checkpoint_activations(network, names)
        torch.manual_seed(1)
        network(torch.randn(3, 3, 64, 64))[-1].square().sum().backward()
        results.append([p.grad for p in network.parameters()] + list(network.buffers()))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)
