"""Convolutions with few positions as products: the same results, and only where they gain."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.runner import Runner as MMEngineRunner
from torch import nn

from mmssl.models.algorithms import BYOL
from mmssl.models.backbones import ResNet
from mmssl.ops.small_map_conv import (
    MIN_BATCH,
    MIN_CHANNELS,
    SmallMapConv2d,
    conv_by_product,
    use_small_map_conv,
)
from tests.helpers.monitored_run import monitored_runner


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "padding", "bias"),
    [
        ((2, 2), 3, 1, 1, False),
        ((4, 4), 3, 2, 1, False),
        ((1, 1), 3, 1, 1, True),
        ((5, 3), (3, 2), (2, 1), (0, 1), True),
        ((2, 2), 2, 1, 0, True),
    ],
)
def test_values_same_as_convolution(side, kernel, stride, padding, bias) -> None:
    """Outputs with their layout, and the gradients of images, weight and bias."""
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 5, kernel, stride, padding, bias=bias).double()
    conv.to(memory_format=torch.channels_last)
    images = torch.randn(3, 6, *side, dtype=torch.float64)
    images = images.contiguous(memory_format=torch.channels_last)
    found = []
    for way in ("conv", "product"):
        leaf = images.clone().requires_grad_()
        conv.zero_grad()
        if way == "conv":
            out = conv(leaf)
        else:
            out = conv_by_product(leaf, conv.weight, conv.bias, conv.stride, conv.padding)
        assert out.is_contiguous(memory_format=torch.channels_last)
        out.pow(3).sum().backward()
        found.append([out.detach(), leaf.grad, *(p.grad.clone() for p in conv.parameters())])
    for a, b in zip(*found, strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.fixture
def products(monkeypatch) -> list[tuple[int, ...]]:
    """Shapes of what went into a product."""
    used: list[tuple[int, ...]] = []

    def product(images, *args):
        used.append(tuple(images.shape))
        return conv_by_product(images, *args)

    monkeypatch.setattr("mmssl.ops.small_map_conv.conv_by_product", product)
    return used


def wide(**options) -> nn.Conv2d:
    channels = options.pop("channels", MIN_CHANNELS)
    return nn.Conv2d(channels, channels, **(dict(kernel_size=3, padding=1) | options))


def test_values_where_it_is_used(products) -> None:
    """Wide convolutions on few positions of several images; everything else is left to `Conv2d`."""
    left = [
        wide(channels=MIN_CHANNELS - 1),
        wide(kernel_size=1, padding=0),
        wide(groups=2),
        wide(dilation=2),
        wide(padding="same"),
        wide(padding_mode="circular"),
    ]
    model = nn.Sequential(wide(), *left)
    assert use_small_map_conv(model) == 1
    assert type(model[0]) is SmallMapConv2d
    assert all(type(each) is nn.Conv2d for each in model[1:])
    assert use_small_map_conv(model) == 0
    conv, plain = copy.deepcopy(model[0]), wide()
    assert type(conv) is SmallMapConv2d and "SmallMapConv2d" in repr(conv)
    plain.load_state_dict(conv.state_dict())
    few = torch.randn(MIN_BATCH, MIN_CHANNELS, 2, 2)
    out = conv(few)  # the weight has no channels last: a view of the output works as before
    assert out.view(MIN_BATCH, -1).equal(plain(few).view(MIN_BATCH, -1)) and not products
    conv.to(memory_format=torch.channels_last)
    with torch.no_grad():
        for shape in [
            (MIN_BATCH, 2, 2),
            (MIN_BATCH, 1, 4),
            (MIN_BATCH - 1, 2, 2),
            (MIN_BATCH, 3, 2),
        ]:
            images = torch.randn(shape[0], MIN_CHANNELS, *shape[1:])
            torch.testing.assert_close(conv(images), plain(images), rtol=1e-4, atol=1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            images = torch.randn(MIN_BATCH, MIN_CHANNELS, 2, 2)
            half, whole = conv(images), plain(images)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half, whole, rtol=2e-2, atol=2e-2)
    kernels = [(MIN_BATCH, MIN_CHANNELS, *side) for side in ((2, 2), (1, 4), (2, 2))]
    assert products == kernels


def test_values_of_a_network_in_training(products) -> None:
    """ResNet-18 at 64 px: the four convolutions of its last stage, with their gradients."""
    torch.manual_seed(0)
    networks = [ResNet(depth=18, out_indices=(3,)).double()]
    networks[0].to(memory_format=torch.channels_last)
    networks.append(copy.deepcopy(networks[0]))
    assert use_small_map_conv(networks[1]) == 7  # and those of the third stage but the first one
    images = torch.rand(4, 3, 64, 64, dtype=torch.float64)
    outs = [network(images)[-1] for network in networks]
    assert products == [(4, 256, 4, 4)] + 3 * [(4, 512, 2, 2)]
    for out in outs:
        out.square().sum().backward()
    torch.testing.assert_close(*outs)
    for (name, a), b in zip(networks[0].named_parameters(), networks[1].parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-7, atol=1e-9, msg=name)


@pytest.mark.parametrize("layout", ["channels last", "channels first", "on a GPU"])
def test_state_of_a_model_in_the_runner(tmp_path, monkeypatch, layout: str) -> None:
    """Without GPUs the runner makes them, and says so if weights have channels last."""
    told: list[str] = []
    model = BYOL(
        backbone=dict(type="ResNet", depth=18, out_indices=(3,)),
        neck=dict(type="MLPNeck", hid_channels=8, out_channels=4),
        head=dict(type="MLPPredictor", hid_channels=8),
        data_preprocessor=dict(type="ViewPreprocessor", channels_last=layout != "channels first"),
    )
    runner = monitored_runner(tmp_path, model=model)
    monkeypatch.setattr(runner.logger, "info", told.append)
    for module in runner.model.modules():  # as the runner found them
        if type(module) is SmallMapConv2d:
            module.__class__ = nn.Conv2d
    monkeypatch.setattr(torch.cuda, "is_available", lambda: layout == "on a GPU")
    monkeypatch.setattr(MMEngineRunner, "wrap_model", lambda self, config, model: model)
    runner.wrap_model(None, model)
    kinds = [type(m) for m in model.backbone.modules() if isinstance(m, nn.Conv2d)]
    assert kinds.count(SmallMapConv2d) == (0 if layout == "on a GPU" else 7)
    assert len([text for text in told if "matrix products" in text]) == (layout == "channels last")
