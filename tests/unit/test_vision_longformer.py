"""ViL and its attentions: neighbourhoods by the formula, the random neighbour, grids, sizes, errors."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmssl.models.backbones import ViL, view_and_map
from mmssl.models.layers.chunk_attention import NEIGHBOURS, OWN, ChunkAttention
from mmssl.models.layers.grid_attention import GridAttention


def tiny(**options) -> ViL:
    torch.manual_seed(0)
    defaults = dict(
        depths=(1, 1, 1, 2), num_heads=(1, 1, 2, 2), window_sizes=(3, 3, 3, 3),
        pretrain_img_size=64, drop_path_rate=0.0,
    )  # fmt: skip
    network = ViL((4, 8, 16, 16), **{**defaults, **options})
    network.init_weights()
    return network


def chunk_attention(**options) -> ChunkAttention:
    torch.manual_seed(0)
    layer = ChunkAttention(4, 2, **{"window": 2, "num_global": 2, **options}).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    return layer


def by_formula(layer: ChunkAttention, x: Tensor, grid: tuple[int, int], offsets) -> Tensor:
    """Position by position: softmax over the global tokens and every position in the chunks at `offsets`."""
    window, count, heads = layer.window, layer.num_global, layer.num_heads
    q = layer.query(x).unflatten(-1, (heads, -1))
    k, v = layer.kv(x).unflatten(-1, (2, heads, -1)).unbind(2)
    side = 4 * window - 1
    table = layer.local_relative_position_bias_table.view(side, side, heads)
    out = torch.zeros_like(q)
    places = list(product(range(grid[0]), range(grid[1])))
    for number, (row, column) in enumerate(places):
        keys, biases = [], []
        for token in range(count):
            keys.append(token)
            biases.append(layer.g2l_relative_position_bias[1][:, token])
        for other, (r, c) in enumerate(places):
            if (r // window - row // window, c // window - column // window) in offsets:
                keys.append(count + other)
                biases.append(table[row - r + 2 * window - 1, column - c + 2 * window - 1])
        logits = torch.einsum("nhd,nkhd->nhk", q[:, count + number], k[:, keys])
        logits = logits * q.shape[-1] ** -0.5 + torch.stack(biases, dim=-1)
        out[:, count + number] = torch.einsum("nhk,nkhd->nhd", logits.softmax(-1), v[:, keys])
    for token in range(count):
        logits = torch.einsum("nhd,nkhd->nhk", q[:, token], k) * q.shape[-1] ** -0.5
        to_local = layer.g2l_relative_position_bias[0][:, token, None].expand(-1, len(places))
        bias = torch.cat([layer.g2g_relative_position_bias[:, token], to_local], dim=-1)
        out[:, token] = torch.einsum("nhk,nkhd->nhd", (logits + bias).softmax(-1), v)
    return layer.proj(out.flatten(2))


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("grid", [(2, 2), (5, 7), (1, 9), (4, 4)])
def test_equivalence_chunk_attention_and_formula(grid, count):
    layer = chunk_attention(num_global=count)
    x = torch.randn(2, count + grid[0] * grid[1], 4, dtype=torch.double)
    expected = by_formula(layer, x, grid, (OWN, *NEIGHBOURS))
    torch.testing.assert_close(layer(x, grid), expected)


def test_equivalence_random_neighbour():
    """Every pass of training is that of the own chunk and one neighbour; all 8 come; evaluation uses all."""
    layer = chunk_attention(random_neighbour=True)
    grid = (6, 6)
    x = torch.randn(1, 2 + 36, 4, dtype=torch.double)
    with torch.no_grad():
        single = [by_formula(layer, x, grid, (OWN, one)) for one in NEIGHBOURS]
        torch.manual_seed(0)
        drawn = []
        for _ in range(60):
            out = layer(x, grid)
            drawn.append([torch.allclose(out, one) for one in single].index(True))
        assert set(drawn) == set(range(8))
        torch.manual_seed(0)
        again = layer(x, grid)
        torch.testing.assert_close(again, single[drawn[0]])
        everything = by_formula(layer, x, grid, (OWN, *NEIGHBOURS))
        torch.testing.assert_close(layer.eval()(x, grid), everything)


def test_gradcheck_chunk_attention():
    layer = chunk_attention(num_global=1)
    x = torch.randn(1, 1 + 6, 4, dtype=torch.double, requires_grad=True)
    table = layer.local_relative_position_bias_table
    torch.autograd.gradcheck(lambda one, _: layer(one, (3, 2)), (x, table))


def test_values_grid_bias():
    """Two by two with one global token: numbers by distance, by direction to and from the token."""
    layer = GridAttention(2, 1, side=2, num_global=1)
    with torch.no_grad():
        layer.local_relative_position_bias_table.copy_(torch.arange(9.0)[:, None])
        layer.g2l_relative_position_bias.copy_(torch.tensor([20.0, 30.0]).view(2, 1, 1))
        layer.g2g_relative_position_bias.fill_(10.0)
    expected = [
        [10, 20, 20, 20, 20],
        [30, 4, 3, 1, 0],
        [30, 5, 4, 2, 1],
        [30, 7, 6, 4, 3],
        [30, 8, 7, 5, 4],
    ]
    assert layer.position_bias((2, 2))[0, 0].tolist() == expected


def test_values_grid_bias_of_another_grid_is_resized_as_an_image():
    torch.manual_seed(0)
    layer = GridAttention(4, 2, side=4)
    torch.nn.init.normal_(layer.local_relative_position_bias_table)
    learned = layer.position_bias((4, 4))
    expected = F.interpolate(learned, scale_factor=9 / 16, mode="bicubic")
    torch.testing.assert_close(layer.position_bias((3, 3)), expected)


@pytest.mark.parametrize("size", [32, 64, 80, 112])
def test_shapes_of_square_images(size):
    network = tiny(out_indices=(0, 1, 3)).eval()
    maps = network(torch.randn(2, 3, size, size))
    assert network.out_channels == [4, 8, 16] and network.strides == [4, 8, 32]
    for one, channels, stride in zip(maps, (4, 8, 16), (4, 8, 32), strict=True):
        assert one.shape == (2, channels, size // stride, size // stride)
        assert one.isfinite().all()


def test_shapes_of_any_shape_without_full_stages():
    network = tiny(out_indices=(1,))
    assert len(network.depths) == 2 and not hasattr(network, "layer3")
    assert network(torch.randn(1, 3, 24, 70))[0].shape == (1, 8, 3, 8)


def test_values_view_and_last_blocks():
    """A global token where the stage has one, else the mean; the final norm over the last stage only."""
    network = tiny().eval()
    images = torch.randn(2, 3, 64, 64)
    seen = []
    for stage in range(1, 5):
        for block in list(getattr(network, f"layer{stage}"))[2::2]:
            block.register_forward_hook(lambda module, args, out: seen.append(out))
    found = network.last_blocks(images, 3)
    parts = [seen[2][:, 0], network.norm3(seen[3]).mean(1), network.norm3(seen[4]).mean(1)]
    torch.testing.assert_close(found, torch.cat(parts, dim=1))
    torch.testing.assert_close(view_and_map(network, images)[0], parts[2])
    with pytest.raises(ValueError, match=r"\[1, 5\], got 6"):
        network.last_blocks(images, 6)


def test_values_view_is_the_global_token_where_there_is_one():
    network = tiny(num_global_tokens=(1, 1, 1, 1)).eval()
    images = torch.randn(2, 3, 64, 64)
    seen = []
    network.layer4[-1].register_forward_hook(lambda module, args, out: seen.append(out))
    view, regions = network.view_and_map(images)
    torch.testing.assert_close(view, network.norm3(seen[0])[:, 0])
    assert regions.shape == (2, 16, 2, 2)
    assert torch.equal(regions, network(images)[0])


def test_values_last_attention():
    network = tiny().eval()
    found = network.last_attention(torch.randn(2, 3, 64, 64))
    assert found.shape == (2, 2, 4, 4)
    torch.testing.assert_close(found.sum(-1), torch.ones(2, 2, 4))
    with pytest.raises(ValueError, match="Stage 1 of this ViL is sparse"):
        tiny(out_indices=(1,)).last_attention(torch.randn(1, 3, 64, 64))


def test_values_of_the_initialisation():
    network = tiny()
    block = network.layer1[1].attn
    for one in (network.layer1[0].cls_token, block.g2l_relative_position_bias):
        assert one.any() and one.abs().max() < 0.1
    assert block.local_relative_position_bias_table.std().item() == pytest.approx(0.02, rel=0.2)
    assert not network.layer4[1].attn.qkv.bias.any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(out_indices=(3, 1)), "ascending"),
        (dict(sparse=(True,)), "'sparse': 1"),
        (dict(num_heads=(3, 1, 1, 1)), "3 heads do not divide 4"),
        (dict(num_heads=(1, 1, 1, 3)), "3 heads do not divide 16"),
        (dict(window_sizes=(0, 7, 7, 7)), "at least 1 position, got 0"),
        (dict(pretrain_img_size=31), "stage 3 .* at least 32, got 31"),
        (dict(pretrain_img_size=15, out_indices=(2,)), "stage 2 .* at least 16, got 15"),
    ],
)
def test_raises(options, words):
    with pytest.raises(ValueError, match=words):
        tiny(**options)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((31, 64), "at least 32 x 32 pixels, got 31 x 64"),
        ((64, 96), "got 64 x 96 pixels. Resize or crop to 64 x 64 or 96 x 96"),
        ((100, 70), "got 100 x 70 pixels. Resize or crop to 64 x 64 or 96 x 96"),
        ((80, 64), "got 80 x 64 pixels. Resize or crop to 64 x 64 or 96 x 96"),
    ],
)
def test_raises_on_sizes(size, words):
    network = tiny()
    for function in (network, network.view_and_map, lambda one: network.last_blocks(one, 2)):
        with pytest.raises(ValueError, match=words):
            function(torch.zeros(1, 3, *size))


def test_equivalence_what_fills_no_patch_is_cut_off():
    """At the end of each stage's input, as the official code does it."""
    network = tiny(out_indices=(0, 1, 3)).eval()
    images = torch.randn(1, 3, 83, 82)
    maps, cut = network(images), network(images[..., :80, :80])
    assert [tuple(one.shape[2:]) for one in maps] == [(20, 20), (10, 10), (2, 2)]
    assert all(torch.equal(one, other) for one, other in zip(maps, cut, strict=True))
    images[..., 64:, :] = 0  # stage 2 sees 80 pixels, stage 3 sees 64 of them
    assert not torch.equal(network(images)[2], maps[2])
