"""Bottleneck attention, its position encodings, blocks and stacks against a readable reference."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mmssl.models.layers import AttentionBlock, BottleneckAttention, position_encoding
from mmssl.models.necks import AttentionStack

KINDS = ["absolute", "relative", "sincos", "none"]
kinds = pytest.mark.parametrize("pos_enc", KINDS)


def reference(module: BottleneckAttention, feats: torch.Tensor, pos_enc: str) -> torch.Tensor:
    """The formula with loops over images, heads, queries and keys."""
    batch, _, height, width = feats.shape
    size, heads, dim = height * width, module.num_heads, module.head_dim
    qkv = module.qkv(feats).reshape(batch, 3, heads, dim, size)
    out = torch.zeros(batch, heads, dim, size, dtype=feats.dtype)
    position = module.position
    for b in range(batch):
        for h in range(heads):
            q, k, v = qkv[b, 0, h] * dim**-0.5, qkv[b, 1, h], qkv[b, 2, h]
            for i in range(size):
                yi, xi = divmod(i, width)
                scores = []
                for j in range(size):
                    yj, xj = divmod(j, width)
                    score = q[:, i] @ k[:, j]
                    if pos_enc == "absolute":
                        score = score + q[:, i] @ (position.height[yj] + position.width[xj])
                    elif pos_enc == "relative":
                        score = score + q[:, i] @ position.rel_height[yj - yi + height - 1]
                        score = score + q[:, i] @ position.rel_width[xj - xi + width - 1]
                    elif pos_enc == "sincos":
                        score = score + q[:, i] @ position.encoding[j]
                    scores.append(score)
                out[b, h, :, i] = v @ torch.stack(scores).softmax(0)
    return out.reshape(batch, heads * dim, height, width)


@kinds
def test_values_against_the_formula(pos_enc):
    torch.manual_seed(0)
    module = BottleneckAttention(5, (3, 4), num_heads=2, head_dim=4, pos_enc=pos_enc).double()
    feats = torch.randn(2, 5, 3, 4, dtype=torch.double)
    torch.testing.assert_close(module(feats), reference(module, feats, pos_enc))
    weights = module.attention_map(feats)
    torch.testing.assert_close(weights.sum(3), torch.ones(2, 2, 12, dtype=torch.double))
    values = module._queries_keys_values(feats)[2]
    from_map = (weights @ values).transpose(2, 3).reshape(2, 8, 3, 4)
    torch.testing.assert_close(module(feats), from_map)


@kinds
def test_gradcheck(pos_enc):
    torch.manual_seed(0)
    module = BottleneckAttention(3, (2, 3), num_heads=2, head_dim=4, pos_enc=pos_enc).double()
    feats = torch.randn(1, 3, 2, 3, dtype=torch.double, requires_grad=True)
    parameters = tuple(module.parameters())
    assert torch.autograd.gradcheck(lambda *_: module(feats), (feats, *parameters))


@kinds
def test_equivalence_memory_formats(pos_enc):
    torch.manual_seed(0)
    block = AttentionBlock(8, 16, (4, 6), num_heads=2, head_dim=4, downsample=True, pos_enc=pos_enc)
    feats = torch.randn(3, 8, 4, 6)
    expected = block.eval()(feats)
    block.to(memory_format=torch.channels_last)
    torch.testing.assert_close(block(feats.to(memory_format=torch.channels_last)), expected)


def test_values_sincos_table():
    encoding = position_encoding("sincos", (3, 5), 8).encoding
    y, x = 2, 3
    frequencies = [1.0, 10000 ** (-1 / 2)]
    expected = [wave(y * f) for wave in (math.sin, math.cos) for f in frequencies]
    expected += [wave(x * f) for wave in (math.sin, math.cos) for f in frequencies]
    torch.testing.assert_close(encoding[y * 5 + x], torch.tensor(expected))
    assert not position_encoding("sincos", (3, 5), 8).state_dict()


def test_values_translation_moves_relative_logits_along():
    """A relative encoding of constant queries depends on the offset alone, key minus query."""
    position = position_encoding("relative", (3, 4), 4)
    logits = (
        position.logits(torch.ones(1, 1, 12, 4))[0, 0].unflatten(0, (3, 4)).unflatten(2, (3, 4))
    )
    torch.testing.assert_close(logits[0, 0, 1, 1], logits[1, 2, 2, 3])
    expected = (position.rel_height[2 + 1] + position.rel_width[3 + 2]).sum()
    torch.testing.assert_close(logits[0, 0, 1, 2], expected)
    assert not torch.allclose(logits[0, 0, 1, 1], logits[1, 1, 0, 0])


def test_values_initialisation():
    torch.manual_seed(0)
    stack = AttentionStack(256, 512, fmap_size=14, num_blocks=2, num_heads=4, head_dim=64)
    for name, parameter in stack.named_parameters():
        if "position" in name:
            assert parameter.std().item() == pytest.approx(64**-0.5, rel=0.1), name
        elif parameter.ndim == 4:
            fan_out = parameter.shape[0] * parameter.shape[2] * parameter.shape[3]
            assert parameter.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05), name
        else:
            assert (parameter == (1.0 if name.endswith("weight") else 0.0)).all(), name
    zeroed = AttentionStack(8, 16, fmap_size=4, num_blocks=2, zero_init_last_gamma=True)
    assert all((block.norm3.weight == 0).all() for block in zeroed.blocks)


@kinds
@pytest.mark.parametrize(("fmap_size", "out"), [((4, 6), (2, 3)), (2, (1, 1)), ((6, 2), (3, 1))])
def test_shapes_stack(pos_enc, fmap_size, out):
    stack = AttentionStack(
        8, 16, fmap_size=fmap_size, num_blocks=3, num_heads=1, head_dim=4, pos_enc=pos_enc
    )
    height, width = stack.fmap_size
    assert stack(torch.randn(2, 8, height, width)).shape == (2, 16, *out)
    assert [tuple(block.attention.fmap_size) for block in stack.blocks] == [
        (height, width),
        out,
        out,
    ]


def test_shapes_odd_maps_in_ceil_mode():
    stack = AttentionStack(8, 16, fmap_size=(7, 5), num_blocks=2, head_dim=4, ceil_mode=True)
    assert stack(torch.randn(2, 8, 7, 5)).shape == (2, 16, 4, 3)


def test_shapes_official_parameter_counts():
    """32.81 million parameters with absolute tables, 32.82 with relative ones."""
    with torch.device("meta"):
        counts = {
            kind: sum(p.numel() for p in AttentionStack(pos_enc=kind).parameters())
            for kind in ("absolute", "relative")
        }
    assert round(counts["absolute"] / 1e6, 2) == 32.81
    rows = (14 + 4 * 7) * 2  # of both tables of all blocks; a relative one has 2 n - 1
    assert counts["relative"] - counts["absolute"] == 128 * (rows - 2 * 5)


def test_shapes_other_norms():
    stack = AttentionStack(
        8, 16, fmap_size=4, num_blocks=1, head_dim=4, norm_cfg=dict(type="GN", num_groups=2)
    )
    assert isinstance(stack.blocks[0].norm1, nn.GroupNorm)
    single = stack(torch.randn(1, 8, 4, 4))
    assert single.shape == (1, 16, 2, 2)


def test_raises():
    with pytest.raises(ValueError, match="even maps"):
        AttentionStack(8, 16, fmap_size=7)
    with pytest.raises(ValueError, match="num_blocks"):
        AttentionStack(8, 16, num_blocks=0)
    with pytest.raises(ValueError, match="pos_enc"):
        AttentionStack(8, 16, fmap_size=4, pos_enc="rotary")
    with pytest.raises(ValueError, match="multiple of 4"):
        AttentionStack(8, 16, fmap_size=4, head_dim=6, pos_enc="sincos")
    with pytest.raises(ValueError, match="proj_factor"):
        AttentionStack(8, 16, fmap_size=4, proj_factor=3)
    stack = AttentionStack(8, 16, fmap_size=4, num_blocks=1, head_dim=4)
    with pytest.raises(ValueError, match="fmap_size to the crop size"):
        stack(torch.randn(2, 8, 6, 6))
    with pytest.raises(ValueError, match="8 channels"):
        stack(torch.randn(2, 4, 4, 4))
