"""SimCLR: NT-Xent, the batch that it takes negatives from, and its projection head."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmssl.losses import nt_xent, view_logits
from mmssl.models.layers import norm_layer
from mmssl.registry import MODELS
from tests.helpers.product_precision import product_precisions
from tests.helpers.tiny import tiny_model, tiny_simclr, tiny_views
from tests.helpers.tolerance import FLOAT64


def unit(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=1)


def by_hand(one: Tensor, two: Tensor, temperature: float) -> Tensor:
    """The article's equation, row by row."""
    rows = torch.cat([one, two])
    losses = []
    for i in range(len(rows)):
        partner = (i + len(one)) % len(rows)
        others = [torch.exp(rows[i] @ rows[j] / temperature) for j in range(len(rows)) if j != i]
        losses.append(-torch.log(torch.exp(rows[i] @ rows[partner] / temperature) / sum(others)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_values_by_hand(temperature: float) -> None:
    one, two = unit(5, 6), unit(5, 6, seed=1)
    for scale in (1.0, 2.0):
        loss = nt_xent(one, two, one, two, temperature=temperature, scale=scale)
        torch.testing.assert_close(loss, scale * by_hand(one, two, temperature), **FLOAT64)


def test_values_known_losses() -> None:
    same = torch.ones(4, 9) / 3
    assert nt_xent(same, same, same, same, temperature=0.3, scale=1.0).item() == pytest.approx(
        math.log(7)
    )
    pairs = torch.eye(8)[:3]
    loss = nt_xent(pairs, pairs, pairs, pairs, temperature=0.5, scale=1.0)
    assert loss.item() == pytest.approx(math.log(1 + 4 * math.exp(-2)), rel=1e-6)
    alone = torch.eye(2)[:1]
    assert nt_xent(alone, -alone, alone, -alone, temperature=0.1).item() == 0.0


def test_equivalence_parts_of_a_batch_have_the_mean_of_the_whole() -> None:
    """Each process's rows against all rows: the mean over processes is the loss of one process."""
    one, two = unit(6, 5), unit(6, 5, seed=1)
    whole = nt_xent(one, two, one, two, temperature=0.2)
    parts = [
        nt_xent(one[at : at + 2], two[at : at + 2], one, two, temperature=0.2, offset=at)
        for at in (0, 2, 4)
    ]
    torch.testing.assert_close(sum(parts) / 3, whole, **FLOAT64)
    assert len({round(part.item(), 6) for part in parts}) == 3


def test_equivalence_order_of_views_and_images_does_not_matter() -> None:
    one, two = unit(6, 5), unit(6, 5, seed=1)
    expected = nt_xent(one, two, one, two, temperature=0.2)
    torch.testing.assert_close(nt_xent(two, one, two, one, temperature=0.2), expected, **FLOAT64)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    one, two = one[order], two[order]
    torch.testing.assert_close(nt_xent(one, two, one, two, temperature=0.2), expected, **FLOAT64)


def test_gradcheck_both_views_and_all_rows() -> None:
    rows = [unit(2, 4, seed=1), unit(2, 4, seed=2), unit(5, 4, seed=3), unit(5, 4, seed=4)]
    assert torch.autograd.gradcheck(
        lambda *rows: nt_xent(*rows, temperature=0.3, offset=2), [r.requires_grad_() for r in rows]
    )


def test_values_a_row_never_meets_itself() -> None:
    logits = view_logits(
        unit(2, 4), unit(5, 4, seed=1), unit(5, 4, seed=2), temperature=0.5, offset=3
    )
    assert logits.shape == (2, 10)
    assert torch.isinf(logits).nonzero().tolist() == [[0, 8], [1, 9]]


def test_equivalence_float32_under_autocast() -> None:
    one, two = (unit(6, 16, seed=seed).float() for seed in (1, 2))
    expected = nt_xent(one, two, one, two, temperature=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(nt_xent(one, two, one, two, temperature=0.1), expected)


def test_values_both_views_are_one_batch() -> None:
    """One forward pass and one batch of statistics, and the loss of its rows."""
    model = tiny_model("simclr")
    expected, views = copy.deepcopy(model), tiny_views()
    found = model(views, mode="loss")
    z = expected.neck(expected.backbone(torch.cat(views.images))[0].mean((2, 3)))
    one, two = F.normalize(z, dim=1).double().chunk(2)
    assert found["loss"].item() == pytest.approx(2 * by_hand(one, two, 0.1).item(), rel=1e-4)
    for name in ("backbone.stages.3.1", "neck.layers.1"):
        norm = model.get_submodule(name)
        assert int(norm.num_batches_tracked) == 1
        torch.testing.assert_close(norm.running_mean, expected.get_submodule(name).running_mean)


def test_values_options_of_the_loss() -> None:
    losses = []
    for options in (dict(), dict(loss_scale=1.0), dict(temperature=0.5), dict(gather_grad=False)):
        torch.manual_seed(0)
        model = tiny_simclr(**options).train()
        model.progress = tiny_model("simclr").progress
        losses.append(model(tiny_views(), mode="loss")["loss"].item())
    assert losses[1] == pytest.approx(losses[0] / 2, rel=1e-6)
    assert losses[2] != pytest.approx(losses[0], rel=1e-2)
    # on one process there are no others
    assert losses[3] == losses[0]


@pytest.mark.parametrize("depth", [2, 3])
def test_state_head_starts_as_in_the_released_code(depth: int) -> None:
    """Linear without biases, N(0, 0.01); the width of the input inside; no shift at the end."""
    neck = dict(
        type="MLPNeck",
        out_channels=32,
        num_layers=depth,
        bias=False,
        last_bias=False,
        norm_cfg=dict(type="BN1d"),
        last_norm_cfg=dict(type="BN1d", bias=False),
        init_cfg=dict(type="Normal", layer="Linear", std=0.01),
    )
    backbone = dict(type="ResNet", depth=18, out_indices=(3,))
    torch.manual_seed(0)
    model = MODELS.build(dict(type="SimCLR", backbone=backbone, neck=neck))
    model.init_weights()
    linears = [layer for layer in model.neck.layers if isinstance(layer, nn.Linear)]
    assert [layer.weight.shape[0] for layer in linears] == [512] * (depth - 1) + [32]
    for layer in linears:
        assert layer.bias is None
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.03)
    assert f"layers.{3 * depth - 2}.bias" not in model.neck.state_dict()
    assert isinstance(model.neck.layers[-1], nn.BatchNorm1d)


@pytest.mark.parametrize("kind", ["BN", "SyncBN"])
def test_values_norm_without_shift(kind: str) -> None:
    """It scales, its zeros are no parameter and in no checkpoint, and copies keep it so."""
    norm = norm_layer(dict(type=kind, bias=False), 4, maps=False)
    other = copy.deepcopy(norm)
    assert [name for name, _ in other.named_parameters()] == ["weight"]
    assert "bias" not in other.state_dict()
    nn.init.constant_(other.weight, 3.0)
    found = other.train()(torch.randn(8, 4, dtype=torch.float32) + 5)
    torch.testing.assert_close(found.mean(0), torch.zeros(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.std(0, correction=0), torch.full((4,), 3.0), rtol=1e-3, atol=0)
    assert other.double().bias.dtype == torch.float64
    shifted = norm_layer(dict(type=kind), 4, maps=False)
    assert [name for name, _ in shifted.named_parameters()] == ["weight", "bias"]


def test_raises_for_what_does_not_fit() -> None:
    one = unit(3, 4)
    with pytest.raises(ValueError, match=r"\(3, 4\) and \(2, 4\)"):
        nt_xent(one, one[:2], one, one, temperature=0.2)
    with pytest.raises(ValueError, match="among the 3 of all, got offset=1"):
        nt_xent(one, one, one, one, temperature=0.2, offset=1)
    with pytest.raises(ValueError, match="batch of one image over all processes"):
        tiny_model("simclr")(tiny_views(size=1), mode="loss")


def test_values_products_keep_all_bits_of_float32() -> None:
    """Forward and backward, whatever the run allows elsewhere."""
    one, two = (unit(4, 6, seed=seed).float().requires_grad_() for seed in (0, 1))
    for found in product_precisions(lambda: nt_xent(one, two, one, two, temperature=0.5)):
        assert found == {("highest", torch.float32)}
    assert one.grad is not None and two.grad is not None


def test_gradcheck_of_the_second_order() -> None:
    one, two = (unit(3, 4, seed=seed).requires_grad_() for seed in (0, 1))

    def loss(one: Tensor, two: Tensor) -> Tensor:
        return nt_xent(one, two, one, two, temperature=0.5)

    assert torch.autograd.gradgradcheck(loss, (one, two))
