"""The cosine softmax over blocks of classes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mmssl.losses import instance_softmax
from tests.helpers.product_precision import product_precisions

B, D, C = 4, 6, 11


def inputs(dtype=torch.float64, num_large: int = 1, num_small: int = 2, classes: int = C):
    generator = torch.Generator().manual_seed(0)
    large = torch.randn(num_large * B, D, generator=generator, dtype=dtype).requires_grad_()
    small = torch.randn(num_small * B, D, generator=generator, dtype=dtype).requires_grad_()
    weight = torch.randn(classes, D, generator=generator, dtype=dtype).requires_grad_()
    return large, small, weight, torch.tensor([3, 0, 10, 3])


def reference(large, small, weight, target, temperature):
    """All logits at once."""
    rows = F.normalize(weight, dim=1)
    logits = torch.cat(
        [F.normalize(large, dim=1) @ rows.T, F.normalize(small, dim=1) @ rows.detach().T]
    )
    own = target.repeat(len(logits) // len(target))
    return F.cross_entropy(logits / temperature, own), logits.argmax(dim=1) == own


def test_values_by_hand():
    """Cosines 1 and 0.6 at temperature 0.5."""
    large = torch.tensor([[2.0, 0.0]])
    weight = torch.tensor([[5.0, 0.0], [0.3, 0.4]])
    result = instance_softmax(large, None, weight, torch.tensor([1]), temperature=0.5)
    expected = torch.tensor([2.0, 1.2]).logsumexp(0) - 1.2
    assert result.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert result.correct.tolist() == [False]


@pytest.mark.parametrize("max_logits", [1, 30, 40, 1 << 20])
@pytest.mark.parametrize("crops", [(1, 0), (1, 3), (2, 2)])
def test_equivalence_with_all_logits_at_once(max_logits, crops):
    large, small, weight, target = inputs(num_large=crops[0], num_small=crops[1])
    expected, right = reference(large, small, weight, target, 0.2)
    slopes = torch.autograd.grad(3 * expected, (large, small, weight), allow_unused=True)
    result = instance_softmax(large, small, weight, target, temperature=0.2, max_logits=max_logits)
    found = torch.autograd.grad(3 * result.loss, (large, small, weight), allow_unused=True)
    torch.testing.assert_close(result.loss, expected)
    assert torch.equal(result.correct, right)
    for mine, theirs in zip(found, slopes):
        torch.testing.assert_close(mine, torch.zeros_like(mine) if theirs is None else theirs)


def test_gradcheck():
    large, _, weight, target = inputs()

    def loss(large, weight):
        return instance_softmax(large, None, weight, target, temperature=0.5, max_logits=12).loss

    assert torch.autograd.gradcheck(loss, (large, weight))


def test_values_weights_do_not_see_small_crops():
    """Other small crops change the loss and their own gradient, never that of the weights' direction."""
    large, small, weight, target = inputs()
    other = torch.randn_like(small).requires_grad_()
    slopes, losses = [], []
    for crops in (small, other):
        loss = instance_softmax(large, crops, weight, target, temperature=0.2).loss
        slopes.append(torch.autograd.grad(loss, weight)[0])
        losses.append(loss.item())
    assert losses[0] != pytest.approx(losses[1])
    assert torch.equal(*slopes)
    # and a crop more weighs every one of them less
    alone = instance_softmax(large, None, weight, target, temperature=0.2).loss
    torch.testing.assert_close(torch.autograd.grad(alone, weight)[0], 3 * slopes[0])


def test_values_lengths_have_no_say_and_gradients_are_tangential():
    large, small, weight, target = inputs()
    loss = instance_softmax(large, small, weight, target, temperature=0.2).loss
    scaled = instance_softmax(3 * large, small / 7, 0.01 * weight, target, temperature=0.2).loss
    torch.testing.assert_close(loss, scaled)
    for part, slope in zip((large, weight), torch.autograd.grad(loss, (large, weight))):
        inner = (part * slope).sum(dim=1)
        torch.testing.assert_close(inner, torch.zeros_like(inner), rtol=0, atol=1e-12)


def test_equivalence_under_autocast_everything_is_float32():
    large, small, weight, target = (
        part.detach().float() if part.is_floating_point() else part for part in inputs()
    )
    exact = instance_softmax(large, small, weight, target, temperature=0.2).loss
    with torch.autocast("cpu", torch.bfloat16):
        loss = instance_softmax(large, small, weight, target, temperature=0.2).loss
        low = instance_softmax(
            large.bfloat16(), small.bfloat16(), weight, target, temperature=0.2
        ).loss
    assert torch.equal(loss, exact)
    assert low.dtype == torch.float32
    assert low.item() == pytest.approx(exact.item(), rel=0.05)


def test_values_large_logits_do_not_overflow():
    """A temperature of 0.001: logits of a thousand."""
    large, small, weight, target = inputs(torch.float32)
    expected, _ = reference(*(part.double() for part in (large, small, weight)), target, 1e-3)
    loss = instance_softmax(large, small, weight, target, temperature=1e-3, max_logits=60).loss
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_raises_on_shapes_that_do_not_fit():
    large, small, weight, target = inputs()
    for wrong in ((large[:, :4], small), (large[:3], small), (large, small[:5])):
        with pytest.raises(ValueError, match="crop by crop, for 4 images"):
            instance_softmax(*wrong, weight, target, temperature=0.2)


def test_values_products_keep_all_bits_of_float32():
    """Forward and backward, whatever the run allows elsewhere."""
    large, small, weight, target = inputs(torch.float32)

    def loss():
        return instance_softmax(large, small, weight, target, temperature=0.2).loss

    for found in product_precisions(loss):
        assert found == {("highest", torch.float32)}


def test_equivalence_backward_inside_of_autocast():
    """It may be called from there; gradients are the same."""
    slopes = []
    for inside in (False, True):
        large, small, weight, target = inputs(torch.float32)
        loss = instance_softmax(large, small, weight, target, temperature=0.2).loss
        with torch.autocast("cpu", torch.bfloat16, enabled=inside):
            slopes.append(torch.autograd.grad(loss, (large, small, weight)))
    for mine, theirs in zip(*slopes):
        assert torch.equal(mine, theirs)


def test_equivalence_of_plain_products_with_a_linear_classifier():
    """Without cosines: cross-entropy of a Linear, small crops with its weights as constants."""
    large, small, weight, target = inputs()
    logits = torch.cat([large @ weight.T, small @ weight.detach().T])
    expected = F.cross_entropy(logits, target.repeat(3))
    slopes = torch.autograd.grad(expected, (large, small, weight))
    result = instance_softmax(
        large, small, weight, target, temperature=1.0, cosine=False, max_logits=30
    )
    torch.testing.assert_close(result.loss, expected)
    found = torch.autograd.grad(result.loss, (large, small, weight))
    for mine, theirs in zip(found, slopes, strict=True):
        torch.testing.assert_close(mine, theirs)
