"""What every Transformer backbone promises: repeatable, trainable, checkpointable, stable in bf16."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from mmssl.engine.activation_checkpointing import checkpoint_activations
from mmssl.models.backbones import view_and_map
from mmssl.registry import MODELS

STAGES = dict(depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2))
# config, image size, a sub-module to checkpoint
TINY = {
    "swin": (dict(type="mmssl.Swin", embed_dims=8, **STAGES), 64, "stages.2.blocks.0"),
    "cvt": (dict(type="mmssl.CvT", embed_dims=(8, 8, 16, 16), **STAGES), 64, "stages.2.blocks.0"),
    "vil": (
        dict(type="mmssl.ViL", embed_dims=(8, 8, 16, 16), window_sizes=(3,) * 4, **STAGES),
        64,
        "layer3.1",
    ),
    "vit": (
        dict(type="mmssl.VisionTransformer", embed_dims=8, depth=3, num_heads=2, patch_size=8,
             pretrain_img_size=32),
        48,
        "blocks.1",
    ),
}  # fmt: skip


def tiny(name: str, **options) -> nn.Module:
    torch.manual_seed(0)
    network = MODELS.build({**TINY[name][0], "drop_path_rate": 0.0, **options})
    network.init_weights()
    return network


def images_for(name: str, batch: int = 2) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(batch, 3, TINY[name][1], TINY[name][1])


@pytest.mark.parametrize("name", TINY)
def test_shapes_view_map_and_attributes_agree(name):
    network, images = tiny(name).eval(), images_for(name)
    maps = network(images)
    view, regions = view_and_map(network, images)
    assert view.shape == (2, network.out_channels[-1])
    assert torch.equal(regions, maps[-1])
    side = TINY[name][1] // network.strides[-1]
    assert regions.shape == (2, network.out_channels[-1], side, side)
    assert network.last_blocks(images, 2).shape[0] == 2


@pytest.mark.parametrize("name", TINY)
def test_equivalence_eval_is_deterministic_and_copies_are_equal(name):
    network, images = tiny(name, drop_path_rate=0.5).eval(), images_for(name)
    first = network(images)[-1]
    for other in (network, copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(other(images)[-1], first)
    # one image alone is what it is in a batch
    torch.testing.assert_close(network(images[:1])[-1], first[:1])


@pytest.mark.parametrize("name", TINY)
def test_values_drop_path_drops_branches_of_single_images(name):
    network = tiny(name, drop_path_rate=0.9).train()
    for module in network.modules():  # only drop path is left in train mode
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    images = images_for(name, 1).repeat(8, 1, 1, 1)
    torch.manual_seed(0)
    with torch.no_grad():
        rows = network(images)[-1].flatten(1)
    assert len({tuple(row.tolist()) for row in rows}) > 1


@pytest.mark.parametrize("name", TINY)
def test_gradients_reach_every_parameter(name):
    network = tiny(name).train()
    view, regions = view_and_map(network, images_for(name))
    (view.square().mean() + regions.square().mean()).backward()
    assert not [key for key, p in network.named_parameters() if p.grad is None]
    assert all(p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(
    ("name", "options", "child"),
    [
        *((name, {}, child) for name, (_, _, child) in TINY.items()),
        ("vil", dict(random_neighbour=True), "layer1.1"),
    ],
)
def test_equivalence_activation_checkpointing(name, options, child):
    """Draws of random depth and of ViL's neighbour are repeated in the backward pass."""
    plain = tiny(name, drop_path_rate=0.5, **options).train()
    sparing = copy.deepcopy(plain)
    checkpoint_activations(sparing, [child])
    for network in (plain, sparing):
        torch.manual_seed(3)
        network(images_for(name))[-1].square().mean().backward()
    other = dict(sparing.named_parameters())
    for key, parameter in plain.named_parameters():
        torch.testing.assert_close(other[key].grad, parameter.grad)
    state = sparing.state_dict()
    assert all(torch.equal(state[key], value) for key, value in plain.state_dict().items())


@pytest.mark.parametrize("name", TINY)
def test_equivalence_channels_last(name):
    network, images = tiny(name).eval(), images_for(name)
    expected = network(images)[-1]
    network.to(memory_format=torch.channels_last)
    found = network(images.contiguous(memory_format=torch.channels_last))[-1]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", TINY)
def test_equivalence_bf16_autocast_is_close(name):
    network, images = tiny(name).eval(), images_for(name)
    with torch.no_grad():
        exact = network(images)[-1]
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(images)[-1].float()
    # normalised features of order 1; bf16 has 8 bits
    assert (rough - exact).abs().mean() < 0.02
