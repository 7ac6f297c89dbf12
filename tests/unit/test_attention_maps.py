"""Attention maps: values of the three kinds, and that drawing them leaves the model alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mmssl.models.algorithms.base import BaseAlgorithm
from mmssl.models.layers import BottleneckAttention
from mmssl.models.necks import AttentionStack
from mmssl.visualization.attention_maps import (
    attention_sheet,
    central_crop,
    energy,
    energy_of,
    grad_cam,
    key_attention,
    network_input,
    overlay,
    stream_attention,
    unit_range,
    whole_image,
)


class Blur(nn.Module):
    """Two stages: means over cells of 8 pixels, and over cells of 16 pixels; never negative."""

    out_channels, strides, out_indices = [3, 3], [8, 16], (2, 3)

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, images):
        first = nn.functional.avg_pool2d(self.norm(images), 8).relu()
        return first, nn.functional.avg_pool2d(first, 2)


class Method(BaseAlgorithm):
    def __init__(self, pos_enc: str = "relative") -> None:
        super().__init__(Blur())
        self.t_stream = AttentionStack(
            3, 8, fmap_size=(4, 8), num_blocks=2, num_heads=2, head_dim=4, pos_enc=pos_enc
        )

    def loss(self, views):
        raise NotImplementedError


def picture(top: int, left: int, height: int = 32, width: int = 64) -> np.ndarray:
    """A white square of 16 pixels on black."""
    image = np.zeros((height, width, 3), np.uint8)
    image[top : top + 16, left : left + 16] = 255
    return image


def test_values_energy():
    """By hand: channels (3, 0, 0, 4) and (4, 0, 2, 0); means 3.5, 0, 1, 2; norms 5, 0, 2, 4."""
    features = torch.tensor([[[[3.0, 0], [0, 4]], [[4.0, 0], [2, 0]]]])
    assert torch.allclose(energy(features), torch.tensor([[[3.5, 0], [1, 2]]]) / 3.5)
    assert torch.allclose(energy(features, "norm"), torch.tensor([[[5.0, 0], [2, 4]]]) / 5)
    assert torch.equal(unit_range(torch.full((1, 2, 2), 7.0)), torch.zeros(1, 2, 2))
    with pytest.raises(ValueError, match="'mean' or 'norm'"):
        energy(features, "sum")


def test_values_energy_finds_the_object():
    """The hottest cell is the one of the square, at the stage's own resolution."""
    model = Method()
    maps = energy_of(model, [picture(0, 48), picture(16, 0)])
    assert maps.shape == (2, 2, 4)
    assert maps[0].argmax() == 3 and maps[1].argmax() == 4
    assert energy_of(model, [picture(0, 48)], stage=0).shape == (1, 4, 8)


def test_state_model_is_left_alone():
    """Modes, statistics and gradients are what they were; two calls give the same."""
    torch.manual_seed(0)
    model = Method().train()
    model.t_stream.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random_state = torch.get_rng_state()
    images = [picture(0, 0)]
    first = energy_of(model, images)
    stream_attention(model, images)
    grad_cam(model, nn.Linear(3, 2), images)
    torch.set_rng_state(random_state)
    assert torch.equal(energy_of(model, images), first)
    assert model.backbone.training and not model.t_stream.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_equivalence_grad_cam_of_a_linear_classifier():
    """Pooling and a linear layer make the weights w_c = W[target, c] / (h w)."""
    torch.manual_seed(1)
    model, classifier = Method().eval(), nn.Linear(3, 5)
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (32, 64, 3), dtype=np.uint8) for _ in range(3)]
    features = model.backbone(network_input(model, images))[-1].detach()
    weights = classifier.weight.detach()[[4, 0, 2]] / 8
    expected = unit_range(torch.einsum("nc,nchw->nhw", weights, features).relu())
    assert torch.allclose(grad_cam(model, classifier, images, [4, 0, 2]), expected, atol=1e-6)
    predicted = classifier(features.mean(dim=(2, 3))).argmax(dim=1).tolist()
    assert torch.equal(
        grad_cam(model, classifier, images), grad_cam(model, classifier, images, predicted)
    )


def test_values_key_attention():
    """Query 0 looks at keys 0 and 1 equally, query 1 only at key 0."""
    rows = torch.tensor([[[[0.5, 0.5], [1.0, 0.0]]]])
    assert torch.equal(key_attention(rows, (1, 2)), torch.tensor([[[[0.75, 0.25]]]]))
    with pytest.raises(ValueError, match="6 positions"):
        key_attention(rows, (2, 3))


@pytest.mark.parametrize("pos_enc", ["absolute", "relative", "none"])
def test_equivalence_stream_attention(pos_enc):
    """One map per block and head, summing to 1; the probabilities explain the layer's output."""
    torch.manual_seed(2)
    model = Method(pos_enc).eval()
    images = [picture(0, 48), picture(16, 16)]
    first, second = stream_attention(model, images)
    assert first.shape == (2, 2, 4, 8) and second.shape == (2, 2, 2, 4)
    for maps in (first, second):
        assert torch.allclose(maps.sum(dim=(2, 3)), torch.ones(2, 2), atol=1e-5)
    layer = next(m for m in model.t_stream.modules() if isinstance(m, BottleneckAttention))
    given = torch.randn(2, 2, 4, 8)
    with torch.no_grad():
        values = layer._queries_keys_values(given)[2]
        mixed = layer.attention_map(given) @ values
        expected = mixed.transpose(2, 3).flatten(1, 2).unflatten(2, (4, 8))
        assert torch.allclose(layer(given), expected, atol=1e-5)


def test_values_stream_attention_is_uniform_without_content():
    """Zero queries and keys attend everywhere alike: 1 / 32 in block 0."""
    model = Method("none").eval()
    for module in model.t_stream.modules():
        if isinstance(module, BottleneckAttention):
            nn.init.zeros_(module.qkv.weight)
    first, second = stream_attention(model, [picture(0, 0)])
    assert torch.allclose(first, torch.full_like(first, 1 / 32))
    assert torch.allclose(second, torch.full_like(second, 1 / 8))


def test_raises_without_attention_stream():
    model = Method()
    del model.t_stream
    with pytest.raises(ValueError, match="no attention stream"):
        stream_attention(model, [picture(0, 0)])


def test_values_overlay():
    """alpha 0 shows the image, alpha 1 the colours: blue where cold, red where hot."""
    image = np.full((8, 8, 3), 100, np.uint8)
    heat = np.zeros((2, 2), np.float32)
    heat[0, 1] = 1
    assert np.array_equal(overlay(image, heat, alpha=0.0), image)
    colours = overlay(image, heat, alpha=1.0).astype(int)
    assert colours[0, 7, 0] > 100 + colours[0, 7, 2]
    assert colours[7, 0, 2] > 100 + colours[7, 0, 0]
    half = overlay(image, heat).astype(int)
    assert np.abs(half - (colours + 100) / 2).max() <= 1


def test_values_sheet():
    """One row per source below the images, aspect ratios kept."""
    images = [picture(0, 0), picture(0, 0, 32, 32)]
    maps = [torch.zeros(2, 2), torch.ones(2, 2)]
    sheet = attention_sheet(images, {"without": maps, "with": maps}, cell=32)
    assert sheet.height == 3 * 32 + 2 * 6
    label_width = sheet.width - (64 + 6 + 32)
    pixels = np.asarray(sheet)
    assert np.array_equal(pixels[:32, label_width : label_width + 64], images[0])
    with pytest.raises(ValueError, match="'with' has 1 maps for 2 images"):
        attention_sheet(images, {"with": maps[:1]})


def test_values_image_sizes():
    """The crop takes the centre; the whole image keeps its shape up to the stride."""
    wide = Image.fromarray(picture(8, 24))
    crop = np.asarray(central_crop(wide, 28))
    assert crop.shape == (28, 28, 3)
    assert crop[14, 14].min() > 240 and crop[0, 0].max() < 10
    assert whole_image(wide, 224).size == (448, 224)
    assert whole_image(Image.new("RGB", (100, 75)), 96).size == (128, 96)
