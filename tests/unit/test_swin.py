"""Swin: any size, the static rule, what is refused, where gradients go."""

from __future__ import annotations

import pytest
import torch

from mmssl.models.backbones import Swin
from mmssl.models.layers import WindowAttention
from mmssl.models.layers.window_attention import relative_position_index, shift_mask


def tiny(**options) -> Swin:
    torch.manual_seed(0)
    network = Swin(8, depths=(1, 2, 1, 1), num_heads=(1, 1, 2, 2), drop_path_rate=0.0, **options)
    network.init_weights()
    return network


@pytest.mark.parametrize("size", [(224, 224), (96, 96), (50, 77), (7, 33), (1, 1)])
def test_shapes_of_any_size(size):
    network = tiny(out_indices=(1, 3)).eval()
    maps = network(torch.randn(2, 3, *size))
    assert network.out_channels == [16, 64] and network.strides == [8, 32]
    for one, channels, stride in zip(maps, network.out_channels, network.strides, strict=True):
        assert one.shape == (2, channels, *(-(-side // stride) for side in size))
        assert one.isfinite().all()


def test_values_window_and_shift_follow_the_pretraining_size():
    """The table of EsViT at 224 px, windows of 14: no shift where the map is no larger than the window."""
    network = Swin(8, depths=(2, 2, 2, 2), num_heads=(1, 1, 1, 1), window_size=14)
    found = [
        [(block.attn.w_msa.window, block.attn.w_msa.shift) for block in stage.blocks]
        for stage in network.stages
    ]
    assert found == [[(14, 0), (14, 7)], [(14, 0), (14, 7)], [(14, 0), (14, 0)], [(7, 0), (7, 0)]]


def test_values_relative_positions():
    """Window of 2: query 0 (0, 0) to key 3 (1, 1) is (-1, -1), the first row of 9."""
    index = relative_position_index(2)
    assert index[0].tolist() == [4, 3, 1, 0]
    assert index[3].tolist() == [8, 7, 5, 4]


def test_values_one_window_is_cut_in_four():
    mask = shift_mask(4, 4, 4, 2, torch.float32, torch.device("cpu"))
    assert mask.shape == (1, 16, 16)
    first = mask[0, 0].view(4, 4)
    assert (first[:2, :2] == 0).all()
    assert (first == -100).sum() == 12


def test_values_padding_takes_part():
    """A map of one position in a window of 2: three padded keys share the attention with it."""
    layer = WindowAttention(4, 1, 2)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.qkv.bias[8:] = 1.0
        layer.qkv.weight[8:] = torch.eye(4)
        layer.proj.weight.copy_(torch.eye(4))
    out = layer(torch.full((1, 1, 1, 4), 2.0))
    torch.testing.assert_close(out, torch.full((1, 1, 1, 4), (3.0 + 3 * 1.0) / 4))


def test_gradients_reach_every_parameter():
    network = tiny()
    network(torch.randn(2, 3, 224, 224))[0].square().mean().backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None]


def test_equivalence_attention_of_sdpa_and_formula():
    torch.manual_seed(0)
    layer = WindowAttention(8, 2, 3, 1).double()
    with torch.no_grad():
        layer.relative_position_bias_table.normal_()
    x = torch.randn(2, 5, 4, 8, dtype=torch.double)
    q, k, v, padded = layer._queries_keys_values(x)
    probabilities = layer.attention(x)
    out = probabilities.view(*q.shape[:2], 9, 9) @ v
    expected = layer.proj(layer._to_map(out, padded)[:, :5, :4])
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones_like(probabilities[..., 0]))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(out_indices=(3, 1)), "ascending"),
        (dict(out_indices=(4,)), "below 4"),
        (dict(out_indices=()), "below 4"),
        (dict(num_heads=(1, 2)), "'depths': 4, 'num_heads': 2"),
        (dict(num_heads=(5, 1, 1, 1)), "5 heads do not divide 8"),
        (dict(pretrain_img_size=16), "at least 32, got 16"),
        (dict(pretrain_img_size=15, out_indices=(2,)), "at least 16, got 15"),
        (dict(window_size=0), "window_size must be at least 1, got 0"),
    ],
)
def test_raises(options, words):
    with pytest.raises(ValueError, match=words):
        Swin(8, **{"depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1), **options})


def test_shapes_least_pretraining_size():
    network = Swin(8, depths=(2, 2, 2), num_heads=(1, 1, 1), pretrain_img_size=16, out_indices=(2,))
    assert [stage.blocks[1].attn.w_msa.window for stage in network.stages] == [4, 2, 1]
    assert network(torch.randn(1, 3, 40, 16))[0].shape == (1, 32, 3, 1)


def test_raises_more_blocks_than_there_are():
    with pytest.raises(ValueError, match=r"\[1, 5\], got 6"):
        tiny().last_blocks(torch.randn(1, 3, 32, 32), 6)


def test_state_tables_are_ordinary_tensors_wherever_they_were_made() -> None:
    """Index tables and masks are kept; a default device or inference mode must not get into them."""
    options = dict(depths=(2, 2), num_heads=(1, 2), pretrain_img_size=48, out_indices=(1,))
    with torch.device("meta"):
        Swin(8, **options, window_size=3)(torch.empty(1, 3, 48, 48))
    network = Swin(8, **options, window_size=5)
    with torch.inference_mode():
        network(torch.zeros(1, 3, 48, 48))
    for network in (network, Swin(8, **options, window_size=3)):
        maps = network(torch.zeros(1, 3, 48, 48))
        maps[0].sum().backward()
        assert maps[0].device.type == "cpu" and maps[0].isfinite().all()
