"""Codes that use all prototypes equally: laws, limits, precision."""

from __future__ import annotations

import pytest
import torch

from mmssl.ops.sinkhorn import balanced_codes, transport_plan


def test_values_rows_sum_to_one_and_columns_are_equal() -> None:
    torch.manual_seed(0)
    scores = torch.rand(40, 7, dtype=torch.float64)
    codes = balanced_codes(scores, epsilon=0.1, num_iterations=200)
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(40, dtype=torch.float64))
    torch.testing.assert_close(codes.sum(dim=0), torch.full((7,), 40 / 7, dtype=torch.float64))


def test_equivalence_with_the_transport_plan() -> None:
    torch.manual_seed(1)
    scores = torch.randn(9, 5, dtype=torch.float64)
    plan = transport_plan(scores.T, regularization=0.2, num_iterations=4)
    codes = balanced_codes(scores, epsilon=0.2, num_iterations=4)
    torch.testing.assert_close(codes, 9 * plan.T)


def test_values_a_shift_of_scores_changes_nothing() -> None:
    """Of a sample's scores, or of a prototype's."""
    torch.manual_seed(2)
    scores = torch.randn(8, 4, dtype=torch.float64)
    codes = balanced_codes(scores, epsilon=0.5)
    shifted = scores + 10 * torch.randn(8, 1, dtype=torch.float64)
    torch.testing.assert_close(
        balanced_codes(shifted, epsilon=0.5, num_iterations=300),
        balanced_codes(scores, epsilon=0.5, num_iterations=300),
    )
    moved = scores + 10 * torch.randn(1, 4, dtype=torch.float64)
    torch.testing.assert_close(balanced_codes(moved, epsilon=0.5), codes)


def test_values_small_epsilon_is_a_permutation_and_overflows_nothing() -> None:
    scores = torch.eye(6)[torch.tensor([3, 1, 0, 5, 4, 2])]
    codes = balanced_codes(scores, epsilon=1e-3, num_iterations=10)
    torch.testing.assert_close(codes, scores)
    half = balanced_codes(scores.half(), epsilon=0.05)
    assert half.dtype == torch.float32 and torch.isfinite(half).all()


def test_values_no_gradient() -> None:
    scores = torch.rand(4, 3, requires_grad=True)
    assert not balanced_codes(scores).requires_grad


@pytest.mark.parametrize("options", [dict(epsilon=0.0), dict(num_iterations=0)])
def test_raises(options: dict) -> None:
    with pytest.raises(ValueError, match="epsilon > 0 and num_iterations >= 1"):
        balanced_codes(torch.rand(4, 3), **options)
