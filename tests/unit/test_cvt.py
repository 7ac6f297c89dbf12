"""CvT: any size, windows and padding, the scale of its attention, what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmssl.models.backbones import CvT
from mmssl.models.layers.conv_window_attention import ConvWindowAttention


def tiny(**options) -> CvT:
    torch.manual_seed(0)
    defaults = dict(depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), drop_path_rate=0.0)
    network = CvT((4, 8, 16, 16), **{**defaults, **options})
    network.init_weights()
    return network


@pytest.mark.parametrize("size", [(224, 224), (96, 96), (50, 77), (7, 33), (3, 3)])
def test_shapes_of_any_size(size):
    network = tiny(out_indices=(1, 3)).eval()
    maps = network(torch.randn(2, 3, *size))
    assert network.out_channels == [8, 16] and network.strides == [8, 32]
    sides = [(side - 3) // 4 + 1 for side in size]  # 7x7, stride 4, padding 2
    for one, channels, halvings in zip(maps, (8, 16), (1, 3), strict=True):
        assert one.shape == (2, channels, *(-(-side // 2**halvings) for side in sides))
        assert one.isfinite().all()


def alone(channels: int, heads: int, window: int) -> ConvWindowAttention:
    """Queries and keys are the map itself, values too: convolution and norm pass it on."""
    layer = ConvWindowAttention(channels, heads, window=window).eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.qkv.dw.weight[:, 0, 1, 1] = 1
        layer.qkv.bn.weight.fill_((1 + layer.qkv.bn.eps) ** 0.5)
        layer.qkv.pw.weight.copy_(torch.eye(channels).repeat(3, 1)[..., None, None])
        layer.proj.weight.copy_(torch.eye(channels)[..., None, None])
    return layer


def test_values_scale_is_that_of_all_channels():
    """Two heads of two channels: logits are divided by sqrt(4), not by sqrt(2)."""
    layer = alone(4, 2, 2).double()
    x = torch.randn(1, 4, 1, 2, dtype=torch.double)  # a window of one row, cut to one position
    assert torch.allclose(layer(x), x)
    x = torch.randn(1, 4, 2, 2, dtype=torch.double)
    tokens = x.flatten(2).transpose(1, 2)[0]
    for head in (slice(0, 2), slice(2, 4)):
        weights = (tokens[:, head] @ tokens[:, head].T / 2).softmax(-1)
        expected = (weights @ tokens[:, head]).T.view(2, 2, 2)
        torch.testing.assert_close(layer(x)[0, head], expected)


def test_values_padding_takes_part():
    """3 columns in windows of 2 x 2: the last window holds two positions of the map and two zeros."""
    layer = alone(1, 1, 2).double()
    x = torch.zeros(1, 1, 2, 3, dtype=torch.double)
    x[..., 2] = 2.0
    weight = torch.tensor(4.0, dtype=torch.double).exp()  # logits 2 * 2 and 2 * 0
    expected = (2 * weight * 2) / (2 * weight + 2)
    torch.testing.assert_close(layer(x)[0, 0, :, 2], expected.expand(2))
    assert not layer(x)[..., :2].any()


def test_values_windows_are_apart():
    """Without the convolution's neighbours a position moves its own window only."""
    layer = alone(2, 1, 2).double()
    x = torch.randn(1, 2, 4, 4, dtype=torch.double)
    moved = x.clone()
    moved[..., 3, 0] += 1.0
    changed = (layer(moved) - layer(x)).abs().sum(1)[0] > 1e-12
    assert changed.nonzero().tolist() == [[2, 0], [2, 1], [3, 0], [3, 1]]


def test_equivalence_attention_of_sdpa_and_formula():
    torch.manual_seed(0)
    layer = ConvWindowAttention(8, 2, window=3).double()
    x = torch.randn(2, 8, 5, 4, dtype=torch.double)
    *_, v, (rows, columns, side) = layer._queries_keys_values(x)
    probabilities = layer.attention(x)
    assert probabilities.shape == (2 * rows * columns, 2, side**2, side**2)
    out = (probabilities @ v).view(2, rows, columns, 2, side, side, 4)
    out = out.permute(0, 3, 6, 1, 4, 2, 5).reshape(2, 8, rows * side, columns * side)
    torch.testing.assert_close(layer(x), layer.proj(out[..., :5, :4]))


def test_gradcheck():
    torch.manual_seed(0)
    layer = ConvWindowAttention(2, 1, window=2).double().eval()
    x = torch.randn(1, 2, 3, 2, dtype=torch.double, requires_grad=True)
    torch.autograd.gradcheck(layer, x)


def test_values_last_blocks_norm_the_last_stage_only():
    network = tiny(depths=(1, 1, 1, 2)).eval()
    images = torch.randn(2, 3, 64, 64)
    seen = []
    for stage in network.stages:
        for block in stage.blocks:
            block.register_forward_hook(lambda module, args, out: seen.append(out))
    found = network.last_blocks(images, 3)
    parts = [seen[2], network.norm3(seen[3]), network.norm3(seen[4])]
    torch.testing.assert_close(found, torch.cat([one.mean((2, 3)) for one in parts], dim=1))
    torch.testing.assert_close(found[:, -16:], network(images)[0].mean((2, 3)))
    with pytest.raises(ValueError, match=r"\[1, 5\], got 6"):
        network.last_blocks(images, 6)


def test_values_last_attention_is_that_of_the_last_block():
    network = tiny(depths=(1, 1, 1, 2)).eval()
    images = torch.randn(1, 3, 64, 64)
    seen = []
    last = network.stages[3].blocks[1]
    last.attn.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    network(images)
    assert torch.equal(network.last_attention(images), last.attn.attention(seen[0]))


def test_state_norm_cfg_and_stages_behind_the_last_map():
    network = tiny(out_indices=(1,), norm_cfg=dict(type="SyncBN"))
    assert len(network.stages) == 2
    assert isinstance(network.stages[0].blocks[0].attn.qkv.bn, nn.SyncBatchNorm)


def test_values_of_the_initialisation():
    network = tiny()
    weight = network.stages[3].embed.proj.weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not network.stages[3].embed.proj.bias.any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(out_indices=(3, 1)), "ascending"),
        (dict(out_indices=(4,)), "below 4"),
        (dict(num_heads=(1, 2)), "'num_heads': 2"),
        (dict(num_heads=(3, 1, 1, 1)), "3 heads do not divide 4"),
        (dict(window_sizes=(0, 7, 7, 7)), "at least 1 position, got 0"),
    ],
)
def test_raises(options, words):
    with pytest.raises(ValueError, match=words):
        tiny(**options)


def test_raises_on_images_below_the_kernel():
    with pytest.raises(ValueError, match=r"at least 3 x 3 pixels, got \(2, 9\)"):
        tiny()(torch.zeros(1, 3, 2, 9))
