"""Plugins of our ResNet and of mmdet's: places, names, initialisation, freezing, errors."""

from __future__ import annotations

import builtins
import copy

import pytest
import torch
from mmengine.registry import DefaultScope
from torch import nn

from mmssl.models.backbones import ResNet
from mmssl.models.layers.plugins import DNLBlock, build_plugin
from mmssl.registry import MODELS

KAIMING = dict(type="Kaiming", layer="Conv2d")
LAST = (False, False, True, False)
BLOCKS = {
    "NonLocal2d": ("nonlocal_block", dict(type="NonLocal2d")),
    "ContextBlock": ("context_block", dict(type="ContextBlock", ratio=0.25)),
    "GCBlock": ("context_block", dict(type="GCBlock", ratio=0.25)),
    "DNLBlock": ("dnl_block", dict(type="DNLBlock")),
    "GeneralizedAttention": (
        "gen_attention_block",
        dict(type="GeneralizedAttention", num_heads=4, attention_type="1111"),
    ),
}
blocks = pytest.mark.parametrize("block", BLOCKS)


@pytest.fixture(autouse=True)
def _registered(request):
    """mmcv's blocks, where a test has any."""
    if "block" in request.fixturenames and request.getfixturevalue("block") != "DNLBlock":
        pytest.importorskip("mmcv.cnn")
        import mmssl.downstream.attention_plugins  # noqa: F401


def plugin(block: str, position: str = "after_conv3", stages=LAST) -> dict:
    return dict(cfg=BLOCKS[block][1], position=position, stages=stages)


def randomise(network: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    for each in network.parameters():
        nn.init.normal_(each, std=0.05)
    return network


@blocks
def test_equivalence_starts_as_the_plain_network(block):
    """From scratch, also after a Kaiming initialisation of all convolutions, plugins change nothing."""
    torch.manual_seed(0)
    network = ResNet(50, out_indices=(2,), plugins=[plugin(block)], init_cfg=KAIMING)
    network.init_weights()
    plain = ResNet(50, out_indices=(2,))
    state = {
        key: value for key, value in network.state_dict().items() if BLOCKS[block][0] not in key
    }
    plain.load_state_dict(state)
    images = torch.randn(2, 3, 32, 48)
    torch.testing.assert_close(network.eval()(images), plain.eval()(images))


@blocks
def test_equivalence_is_mmdets_network(block):
    """Same names, places and results as mmdet's ResNet with the same list."""
    mmdet = pytest.importorskip("mmdet.models")
    arguments = dict(depth=50, out_indices=(0, 1, 2, 3), plugins=[plugin(block)])
    theirs = mmdet.ResNet(**copy.deepcopy(arguments), norm_eval=False)
    ours = ResNet(**arguments)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    ours.load_state_dict(randomise(theirs).state_dict())
    images = torch.randn(1, 3, 32, 48)
    theirs.eval()
    for ours_map, their_map in zip(ours.eval()(images), theirs(images)):
        torch.testing.assert_close(ours_map, their_map, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("block", "zero"), [("GCBlock", True), ("ContextBlock", False)])
def test_state_mmdets_network_from_scratch(block, zero):
    """mmdet's own initialisation overwrites the last convolution of mmcv's block, and not that of ours."""
    mmdet = pytest.importorskip("mmdet.models")
    network = mmdet.ResNet(50, plugins=[plugin(block)])
    network.init_weights()
    last = network.layer3[0].context_block.channel_add_conv[-1].weight
    assert bool((last == 0).all()) is zero


@pytest.mark.parametrize("library", ["mmdet", "mmseg"])
def test_state_networks_of_others_with_dnl_from_scratch(library):
    """Found in the scope of each library, where the root registry is looked up last."""
    pytest.importorskip(f"{library}.models")
    with DefaultScope.overwrite_default_scope(library):
        config = dict(type=f"{library}.ResNet", depth=50, plugins=[plugin("DNLBlock")])
        network = MODELS.build(config)
    network.init_weights()
    assert not network.layer3[0].dnl_block.conv_out.conv.weight.any()
    assert network.layer3[0].dnl_block.theta.conv.weight.std() < 0.02


def test_state_pretrained_plugins_stay(tmp_path):
    """A checkpoint that holds plugins is not overwritten by their initialisation."""
    arguments = dict(depth=18, plugins=[plugin("DNLBlock", "after_conv2")])
    path = str(tmp_path / "network.pth")
    expected = randomise(ResNet(**arguments)).state_dict()
    torch.save(expected, path)
    for kind in ("Pretrained", "mmssl.PretrainedBackbone"):
        network = ResNet(**arguments, init_cfg=dict(type=kind, checkpoint=path))
        network.init_weights()
        for key, value in network.state_dict().items():
            assert torch.equal(value, expected[key]), (kind, key)


@pytest.mark.parametrize(
    ("depth", "position", "channels"),
    [
        (18, "after_conv1", 256), (18, "after_conv2", 256), (50, "after_conv1", 256),
        (50, "after_conv2", 256), (50, "after_conv3", 1024),
    ],
)  # fmt: skip
def test_shapes_positions(depth, position, channels):
    network = randomise(ResNet(depth, plugins=[plugin("DNLBlock", position)]))
    found = {name for name, each in network.named_modules() if isinstance(each, DNLBlock)}
    assert found == {f"layer3.{number}.dnl_block" for number in range(2 if depth == 18 else 6)}
    block = network.layer3[0]
    assert block.dnl_block.conv_mask.in_channels == channels
    seen = []
    block.dnl_block.register_forward_hook(lambda module, inputs, out: seen.append(inputs[0]))
    network.eval()(torch.randn(1, 3, 64, 64))
    # behind the activation, but for the last, which lies before the addition
    last = position[-1] == str(block.num_convs)
    assert bool((seen[0] < 0).any()) is last


def test_shapes_two_plugins_in_order_with_postfix():
    two = [
        dict(cfg=dict(type="DNLBlock", postfix=str(number)), position="after_conv2")
        for number in (1, 2)
    ]
    network = ResNet(18, plugins=two)
    order = []
    for name in ("dnl_block1", "dnl_block2"):
        getattr(network.layer1[0], name).register_forward_hook(
            lambda *args, name=name: order.append(name)
        )
    network.eval()(torch.zeros(1, 3, 32, 32))
    assert order == ["dnl_block1", "dnl_block2"]
    assert "layer4.1.dnl_block2.g.conv.weight" in network.state_dict()


def test_equivalence_dilation_leaves_plugins_alone():
    arguments = dict(depth=50, plugins=[plugin("DNLBlock", stages=(False, False, False, True))])
    network = ResNet(**arguments, output_stride=16)
    assert network.layer4[1].conv2.dilation == (2, 2)
    assert network(torch.zeros(1, 3, 64, 64))[-1].shape[-2:] == (4, 4)


def test_state_frozen_and_norm_eval():
    norm = dict(cfg=dict(type="DNLBlock", norm_cfg=dict(type="BN")), position="after_conv2")
    network = ResNet(18, plugins=[norm], frozen_stages=2, norm_eval=True).train()
    for stage, learns in ((1, False), (2, False), (3, True)):
        block = getattr(network, f"layer{stage}")[0].dnl_block
        assert all(each.requires_grad is learns for each in block.parameters())
        assert not block.conv_out.bn.training
        assert block.training is learns


def test_state_every_parameter_of_dnl_learns_but_what_cancels():
    """Adding a number to all queries, all keys or all unary logits changes nothing."""
    block = randomise(DNLBlock(8, 2, temperature=1.0)).double()
    images = torch.randn(2, 8, 5, 6, dtype=torch.float64)
    (block(images) * torch.randn_like(images)).sum().backward()
    largest = {name: float(each.grad.abs().max()) for name, each in block.named_parameters()}
    still = {name for name, size in largest.items() if size < 1e-12}
    assert still == {"theta.conv.bias", "phi.conv.bias", "conv_mask.bias"}, largest
    assert min(size for name, size in largest.items() if name not in still) > 1e-9


@pytest.mark.parametrize("norm_cfg", [None, dict(type="BN"), dict(type="GN", num_groups=2)])
@pytest.mark.parametrize("mode", ["embedded_gaussian", "dot_product"])
def test_values_dnl_is_its_formula(mode, norm_cfg):
    block = randomise(DNLBlock(8, 4, mode=mode, norm_cfg=norm_cfg, temperature=0.5)).double().eval()
    x = torch.randn(2, 8, 3, 5, dtype=torch.float64)
    theta, phi, g = (layer(x).flatten(2) for layer in (block.theta, block.phi, block.g))
    theta, phi = (each - each.mean(2, keepdim=True) for each in (theta, phi))
    pairs = torch.einsum("nci,ncj->nij", theta, phi)
    pairs = (pairs / 2**0.5 / 0.5).softmax(2) if mode == "embedded_gaussian" else pairs / 15
    unary = block.conv_mask(x).flatten(2).softmax(2)
    y = torch.einsum("nij,ncj->nci", pairs, g) + torch.einsum("nij,ncj->nci", unary, g)
    expected = x + block.conv_out(y.view(2, 2, 3, 5))
    torch.testing.assert_close(block(x), expected, rtol=1e-7, atol=1e-9)


def test_gradcheck_dnl():
    block = randomise(DNLBlock(4, 2, temperature=1.0)).double()
    x = torch.randn(1, 4, 2, 3, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(block, x)


def test_values_dnl_keeps_no_matrix_of_pairs():
    """Of 4096 positions it would be 16 million numbers, which neither pass saves."""
    block = DNLBlock(8, 2)
    saved = []
    hooks = torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: saved.append(tensor.numel()) or tensor, lambda tensor: tensor
    )
    with hooks:
        block(torch.randn(1, 8, 64, 64, requires_grad=True)).sum().backward()
    assert max(saved) < 10 * 8 * 64 * 64


def test_equivalence_dnl_keeps_its_input():
    block = randomise(DNLBlock(4))
    x = torch.randn(1, 4, 3, 3)
    before = x.clone()
    block(x)
    assert torch.equal(x, before)


def test_state_non_local_with_sub_sampling_is_reset():
    """mmcv's initialisation cannot be called a second time there."""
    pytest.importorskip("mmcv.cnn")
    sampled = dict(cfg=dict(type="NonLocal2d", sub_sample=True), position="after_conv2")
    network = ResNet(18, plugins=[sampled], init_cfg=KAIMING)
    network.init_weights()
    block = network.layer1[0].nonlocal_block
    assert not block.conv_out.conv.weight.any()
    for layer in (block.theta, block.g[0], block.phi[0]):
        assert 0.008 < layer.conv.weight.std() < 0.012


def test_state_registered_in_the_root():
    from mmengine.registry import MODELS as ROOT_MODELS

    assert ROOT_MODELS.get("DNLBlock") is DNLBlock
    assert MODELS.get("DNLBlock") is DNLBlock


BAD = {
    "position of a plugin must be one of.*'after_conv2'.*got 'after_conv3'": plugin("DNLBlock"),
    "needs a type": dict(cfg=dict(ratio=1), position="after_conv1"),
    "type must name a class, got 'Attention'": dict(
        cfg=dict(type="Attention"), position="after_conv1"
    ),
    "stages of a plugin must say": plugin("DNLBlock", "after_conv1", stages=(True,)),
    "A plugin is dict": dict(cfg=dict(type="DNLBlock"), place="after_conv1"),
    "mode must be": dict(cfg=dict(type="DNLBlock", mode="gaussian"), position="after_conv1"),
}


@pytest.mark.parametrize("message", BAD)
def test_raises(message):
    if "class" in message:
        pytest.importorskip("mmcv.cnn")
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        ResNet(18, plugins=[BAD[message]])


def test_raises_two_of_a_name():
    twice = [dict(cfg=dict(type="DNLBlock"), position="after_conv1")] * 2
    with pytest.raises(ValueError, match="Two plugins 'dnl_block'.*postfix"):
        ResNet(18, plugins=twice)


def test_raises_without_mmcv(monkeypatch):
    """A block of mmcv where there is none: the error names the extra and the block that needs none."""
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == "mmcv":
            raise ImportError("No module named 'mmcv'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"'\.\[downstream\]'.*DNLBlock"):
        build_plugin(dict(type="BlockOfNobody"), 8)
    assert build_plugin(dict(type="DNLBlock"), 8)[0] == "dnl_block"
