"""VisionTransformer: sizes, positions on other grids, which blocks exist, the features it gives."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mmssl.models.backbones import VisionTransformer
from mmssl.models.layers.position_grid import resize_positions
from mmssl.models.layers.self_attention import SelfAttention


def tiny(**options) -> VisionTransformer:
    torch.manual_seed(0)
    defaults = dict(depth=3, num_heads=2, patch_size=8, pretrain_img_size=32, drop_path_rate=0.0)
    network = VisionTransformer(8, **{**defaults, **options})
    network.init_weights()
    return network


@pytest.mark.parametrize("rule", ["esvit", "dino"])
@pytest.mark.parametrize("size", [(32, 32), (16, 16), (8, 64), (40, 24)])
def test_shapes_of_whole_patches(size, rule):
    network = tiny(pos_interp=rule, out_indices=(0, -1)).eval()
    maps = network(torch.randn(2, 3, *size))
    assert network.out_indices == (0, 2)
    assert network.out_channels == [8, 8] and network.strides == [8, 8]
    assert [one.shape for one in maps] == [(2, 8, size[0] // 8, size[1] // 8)] * 2
    view, last = network.view_and_map(torch.randn(2, 3, *size))
    assert view.shape == (2, 8) and last.shape == maps[1].shape


def test_values_regions_are_the_last_map_and_the_view_is_not_their_mean():
    network = tiny().eval()
    images = torch.randn(2, 3, 32, 32)
    view, regions = network.view_and_map(images)
    assert torch.equal(regions, network(images)[0])
    assert not torch.allclose(view, regions.mean((2, 3)), atol=1e-3)


def test_values_positions_of_a_patch():
    """Without blocks' and norm's part, a token is its patch and its position: row by row."""
    network = tiny(depth=1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.norm.weight.fill_(1)
        network.pos_embed[0, 1 + 4 * 2 + 3, 5] = 1.0  # row 2, column 3
    found = network(torch.zeros(1, 3, 32, 32))[0][0, 5].nonzero().tolist()
    assert found == [[2, 3]]


def test_values_esvit_positions_are_a_plain_resize():
    positions = torch.randn(1, 16, 5)
    square = positions.view(1, 4, 4, 5).permute(0, 3, 1, 2)
    expected = F.interpolate(square, size=(3, 6), mode="bicubic").permute(0, 2, 3, 1)
    found = resize_positions(positions, (3, 6), rule="esvit")
    torch.testing.assert_close(found.view(1, 3, 6, 5), expected)
    assert resize_positions(positions, (4, 4), rule="dino") is positions


def test_values_dino_positions_sample_other_places():
    """On a ramp, cell i looks at (i + 0.5) step - 0.5, the step being 8 / 4.1 instead of 8 / 4."""
    ramp = torch.arange(8.0, dtype=torch.double).repeat(8, 1)
    positions = ramp.reshape(1, 64, 1)
    places = {"esvit": 8 / 4, "dino": 8 / 4.1}
    for rule, step in places.items():
        row = resize_positions(positions, (4, 4), rule=rule).view(4, 4)[0]
        expected = (torch.arange(4, dtype=torch.double) + 0.5) * step - 0.5
        # the cubic filter (a = -0.75) follows a ramp to 0.03; the rules lie 0.07 and 0.12 apart
        torch.testing.assert_close(row[1:3], expected[1:3], rtol=0, atol=0.03)


@pytest.mark.parametrize("rule", ["esvit", "dino"])
def test_gradcheck_positions(rule):
    positions = torch.randn(1, 4, 2, dtype=torch.double, requires_grad=True)
    torch.autograd.gradcheck(lambda x: resize_positions(x, (3, 1), rule=rule), positions)


def test_state_blocks_behind_the_last_map_do_not_exist():
    network = tiny(out_indices=(1,))
    assert len(network.blocks) == 2
    network(torch.randn(1, 3, 32, 32))[0].square().mean().backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None]


def test_state_drop_path_grows_from_zero():
    network = tiny(drop_path_rate=0.2, out_indices=(1,))
    found = [getattr(block.drop_path, "drop_prob", 0.0) for block in network.blocks]
    assert found == [0.0, 0.1]


def test_values_of_the_initialisation():
    network = tiny(depth=4)
    weight = network.blocks[0].mlp.fc1.weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.2)
    assert network.pos_embed.std().item() == pytest.approx(0.02, rel=0.2)
    assert network.cls_token.any() and not network.blocks[1].attn.qkv.bias.any()
    bound = (3 * 8 * 8) ** -0.5  # the convolution keeps torch's default
    assert network.patch_embed.proj.weight.abs().max().item() == pytest.approx(bound, rel=0.05)


def test_values_last_blocks():
    """The class tokens as the maps' hook points see them; the mean goes over the last block's patches."""
    network = tiny(out_indices=(1, 2)).eval()
    images = torch.randn(2, 3, 16, 16)
    seen = []
    for block in network.blocks:
        block.register_forward_hook(lambda module, args, out: seen.append(out))
    found = network.last_blocks(images, 2, patch_mean=True)
    normed = [network.norm(tokens) for tokens in seen]
    expected = torch.cat([normed[1][:, 0], normed[2][:, 0], normed[2][:, 1:].mean(1)], dim=1)
    torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match=r"\[1, 3\], got 4"):
        network.last_blocks(images, 4)


def test_equivalence_attention_of_sdpa_and_formula():
    torch.manual_seed(0)
    layer = SelfAttention(8, 2).double()
    x = torch.randn(2, 5, 8, dtype=torch.double)
    bias = torch.randn(1, 2, 5, 5, dtype=torch.double)
    for one in (None, bias):
        probabilities = layer.attention(x, one)
        values = layer.qkv(x)[..., 16:].unflatten(-1, (2, 4)).transpose(1, 2)
        expected = layer.proj((probabilities @ values).transpose(1, 2).flatten(2))
        torch.testing.assert_close(layer(x, one), expected)
        torch.testing.assert_close(probabilities.sum(-1), torch.ones(2, 2, 5, dtype=torch.double))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(out_indices=(3,)), "between -3 and 2"),
        (dict(out_indices=(1, 0)), "ascending"),
        (dict(out_indices=()), "ascending"),
        (dict(pos_interp="bilinear"), "'esvit' or 'dino'"),
        (dict(num_heads=3), "3 heads do not divide 8"),
        (dict(pretrain_img_size=36), "no multiple of patch_size=8"),
    ],
)
def test_raises(options, words):
    with pytest.raises(ValueError, match=words):
        tiny(**options)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((36, 32), "36 x 32 pixels .* Heights that fit nearby: 32, 40"),
        ((32, 4), "widths: 8, 8"),
    ],
)
def test_raises_on_cut_patches(size, words):
    with pytest.raises(ValueError, match=words):
        tiny()(torch.zeros(1, 3, *size))


def test_state_of_mocov3s_options():
    """Fixed waves, a frozen stem and Xavier's weights, queries, keys and values as three matrices."""
    network = tiny(positions="sincos", frozen_patch_embed=True, weight_init="xavier")
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    assert frozen == {"pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"}
    assert not network.pos_embed[0, 0].any() and network.pos_embed[0, 1:].abs().max() <= 1
    # token of row r and column c: half of the channels tell r, the other half c
    grid = network.pos_embed[0, 1:].view(4, 4, 8)
    assert torch.equal(grid[2, 0, :4], grid[2, 3, :4])
    assert torch.equal(grid[0, 1, 4:], grid[3, 1, 4:])
    wide = tiny(positions="sincos", weight_init="xavier", depth=1, num_heads=1)
    for weight, limit in (
        (wide.blocks[0].attn.qkv.weight, (6 / 16) ** 0.5),
        (wide.blocks[0].mlp.fc1.weight, (6 / 40) ** 0.5),
        (wide.patch_embed.proj.weight, (6 / (3 * 64 + 8)) ** 0.5),
    ):
        assert 0.8 * limit < weight.abs().max() <= limit
    assert wide.cls_token.abs().max() < 1e-4


def test_shapes_convolutional_stem():
    network = tiny(stem="conv", patch_size=16, pretrain_img_size=64).train()
    maps = network(torch.randn(2, 3, 64, 32))
    assert [tuple(one.shape) for one in maps] == [(2, 8, 4, 2)]
    widths = [
        m.out_channels for m in network.patch_embed.modules() if isinstance(m, torch.nn.Conv2d)
    ]
    assert widths == [1, 2, 4, 8, 8]
    with pytest.raises(ValueError, match="Images of 40 x 32 pixels"):
        network(torch.randn(1, 3, 40, 32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(positions="rotary"), "positions must be 'learned' or 'sincos', got 'rotary'"),
        (dict(stem="conv"), "stem='conv' needs patch_size=16, got 8"),
        (dict(weight_init="zeros"), "weight_init must be"),
    ],
)
def test_raises_on_unknown_options(options, message):
    with pytest.raises(ValueError, match=message):
        tiny(**options)
