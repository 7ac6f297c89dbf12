"""Cosine regression and stream guidance."""

from __future__ import annotations

import math

import pytest
import torch

from mmssl.losses import cosine_regression, guidance, unit_norm

A = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
B = torch.tensor([[0.0, 1.0], [1.0, 0.0]])


def test_values_cosine_regression_by_hand():
    # distances 2 - 2 * 0 and 2 - 2 * 0.6
    torch.testing.assert_close(cosine_regression(A, B, reduction="none"), torch.tensor([2.0, 0.8]))
    assert cosine_regression(A, B).item() == pytest.approx(1.4)
    assert cosine_regression(A, A).item() == pytest.approx(0.0, abs=1e-6)
    assert cosine_regression(A, -A).item() == pytest.approx(4.0)


def test_values_guidance_by_hand():
    # squared distances 2 and 0.16 + 0.64
    assert guidance(A, B).item() == pytest.approx((2 + 0.8) / 4)
    assert guidance(A, B, reduction="sample").item() == pytest.approx((2 + 0.8) / 2)


def test_equivalence_guidance_of_unit_vectors_is_cosine_regression_over_dimensions():
    torch.manual_seed(0)
    a, b = unit_norm(torch.randn(5, 256)), unit_norm(torch.randn(5, 256))
    expected = cosine_regression(a, b)
    assert guidance(a, b).item() == pytest.approx(expected.item() / 256, rel=1e-4)
    assert guidance(a, b, reduction="sample").item() == pytest.approx(expected.item(), rel=1e-4)


def test_values_unit_norm_scale_zero_and_half():
    torch.testing.assert_close(unit_norm(3 * A), A)
    assert unit_norm(torch.zeros(1, 4)).abs().max() == 0
    half = unit_norm(torch.full((1, 100), 300.0, dtype=torch.float16))
    assert half.dtype == torch.float32
    assert half.norm().item() == pytest.approx(1.0, rel=1e-5)
    assert unit_norm(A.double()).dtype == torch.float64


@pytest.mark.parametrize(
    "loss",
    [
        lambda a, b: cosine_regression(unit_norm(a), unit_norm(b)),
        lambda a, b: guidance(unit_norm(a), unit_norm(b)),
        lambda a, b: guidance(unit_norm(a), unit_norm(b), reduction="sample"),
    ],
)
def test_gradcheck(loss):
    torch.manual_seed(0)
    a, b = (torch.randn(3, 4, dtype=torch.double, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(loss, (a, b))


def test_values_large_batch_of_random_vectors_has_expected_losses():
    """At random weights both regression losses are near 4 per method, the guidance near 2 / 256."""
    torch.manual_seed(0)
    a, b = unit_norm(torch.randn(4000, 256)), unit_norm(torch.randn(4000, 256))
    assert cosine_regression(a, b).item() == pytest.approx(2.0, abs=4 / math.sqrt(4000 * 256) * 4)
    assert guidance(a, b).item() == pytest.approx(2 / 256, rel=1e-2)


def test_raises():
    with pytest.raises(ValueError, match="same shape"):
        cosine_regression(A, B[:1])
    with pytest.raises(ValueError, match="same shape"):
        guidance(A, B[:1])
    with pytest.raises(ValueError, match="reduction"):
        cosine_regression(A, B, reduction="sum")
    with pytest.raises(ValueError, match="reduction"):
        guidance(A, B, reduction="mean")
