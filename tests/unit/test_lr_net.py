"""The local relation layer and LR-Net: what they compute, sizes, switches, names, errors."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmssl.models.backbones import LRNet
from mmssl.models.layers import LocalRelation
from mmssl.models.layers.local_relation_layer import GeometricPrior
from mmssl.registry import MODELS

TINY = dict(depth=(2, 1, 1, 1), widths=(12, 8, 8, 16), shares=(6, 4, 4, 4), kernel_size=3)


def windows(feats, kernel_size, stride):
    """(N, C, taps, Ho, Wo) by unfolding, zeros outside."""
    size = [-(-each // stride) for each in feats.shape[2:]]
    columns = nn.functional.unfold(feats, kernel_size, padding=kernel_size // 2, stride=stride)
    return columns.view(*feats.shape[:2], kernel_size**2, *size)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("prior", ["geometry", "table"])
def test_values_layer_is_the_papers_equation(prior, stride):
    """Softmax of -(q - k)^2 plus prior over the window, the input as value, a 1x1 convolution."""
    torch.manual_seed(0)
    layer = LocalRelation(12, 8, kernel_size=3, share=4, stride=stride, prior=prior).double()
    nn.init.normal_(layer.query.weight)
    if prior == "table":
        nn.init.normal_(layer.prior.table)
    x = torch.randn(2, 12, 5, 7, dtype=torch.float64)
    keys = windows(layer.key(x), 3, stride)
    inside = windows(torch.ones_like(x[:, :1]), 3, stride) > 0
    alike = torch.where(inside, -(layer.query(x)[:, :, None] - keys).square(), -100)
    weights = (alike + layer.prior().flatten(1)[None, ..., None, None]).softmax(2)
    mixed = windows(x, 3, stride) * weights.repeat_interleave(4, 1)
    torch.testing.assert_close(layer(x), layer.out(mixed.sum(2)), rtol=1e-10, atol=1e-10)


def test_values_prior_sees_offsets():
    prior = GeometricPrior(2, 5)
    assert prior.offsets[0, :, 0, 0].tolist() == [-1, -1]
    assert prior.offsets[0, :, 2, 2].tolist() == [0, 0]
    assert prior.offsets[0, :, 2, 3].tolist() == [0.5, 0]  # (x, y)
    assert "offsets" not in prior.state_dict()


@pytest.mark.parametrize(
    ("depth", "parameters"), [(26, 14_620_130), (50, 23_395_768), (101, 40_830_084)]
)
def test_values_parameters_with_a_classifier(depth, parameters):
    """23.4 and 14.6 million with 1000 classes, 23.3 and 14.7 reported."""
    with torch.device("meta"):
        network = LRNet(depth)
    assert sum(each.numel() for each in network.parameters()) + 2049 * 1000 == parameters


@pytest.mark.parametrize(("depth", "billions"), [(26, 2.265), (50, 3.863), (101, 7.261)])
def test_values_multiply_adds_of_convolutions(depth, billions):
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        LRNet(depth).eval()(torch.empty(1, 3, 224, 224))
    assert counter.get_total_flops() / 2e9 == pytest.approx(billions, abs=1e-3)


def test_shapes_odd_image_all_maps():
    network = LRNet(**TINY, out_indices=(0, 1, 2, 3)).eval()
    maps = network(torch.randn(1, 3, 45, 33))
    assert [tuple(each.shape[1:]) for each in maps] == [
        (256, 12, 9), (512, 6, 5), (1024, 3, 3), (2048, 2, 2),
    ]  # fmt: skip
    assert network.out_channels == [256, 512, 1024, 2048]
    assert network.strides == [4, 8, 16, 32]


def test_shapes_dilated_stages_keep_the_resolution():
    network = LRNet(**TINY, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), out_indices=(1, 3)).eval()
    assert [each.shape[-1] for each in network(torch.randn(1, 3, 32, 32))] == [4, 4]
    assert network.strides == [8, 8]
    assert network.layer4[0].conv2[0].dilation == 4


def test_state_frozen_stages_and_norm_eval():
    network = LRNet(**TINY, frozen_stages=1, norm_eval=True).train()
    learns = {name for name, each in network.named_parameters() if each.requires_grad}
    assert learns and all(name.startswith(("layer2", "layer3", "layer4")) for name in learns)
    norms = [each for each in network.modules() if isinstance(each, nn.BatchNorm2d)]
    assert norms and not any(each.training for each in norms)
    assert network.layer2.training and not network.layer1.training and not network.conv1.training


def test_state_every_parameter_learns_and_blocks_start_as_identities():
    network = LRNet(**TINY).train()
    assert not network.layer1[1].bn3.weight.any()
    for block in (block for stage in range(1, 5) for block in getattr(network, f"layer{stage}")):
        nn.init.ones_(block.bn3.weight)
    (feats,) = network(torch.randn(4, 3, 64, 64))
    feats.square().sum().backward()
    assert [name for name, each in network.named_parameters() if each.grad is None] == []
    keys = network.state_dict().keys()
    assert {
        "conv1.0.weight", "conv1.3.query.weight", "conv1.3.prior.hidden.bias", "bn1.weight",
        "layer1.1.conv2.0.key.weight", "layer1.1.conv2.0.out.weight", "layer1.1.conv2.1.weight",
        "layer2.0.downsample.0.weight",
    } <= keys  # fmt: skip


def test_equivalence_recomputed():
    torch.manual_seed(0)
    plain = LRNet(**TINY, drop_path_rate=0.0).train()
    sparing = LRNet(**TINY, with_cp=True).train()
    sparing.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 48, 48)
    for network in (plain, sparing):
        network(images)[0].square().sum().backward()
    other = dict(sparing.named_parameters())
    for name, each in plain.named_parameters():
        torch.testing.assert_close(other[name].grad, each.grad, msg=name)


def test_state_drop_path_grows():
    network = LRNet(**TINY, drop_path_rate=0.2)
    assert isinstance(network.layer1[0].drop_path, nn.Identity)
    assert network.layer1[1].drop_path.drop_prob == pytest.approx(0.05)
    assert network.layer4[0].drop_path.drop_prob == pytest.approx(0.2)


def test_state_registered():
    assert MODELS.get("LRNet") is LRNet
    assert MODELS.get("LocalRelation") is LocalRelation


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(in_channels=12, share=8), "share=8 must divide the 12 channels"),
        (dict(in_channels=8, kernel_size=4), "kernel_size must be odd.*got 4"),
        (dict(in_channels=8, similarity="cosine"), "similarity must be one of.*'cosine'"),
        (dict(in_channels=8, prior="none"), "prior must be one of.*'none'"),
    ],
)
def test_raises_layer(options, message):
    with pytest.raises(ValueError, match=message):
        LocalRelation(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(depth=18), "depth must be one of.*got 18"),
        (dict(depth=26, out_indices=(4,)), "out_indices must be ascending"),
        (
            dict(depth=26, out_indices=(0,), frozen_stages=2),
            "frozen_stages must lie between -1 and 1",
        ),
        (dict(depth=(1, 1)), "one entry for each stage"),
    ],
)
def test_raises_network(options, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        LRNet(**options)
