"""CoT and CoXt layers, SE-conv and windowed self-attention: formulas, options, gradients, small batches."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmssl.models.layers import CoTLayer, CoXtLayer, SEConv, WindowedSelfAttention
from mmssl.models.layers.context_fusion import ContextFusion
from mmssl.models.layers.pooled_norm import check_pooled_norm
from mmssl.registry import MODELS

LAYERS = {
    "cot": lambda **options: CoTLayer(16, **options),
    "coxt": lambda **options: CoXtLayer(16, **options),
    "se": lambda **options: SEConv(16, **options),
    "sasa": lambda **options: WindowedSelfAttention(16, **options),
}
layers = pytest.mark.parametrize("name", LAYERS)


def shaken(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in float64 with statistics and affine norms that are not 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    for key, value in module.double().state_dict().items():
        if not key.endswith("num_batches_tracked"):
            noise = torch.rand(value.shape, generator=generator, dtype=value.dtype)
            value.copy_(noise + 0.5 if key.endswith("running_var") else value + 0.3 * (noise - 0.5))
    return module


def maps(batch: int = 3, channels: int = 16, height: int = 5, width: int = 7) -> torch.Tensor:
    """Random float64 maps."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, channels, height, width, generator=generator, dtype=torch.float64)


def unfolded(x: torch.Tensor, weight: torch.Tensor, kernel: int, dilation: int) -> torch.Tensor:
    """The aggregation of interleaved weights (N, Cw, k * k, H, W), by unfolding."""
    num, channels, height, width = x.shape
    padding = dilation * (kernel - 1) // 2
    windows = F.unfold(x, kernel, dilation=dilation, padding=padding)
    windows = windows.view(num, channels, kernel**2, height, width)
    repeats = channels // weight.shape[1]
    return (windows * weight.repeat(1, repeats, 1, 1, 1)).sum(2)


@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (5, 1), (3, 2)])
def test_values_cot_by_its_formula(kernel, dilation):
    layer = shaken(CoTLayer(16, kernel, dilation=dilation)).eval()
    x = maps()
    keys = layer.key_embed(x)
    assert layer.key_embed[0].groups == 4
    predicted = layer.embed(torch.cat([x, keys], dim=1)).view(3, 2, kernel**2, 5, 7)
    dynamic = F.silu(layer.bn(unfolded(layer.conv1x1(x), predicted, kernel, dilation)))
    pooled = (dynamic + keys).mean((2, 3), keepdim=True)
    logits = layer.se[3](F.relu(layer.se[1](layer.se[0](pooled)))).view(3, 16, 2)
    share = logits.softmax(2)[..., 0].view(3, 16, 1, 1)
    torch.testing.assert_close(layer(x), share * dynamic + (1 - share) * keys)


def test_values_coxt_is_the_authors_form_with_groups_on_the_batch_axis():
    layer = shaken(CoXtLayer(32)).eval()
    x = maps(channels=32)
    keys = layer.key_embed(x)
    assert layer.key_embed[0].groups == 8
    joined = torch.cat([x.unsqueeze(2), keys.unsqueeze(2)], dim=2).view(3, 64, 5, 7)
    predicted = layer.embed(joined).view(3 * 2, 2, 9, 5, 7)
    mixed = unfolded(layer.conv1x1(x).view(3 * 2, 16, 5, 7), predicted, 3, 1).view(3, 32, 5, 7)
    dynamic = F.silu(layer.bn(mixed))
    torch.testing.assert_close(layer(x), layer.se(dynamic, keys))


def test_values_one_norm_group_per_weight():
    layer = CoTLayer(64, gn_cfg=dict(eps=0.25))
    norm = layer.embed[4]
    assert (norm.num_groups, norm.num_channels, norm.eps) == (8, 72, 0.25)
    assert CoXtLayer(64).embed[4].num_groups == 8


def test_values_gate_is_channel_major():
    """The two logits of a channel are neighbours."""
    fusion = ContextFusion(4, norm_cfg=dict(type="BN")).double().eval()
    nn.init.zeros_(fusion[3].weight)
    fusion[3].bias.data = torch.tensor([50.0, 0, 0, 50, 50, 0, 0, 50], dtype=torch.float64)
    dynamic, static = maps(channels=4), -maps(channels=4)
    expected = torch.stack([dynamic[:, 0], static[:, 1], dynamic[:, 2], static[:, 3]], dim=1)
    torch.testing.assert_close(fusion(dynamic, static), expected)


@pytest.mark.parametrize("kind", [CoTLayer, CoXtLayer])
def test_equivalence_fusions_share_their_parts(kind):
    full = shaken(kind(32)).eval()
    results = {}
    for fusion in ("sum", "dynamic", "static"):
        layer = kind(32, fusion=fusion).double().eval()
        state = {k: v for k, v in full.state_dict().items() if k in layer.state_dict()}
        layer.load_state_dict(state)
        results[fusion] = layer(maps(channels=32))
    torch.testing.assert_close(results["sum"], results["dynamic"] + results["static"])
    torch.testing.assert_close(
        full(maps(channels=32)), full.se(results["dynamic"], results["static"])
    )


@pytest.mark.parametrize(
    ("fusion", "parts"),
    [
        ("se", {"key_embed", "embed", "conv1x1", "bn", "se"}),
        ("sum", {"key_embed", "embed", "conv1x1", "bn"}),
        ("dynamic", {"key_embed", "embed", "conv1x1", "bn"}),
        ("static", {"key_embed"}),
    ],
)
def test_state_fusions_have_no_idle_parts(fusion, parts):
    layer = CoTLayer(16, fusion=fusion)
    assert {key.split(".")[0] for key in layer.state_dict()} == parts
    layer(torch.randn(3, 16, 5, 7)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())


@pytest.mark.parametrize(
    ("dim", "parameters"), [(64, 26744), (128, 105200), (256, 417248), (512, 1661888)]
)
def test_state_parameters_of_cot(dim, parameters):
    assert sum(p.numel() for p in CoTLayer(dim).parameters()) == parameters


def test_state_parameters_of_coxt():
    assert sum(p.numel() for p in CoXtLayer(96).parameters()) == 37332


@layers
def test_gradcheck(name):
    layer = shaken(LAYERS[name]()).eval()
    x = maps(1, height=3, width=2).requires_grad_()
    weights = [p for p in layer.parameters() if p.ndim == 4][:2]
    assert torch.autograd.gradcheck(lambda x, *weights: layer(x), (x, *weights), fast_mode=True)


@pytest.mark.parametrize("key_kernel", [1, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_values_self_attention_pixel_by_pixel(key_kernel, dilation):
    layer = shaken(WindowedSelfAttention(16, key_kernel_size=key_kernel, dilation=dilation)).eval()
    x = maps(1, height=4, width=3)
    q, k, v = layer.conv_q(x)[0], layer.conv_k(x)[0], layer.conv_v(x)[0]
    positions = layer.pos_h + layer.pos_w
    mixed = torch.zeros_like(v)
    for row in range(4):
        for column in range(3):
            logits = torch.zeros(2, 9, dtype=torch.float64)
            values = torch.zeros(16, 9, dtype=torch.float64)
            for tap in range(9):
                place = (row + dilation * (tap // 3 - 1), column + dilation * (tap % 3 - 1))
                key = positions[:, tap // 3, tap % 3].clone()
                if 0 <= place[0] < 4 and 0 <= place[1] < 3:
                    key += k[:, place[0], place[1]]
                    values[:, tap] = v[:, place[0], place[1]]
                logits[:, tap] = (q[:, row, column] * key).view(2, 8).sum(1)
            # value channel c has the head c mod 2
            mixed[:, row, column] = (values * logits.softmax(1).repeat(8, 1)).sum(1)
    torch.testing.assert_close(layer(x), F.relu(layer.bn(mixed[None])))


@layers
def test_equivalence_channels_last(name):
    layer = shaken(LAYERS[name]()).eval()
    x = maps()
    torch.testing.assert_close(layer(x.contiguous(memory_format=torch.channels_last)), layer(x))


@layers
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (2, 3)])
def test_shapes_small_maps(name, size):
    layer = LAYERS[name]().eval()
    assert layer(torch.randn(2, 16, *size)).shape == (2, 16, *size)


def test_shapes_strided_and_dilated_se_conv():
    assert SEConv(16, stride=2)(torch.randn(3, 16, 5, 8)).shape == (3, 16, 3, 4)
    assert SEConv(16, dilation=2)(torch.randn(3, 16, 5, 8)).shape == (3, 16, 5, 8)
    assert SEConv(16).fc1.out_channels == 32
    assert SEConv(256).fc1.out_channels == 64


@pytest.mark.parametrize("norm", ["BN", "SyncBN"])
@pytest.mark.parametrize("name", ["cot", "coxt", "se"])
def test_raises_one_image_in_training(name, norm):
    layer = LAYERS[name](norm_cfg=dict(type=norm))
    with pytest.raises(ValueError, match=r"at least 2 images and got 1.*norm_eval=True"):
        layer(torch.randn(1, 16, 5, 7))
    assert layer.eval()(torch.randn(1, 16, 5, 7)).isfinite().all()


@pytest.mark.parametrize("name", ["cot", "coxt", "se"])
def test_state_two_images_warn_and_more_do_not(name):
    layer = LAYERS[name]()
    with pytest.warns(UserWarning, match=r"sees 2 images.*norm_eval=True"):
        layer(torch.randn(2, 16, 5, 7))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(torch.randn(3, 16, 5, 7))
        layer.eval()(torch.randn(2, 16, 5, 7))


def test_values_one_image_without_a_pooled_norm():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for fusion in ("sum", "dynamic", "static"):
            assert CoTLayer(16, fusion=fusion)(torch.randn(1, 16, 5, 7)).isfinite().all()
        groups = dict(type="GN", num_groups=4)
        assert CoTLayer(16, norm_cfg=groups)(torch.randn(1, 16, 5, 7)).isfinite().all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CoTLayer(20), "share times inner_groups to divide"),
        (lambda: CoTLayer(24, key_groups=5), "key_groups to divide"),
        (lambda: CoXtLayer(24), "got 16"),
        (lambda: CoTLayer(16, 4), "kernel_size must be odd"),
        (lambda: SEConv(16, 4), "kernel_size must be odd.*got 4"),
        (lambda: CoTLayer(16, fusion="mean"), "one of se, sum, dynamic, static, got 'mean'"),
        (lambda: WindowedSelfAttention(20), "head_dim=8 must divide the 20"),
        (lambda: WindowedSelfAttention(16, 4), "odd, got 4 and 1"),
    ],
)
def test_raises_for_sizes_that_do_not_fit(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_state_layers_are_registered():
    for name in ("CoTLayer", "CoXtLayer", "WindowedSelfAttention"):
        layer = MODELS.build(dict(type=f"mmssl.{name}", dim=16))
        assert layer.eval()(torch.randn(1, 16, 3, 3)).any()


def test_values_images_of_other_processes_count(monkeypatch):
    """A SyncBatchNorm of one image on each of several processes has enough."""
    norm = nn.SyncBatchNorm(4)
    monkeypatch.setattr("mmssl.models.layers.pooled_norm.world_size", lambda: 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_pooled_norm(norm, torch.zeros(1, 4, 1, 1))
    with pytest.raises(ValueError, match="at least 2 images"):
        check_pooled_norm(nn.BatchNorm2d(4), torch.zeros(1, 4, 1, 1))


@pytest.mark.parametrize("fusion", ["se", "sum", "dynamic", "static"])
def test_values_every_fusion_learns(fusion):
    """Stripes that lie or stand, in noise, are told apart after some steps."""
    torch.manual_seed(0)
    direction = torch.arange(16) % 2
    stripes = torch.sin(torch.arange(8.0) * 3.0 + torch.rand(16, 1) * 6)
    images = torch.where(
        direction[:, None, None] == 0,
        stripes[:, :, None].expand(16, 8, 8),
        stripes[:, None, :].expand(16, 8, 8),
    )
    images = images[:, None] + 0.2 * torch.randn(16, 1, 8, 8)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 1), CoTLayer(16, fusion=fusion), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, 2),
    )  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        loss = F.cross_entropy(network(images), direction)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
