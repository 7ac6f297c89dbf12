"""The loss of Barlow Twins: its table, its gradient, its messages."""

from __future__ import annotations

import pytest
import torch

from mmssl.losses import redundancy_reduction
from mmssl.models.algorithms import BarlowTwins
from tests.helpers.tiny import own_views, tiny_barlow_twins, tiny_model


@pytest.mark.parametrize(
    ("matrix", "value"),
    [
        (torch.eye(5), 0.0),
        (torch.zeros(5, 5), 5.0),
        (torch.ones(5, 5), 0.3 * 20),
        (torch.full((1, 1), 3.0), 4.0),
    ],
)
def test_values_of_the_table(matrix: torch.Tensor, value: float) -> None:
    found = redundancy_reduction(matrix, off_diagonal_weight=0.3)
    assert found.item() == pytest.approx(value)


def test_gradcheck() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda c: redundancy_reduction(c, off_diagonal_weight=0.2), (matrix,)
    )


def test_values_off_the_diagonal_by_hand() -> None:
    torch.manual_seed(1)
    c = torch.randn(6, 6, dtype=torch.float64)
    by_hand = sum(
        (c[i, j] - 1) ** 2 if i == j else 0.1 * c[i, j] ** 2 for i in range(6) for j in range(6)
    )
    torch.testing.assert_close(redundancy_reduction(c, off_diagonal_weight=0.1), by_hand)


def test_raises_for_what_is_not_square() -> None:
    with pytest.raises(ValueError, match=r"square, got shape \(2, 3\)"):
        redundancy_reduction(torch.zeros(2, 3), off_diagonal_weight=0.1)
    with pytest.raises(ValueError, match="grad_scale must be 'released' or 'true'"):
        tiny_barlow_twins(grad_scale="mean")


def test_values_norm_sees_views_apart_and_has_no_scale() -> None:
    model = tiny_model("barlow_twins")
    assert isinstance(model, BarlowTwins)
    assert not list(model.norm.parameters())
    model(own_views(model), mode="loss")
    assert int(model.norm.num_batches_tracked) == 2
