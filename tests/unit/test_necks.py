"""Projectors, predictors, pooling, the linear classifier and norm layers."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import nn

from mmssl.models.heads import JigsawHead, LinearHead, MLPPredictor, PrototypesHead
from mmssl.models.layers import norm_layer
from mmssl.models.necks import AvgPool, ConvMLPNeck, MLPNeck


def test_values_mlp_is_linear_norm_relu_linear():
    torch.manual_seed(0)
    neck = MLPNeck(5, 7, 3, norm_cfg=dict(type="BN")).train()
    feats = torch.randn(6, 5)
    hidden = neck.layers[0](feats)
    hidden = (hidden - hidden.mean(0)) / (hidden.var(0, correction=0) + 1e-5).sqrt()
    expected = hidden.clamp(min=0) @ neck.layers[3].weight.T + neck.layers[3].bias
    torch.testing.assert_close(neck(feats), expected)


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        (dict(norm_cfg=dict(type="BN1d")), ["Linear", "BatchNorm1d", "ReLU", "Linear"]),
        (dict(), ["Linear", "ReLU", "Linear"]),
        (dict(num_layers=1), ["Linear"]),
        (
            dict(
                num_layers=3, norm_cfg=dict(type="LN"), last_norm_cfg=dict(type="BN", affine=False)
            ),
            ["Linear", "LayerNorm", "ReLU"] * 2 + ["Linear", "BatchNorm1d"],
        ),
    ],
)
def test_values_mlp_options(options, kinds):
    predictor = MLPPredictor(4, 6, 4, bias=False, last_bias=False, **options)
    assert [type(layer).__name__ for layer in predictor.layers] == kinds
    assert all(layer.bias is None for layer in predictor.layers if isinstance(layer, nn.Linear))
    assert predictor(torch.randn(3, 4)).shape == (3, 4)


def test_raises_single_image_with_batch_norm_in_train_mode():
    neck = MLPNeck(5, 7, 3, norm_cfg=dict(type="BN"))
    with pytest.raises(ValueError, match="batch of one image"):
        neck(torch.randn(1, 5))
    assert neck.eval()(torch.randn(1, 5)).shape == (1, 3)
    with pytest.raises(ValueError, match="num_layers"):
        MLPNeck(5, num_layers=0)


def test_values_avg_pool_takes_the_last_map():
    maps = torch.arange(8.0).reshape(1, 2, 2, 2)
    torch.testing.assert_close(AvgPool()(maps), torch.tensor([[1.5, 5.5]]))
    torch.testing.assert_close(AvgPool()((torch.zeros(1, 3, 4, 4), maps)), AvgPool()(maps))


def test_values_linear_head_initialisation_and_norm():
    torch.manual_seed(0)
    head = LinearHead(64, 100, norm=True)
    assert head.fc.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert head.fc.bias.abs().max() == 0
    logits = head.train()(torch.randn(50, 64))
    torch.testing.assert_close(logits.mean(0), torch.zeros(100), atol=1e-5, rtol=0)
    plain = LinearHead(4, 2)
    assert isinstance(plain.norm, nn.Identity) and isinstance(plain.input_norm, nn.Identity)


def test_values_linear_head_norm_of_the_features():
    torch.manual_seed(0)
    head = LinearHead(3, 2, input_norm_cfg=dict(type="BN", affine=False)).train()
    feats = 5 + 2 * torch.randn(40, 3)
    centred = feats - feats.mean(0)
    expected = head.fc(centred / (centred.square().mean(0) + 1e-5).sqrt())
    torch.testing.assert_close(head(feats), expected)
    assert {name for name, _ in head.named_parameters()} == {"fc.weight", "fc.bias"}


def test_raises_norm_layer():
    with pytest.raises(ValueError, match="for vectors"):
        norm_layer(dict(type="BN2d"), 4, maps=False)
    with pytest.raises(ValueError, match="num_groups"):
        norm_layer(dict(type="GN"), 4, maps=True)
    frozen = norm_layer(dict(type="BN", requires_grad=False), 4, maps=True)
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


def test_values_last_norm_of_a_map_projector_takes_away_what_cells_share():
    torch.manual_seed(0)
    neck = ConvMLPNeck(
        6, 8, 4, norm_cfg=dict(type="BN"), last_norm_cfg=dict(type="BN", affine=False)
    )
    cells = neck(torch.randn(3, 6, 2, 5)).transpose(0, 1).flatten(1)
    torch.testing.assert_close(cells.mean(dim=1), torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(cells.var(dim=1, correction=0), torch.ones(4), atol=1e-2, rtol=0)


def test_state_a_frozen_bias_is_there_and_never_trained():
    neck = MLPNeck(4, 6, 3, bias=False, last_bias="frozen")
    last = neck.layers[-1]
    assert last.bias is not None and not last.bias.requires_grad and last.weight.requires_grad
    with pytest.raises(ValueError, match="last_bias must be True, False or 'frozen'"):
        MLPNeck(4, 6, 3, last_bias="fixed")


def test_values_jigsaw_head_by_hand_and_in_any_order():
    """With equal patches the order is no matter; else it is drawn anew for each image."""
    torch.manual_seed(0)
    head = JigsawHead(4, 6, 3, num_patches=5).double()
    same = torch.randn(2, 1, 4, dtype=torch.float64).expand(-1, 5, -1)
    by_hand = head.fc2(head.fc1(same[:, 0]).repeat(1, 5))
    torch.testing.assert_close(head(same), by_hand)
    image = torch.randn(1, 5, 4, dtype=torch.float64)
    outputs = head(image.repeat(64, 1, 1))
    assert len({tuple(row) for row in outputs.round(decimals=9).tolist()}) > 20
    patches = head.fc1(image[0])
    orders = [patches[list(order)].flatten() for order in permutations(range(5))]
    possible = head.fc2(torch.stack(orders))
    assert torch.cdist(outputs, possible).min(dim=1).values.max() < 1e-6
    with pytest.raises(ValueError, match=r"embeds 5 patches of an image, got .*\(2, 4, 4\)"):
        head(torch.zeros(2, 4, 4))


def test_values_prototypes_are_brought_to_length_one():
    head = PrototypesHead(3, 4)
    head.normalize()
    torch.testing.assert_close(head.prototypes.weight.norm(dim=1), torch.ones(4))
    embeds = torch.randn(2, 5, 3)
    with torch.autocast("cpu", torch.bfloat16):
        scores = head(embeds)
    assert scores.dtype == torch.float32 and scores.shape == (2, 5, 4)
    torch.testing.assert_close(scores, embeds @ head.prototypes.weight.T)
    with pytest.raises(ValueError, match="num_prototypes >= 2"):
        PrototypesHead(3, 1)
