"""InfoNCE over a queue."""

from __future__ import annotations

import math

import pytest
import torch

from mmssl.losses import info_nce, unit_norm

Q = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
K = torch.tensor([[0.8, 0.6], [0.0, 1.0]])
QUEUE = torch.tensor([[0.0, 1.0], [-1.0, 0.0], [0.6, 0.8]])


def random_rows(*counts: int, dim: int = 4) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        unit_norm(torch.randn(count, dim, generator=generator, dtype=torch.double))
        for count in counts
    ]


def test_values_by_hand():
    # cosines of the first query: own key 0.8, queue 0, -1, 0.6; of the second: 0.8, queue 0.8, -0.6, 1
    first = math.log(math.exp(1.6) + 1 + math.exp(-2) + math.exp(1.2)) - 1.6
    second = math.log(2 * math.exp(1.6) + math.exp(-1.2) + math.exp(2)) - 1.6
    expected = (first + second) / 2
    assert info_nce(Q, K, QUEUE, temperature=0.5).item() == pytest.approx(expected, rel=1e-6)


def test_values_of_an_empty_queue_are_zero():
    assert info_nce(Q, K, QUEUE[:0], temperature=0.2).item() == 0.0


@pytest.mark.parametrize("negatives", [1, 7, 100])
def test_values_of_features_that_are_all_the_same(negatives):
    same = torch.tensor([[0.6, 0.8]])
    loss = info_nce(same, same, same.repeat(negatives, 1), temperature=0.2)
    assert loss.item() == pytest.approx(math.log(1 + negatives), rel=1e-6)


def test_values_of_a_perfect_match():
    unit = torch.eye(3)
    loss = info_nce(unit[:1], unit[:1], unit[1:], temperature=0.2)
    assert loss.item() == pytest.approx(math.log(1 + 2 * math.exp(-5)), rel=1e-4)


def test_equivalence_with_the_softmax_of_the_formula():
    q, k, queue = random_rows(3, 3, 5)
    own = ((q * k).sum(1) / 0.2).exp()
    others = (q @ queue.T / 0.2).exp().sum(1)
    expected = -(own / (own + others)).log().mean()
    torch.testing.assert_close(info_nce(q, k, queue, temperature=0.2), expected)


def test_equivalence_the_order_of_the_queue_does_not_matter():
    q, k, queue = random_rows(3, 3, 5)
    turned = info_nce(q, k, queue.flip(0), temperature=0.2)
    torch.testing.assert_close(turned, info_nce(q, k, queue, temperature=0.2))


def test_gradcheck():
    q, k, queue = (rows.requires_grad_() for rows in random_rows(3, 3, 5))
    assert torch.autograd.gradcheck(lambda *rows: info_nce(*rows, temperature=0.2), (q, k, queue))


def test_values_are_exact_under_autocast():
    q, k, queue = (rows.float() for rows in random_rows(3, 3, 5))
    exact = info_nce(q, k, queue, temperature=0.05)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(info_nce(q, k, queue, temperature=0.05), exact)
        half = info_nce(q.bfloat16(), k.bfloat16(), queue, temperature=0.05)
    assert half.dtype == torch.float32
    assert info_nce(q.double(), k, queue, temperature=0.05).dtype == torch.float64


def test_raises():
    with pytest.raises(ValueError, match="same shape"):
        info_nce(Q, K[:1], QUEUE, temperature=0.2)
    with pytest.raises(ValueError, match=r"shape \(K, 2\)"):
        info_nce(Q, K, QUEUE.T, temperature=0.2)
