"""ResNet and TimmBackbone: names, shapes, gradients and errors."""

from __future__ import annotations

import copy

import pytest
import torch
import torchvision
from torch import nn

from mmssl.models.backbones import ResNet, TimmBackbone, view_and_map
from mmssl.registry import MODELS


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (dict(depth=18), "resnet18"),
        (dict(depth=34), "resnet34"),
        (dict(depth=50), "resnet50"),
        (dict(depth=50, width=2), "wide_resnet50_2"),
        (dict(depth=101), "resnet101"),
        (dict(depth=152), "resnet152"),
    ],
)
def test_state_names_and_shapes_are_torchvisions(arguments, name):
    with torch.device("meta"):
        ours = ResNet(**arguments).state_dict()
        theirs = getattr(torchvision.models, name)().state_dict()
    assert {k: v.shape for k, v in ours.items()} == {
        k: v.shape for k, v in theirs.items() if not k.startswith("fc.")
    }
    if name == "resnet50":
        assert len(ours) == 318


def test_values_equal_torchvision():
    theirs = torchvision.models.resnet18().eval()
    ours = ResNet(18).eval()
    ours.load_state_dict(theirs.state_dict(), strict=False)
    images = torch.randn(2, 3, 33, 64)
    last = ours(images)[-1]
    assert torch.equal(theirs.fc(last.mean(dim=(2, 3))), theirs(images))


def test_values_of_the_initialisation():
    torch.manual_seed(0)
    backbone = ResNet(18)
    weight = backbone.layer4[1].conv2.weight.detach()
    # He's normal, fan-out: the standard deviation is sqrt(2 / (512 * 9))
    assert weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
    assert all(
        bool((m.weight == 1).all()) for m in backbone.modules() if hasattr(m, "running_mean")
    )
    backbone = ResNet(18, zero_init_residual=True)
    assert not backbone.layer1[0].bn2.weight.any()
    assert backbone.layer1[0].bn1.weight.all()


@pytest.mark.parametrize(
    ("stem", "strides", "sizes"),
    [("imagenet", [4, 8, 16, 32], [17, 9, 5, 3]), ("cifar", [1, 2, 4, 8], [65, 33, 17, 9])],
)
def test_shapes_of_odd_inputs_follow_the_strides(stem, strides, sizes):
    backbone = ResNet(18, stem=stem)
    maps = backbone(torch.zeros(2, 3, 65, 32))
    assert backbone.strides == strides
    assert backbone.out_channels == [64, 128, 256, 512]
    assert [m.shape[1:3] for m in maps] == [(c, s) for c, s in zip(backbone.out_channels, sizes)]


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("stride", [4, 8, 16])
@pytest.mark.parametrize("side", [64, 97])
def test_equivalence_dilated_stages_are_the_strided_ones_more_densely(depth, stride, side):
    """Every map, subsampled to its usual stride, is that of the network without dilation."""
    strided = ResNet(depth).eval()
    dilated = ResNet(depth, output_stride=stride).eval()
    dilated.load_state_dict(strided.state_dict())
    assert dilated.strides == [min(usual, stride) for usual in strided.strides]
    images = torch.randn(1, 3, side, side)
    with torch.no_grad():
        pairs = list(zip(strided(images), dilated(images), strict=True))
    for (coarse, fine), usual in zip(pairs, strided.strides, strict=True):
        every = max(usual // stride, 1)
        assert fine.shape[-1] == -(-side // min(usual, stride))
        torch.testing.assert_close(fine[..., ::every, ::every], coarse, rtol=1e-4, atol=1e-4)


def test_state_stages_behind_the_last_map_do_not_exist():
    backbone = ResNet(50, out_indices=(2,))
    assert not hasattr(backbone, "layer4")
    assert backbone.out_channels == [1024]
    backbone(torch.randn(2, 3, 32, 32))[0].square().mean().backward()
    assert all(p.grad is not None for p in backbone.parameters())


def test_state_frozen_parts_do_not_change():
    backbone = ResNet(18, frozen_stages=1).train()
    before = copy.deepcopy(backbone.state_dict())
    backbone(torch.randn(2, 3, 32, 32))[-1].square().mean().backward()
    trained = {name.split(".")[0] for name, p in backbone.named_parameters() if p.grad is not None}
    assert trained == {"layer2", "layer3", "layer4"}
    moved = {
        n.split(".")[0] for n, v in backbone.state_dict().items() if not torch.equal(v, before[n])
    }
    assert moved == {"layer2", "layer3", "layer4"}  # running statistics


def test_state_norm_eval_keeps_every_statistic():
    backbone = ResNet(18, norm_eval=True).train()
    before = copy.deepcopy(backbone.state_dict())
    backbone(torch.randn(2, 3, 32, 32))
    assert all(torch.equal(v, before[n]) for n, v in backbone.state_dict().items())
    assert backbone.training
    assert not backbone.layer1[0].bn1.training


def test_equivalence_sync_bn_on_one_process_is_bn():
    plain, synced = ResNet(18), ResNet(18, norm_cfg=dict(type="SyncBN", eps=1e-5))
    assert isinstance(synced.bn1, nn.SyncBatchNorm)
    synced.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(plain.train()(images)[-1], synced.train()(images)[-1])


def test_state_norm_cfg_reaches_the_layers():
    backbone = ResNet(18, norm_cfg=dict(type="BN", eps=0.25, momentum=0.5, requires_grad=False))
    norm = backbone.layer2[0].downsample[1]
    assert (norm.eps, norm.momentum, norm.weight.requires_grad) == (0.25, 0.5, False)
    groups = ResNet(18, norm_cfg=dict(type="GN", num_groups=8))
    assert groups.bn1.num_groups == 8
    assert groups.bn1.num_channels == 64


def test_state_other_channels_are_in_proportion():
    """SwAV's and SimCLR's wide networks: twice the stem, four times the weights (94 million)."""
    with torch.device("meta"):
        wide, plain = ResNet(50, base_channels=128), ResNet(50)
    assert wide.out_channels == [2 * channels for channels in plain.out_channels]
    weights = [sum(p.numel() for p in network.parameters()) for network in (wide, plain)]
    assert round(weights[0] / 1e6) == 94 and round(weights[1] / 1e6, 1) == 23.5
    assert wide.state_dict().keys() == plain.state_dict().keys()
    torch.manual_seed(0)
    narrow = ResNet(18, base_channels=16, zero_init_residual=True)
    assert narrow(torch.zeros(1, 3, 64, 64))[-1].shape == (1, 128, 2, 2)
    assert not narrow.layer2[1].bn2.weight.any() and narrow.layer2[1].bn1.weight.all()
    weight = narrow.layer4[1].conv2.weight.detach()
    assert weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)
    assert ResNet(18, base_channels=8, stem="cifar").conv1.weight.shape == (8, 3, 3, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(depth=18, base_channels=0), "base_channels must be at least 1"),
        (dict(depth=20), "depth"),
        (dict(depth=18, width=2), "bottlenecks"),
        (dict(depth=18, out_indices=(4,)), "out_indices"),
        (dict(depth=18, out_indices=(1, 0)), "ascending"),
        (dict(depth=18, stem="tiny"), "stem"),
        (dict(depth=18, norm_cfg=dict(type="XN")), "XN"),
        (dict(depth=18, norm_cfg=dict(type="GN")), "num_groups"),
        (dict(depth=18, frozen_stages=5), "frozen_stages"),
        (dict(depth=18, output_stride=64), r"one of \[4, 8, 16, 32\].*got 64"),
        (dict(depth=18, stem="cifar", output_stride=16), r"one of \[1, 2, 4, 8\].*got 16"),
    ],
)
def test_raises_resnet(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResNet(**arguments)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("test_resnet", {}),
        ("test_convnext", {}),
        ("test_efficientnet", {}),
        ("test_vit", dict(img_size=64)),
        ("swin_tiny_patch4_window7_224", dict(img_size=64, model_args=dict(depths=(1, 1, 1, 1)))),
    ],
)
def test_shapes_timm_maps_are_channels_first_and_everything_trains(name, options):
    backbone = MODELS.build(dict(type="mmssl.TimmBackbone", name=name, **options)).train()
    maps = backbone(torch.randn(2, 3, 64, 64))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (c, 64 // s, 64 // s) for c, s in zip(backbone.out_channels, backbone.strides)
    ]
    sum(m.square().mean() for m in maps).backward()
    assert not [name for name, p in backbone.named_parameters() if p.grad is None]
    assert len(copy.deepcopy(backbone).state_dict()) == len(backbone.state_dict())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("test_convnext", {}),
        ("swin_tiny_patch4_window7_224", dict(img_size=64, model_args=dict(depths=(1, 1, 1, 1)))),
    ],
)
def test_values_view_of_a_timm_map(name, options):
    """Like every network with maps: the regions are the last map, the view is their mean."""
    backbone = TimmBackbone(name, **options).eval()
    images = torch.randn(2, 3, 64, 64)
    view, regions = view_and_map(backbone, images)
    assert torch.equal(regions, backbone(images)[-1])
    rows = regions.flatten(2)
    assert rows.shape == (2, backbone.out_channels[-1], (64 // backbone.strides[-1]) ** 2)
    torch.testing.assert_close(view, rows.sum(2) / rows.shape[2])


def test_equivalence_timm_resnet_is_our_resnet():
    theirs = TimmBackbone("resnet18").eval()
    ours = ResNet(18).eval()
    ours.load_state_dict(
        {k.removeprefix(theirs.source_prefix): v for k, v in theirs.state_dict().items()}
    )
    images = torch.randn(1, 3, 64, 64)
    assert all(torch.equal(a, b) for a, b in zip(theirs(images), ours(images), strict=True))


def test_state_timm_weights_survive_init_weights():
    backbone = TimmBackbone("test_vit", img_size=64)
    before = copy.deepcopy(backbone.state_dict())
    backbone.init_weights()
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())


def test_state_timm_out_indices_count_from_the_end():
    backbone = TimmBackbone("test_resnet", out_indices=(-2,))
    assert backbone.out_indices == (3,)
    assert backbone.strides == [16]
    assert not any("layer4" in name for name in backbone.state_dict())
    assert any(name.startswith("layer4") for name in backbone.cut_names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(name="resnet19"), "resnet18"),
        (dict(name="resnet18", img_size=64), "img_size"),
        (dict(name="resnet18", out_indices=(7,)), "out_indices"),
        (dict(name="test_resnet", out_indices=(-1, 0)), "ascending"),
    ],
)
def test_raises_timm(arguments, message):
    with pytest.raises(ValueError, match=message):
        TimmBackbone(**arguments)


def test_raises_timm_model_without_maps(monkeypatch):
    monkeypatch.setattr("timm.create_model", lambda *args, **kwargs: nn.Linear(1, 1))
    with pytest.raises(ValueError, match="no feature maps"):
        TimmBackbone("resnet18")
