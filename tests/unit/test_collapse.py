"""Label-free measures on features whose answer is known."""

from __future__ import annotations

import math

import pytest
import torch

from mmssl.evaluation import (
    alignment,
    alpha_req,
    effective_rank,
    feature_std,
    lidar,
    uniformity,
)


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.double)


def test_values_feature_std() -> None:
    assert feature_std(torch.ones(5, 4)) == 0
    assert feature_std(normal(20000, 16)) == pytest.approx(1 / 4, rel=0.01)
    # directions e1, e2 in turn: std of (1, 0, 1, 0) is sqrt(1/3), unbiased
    assert feature_std(torch.eye(2).repeat(2, 1)) == pytest.approx(math.sqrt(1 / 3))


def test_values_effective_rank() -> None:
    assert effective_rank(torch.eye(6)) == pytest.approx(6, abs=1e-3)
    assert effective_rank(normal(50, 1) @ normal(1, 8)) == pytest.approx(1, abs=1e-3)
    # singular values 2, 1: p = 2/3, 1/3; squared: 4/5, 1/5
    diagonal = torch.diag(torch.tensor([2.0, 1.0]))
    entropy = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
    assert effective_rank(diagonal) == pytest.approx(math.exp(entropy), rel=1e-5)
    entropy = -(0.8 * math.log(0.8) + 0.2 * math.log(0.2))
    assert effective_rank(diagonal, spectrum="variance") == pytest.approx(
        math.exp(entropy), rel=1e-5
    )
    shifted = normal(40, 4) + 1000
    assert effective_rank(shifted) < 1.5
    assert effective_rank(shifted, center=True) > 3.5


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_values_alpha_of_a_power_law(alpha: float) -> None:
    basis = torch.linalg.qr(normal(128, 128) - normal(128, 128).mean(0))[0]
    basis = torch.linalg.qr(basis - basis.mean(0))[0][:, :120]
    scale = torch.arange(1, 121).double().pow(-alpha / 2)
    assert alpha_req(basis * scale) == pytest.approx(alpha, rel=1e-2)


def test_values_lidar_counts_discriminable_directions() -> None:
    means = torch.eye(5).double().repeat(8, 1)[:, None]
    embeddings = means + 0.01 * normal(40, 6, 5)
    assert lidar(embeddings) == pytest.approx(4, rel=0.05)  # five corners span four directions
    assert lidar(normal(40, 1, 1).expand(40, 6, 5) + 0.01 * normal(40, 6, 5)) < 1.2


def test_values_alignment_and_uniformity() -> None:
    x = torch.tensor([[3.0, 0.0], [0.0, 2.0]])
    y = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    assert alignment(x, y) == pytest.approx(1.0)  # squared distances 2 and 0
    assert uniformity(x) == pytest.approx(-4.0)  # one pair at squared distance 2, t = 2
    assert uniformity(torch.ones(3, 2)) == pytest.approx(0.0, abs=1e-6)
    many = normal(30, 6)
    assert uniformity(many, chunk=7) == pytest.approx(uniformity(many), rel=1e-12)


def test_raises_on_shapes() -> None:
    with pytest.raises(ValueError, match="N >= 2"):
        feature_std(torch.ones(1, 3))
    with pytest.raises(ValueError, match="spectrum"):
        effective_rank(torch.eye(2), spectrum="eigen")
    with pytest.raises(ValueError, match="needs more images"):
        alpha_req(torch.ones(5, 5))
    with pytest.raises(ValueError, match="equal shapes"):
        alignment(torch.eye(2), torch.eye(3))
    with pytest.raises(ValueError, match=r"N, Q, D"):
        lidar(torch.eye(3))
