"""Spherical k-means against a few lines of NumPy, and its refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmssl.ops.faiss_random import first_of_permutation
from mmssl.ops.spherical_kmeans import ABSENT, SphericalKMeans


def unit_rows(size: int, dim: int, seed: int = 0) -> torch.Tensor:
    """(size, dim) directions around a few centres."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(7, dim, generator=generator)
    chosen = torch.randint(7, (size,), generator=generator)
    return F.normalize(centres[chosen] + 0.4 * torch.randn(size, dim, generator=generator), dim=1)


def by_hand(rows: np.ndarray, centroids: np.ndarray, iterations: int) -> tuple:
    """Centroids and clusters in float64, a cluster at a time."""
    for _ in range(iterations):
        clusters = (rows @ centroids.T).argmax(1)
        for k in range(len(centroids)):
            members = rows[clusters == k]
            if len(members):
                mean = members.mean(0)
                centroids[k] = mean / np.linalg.norm(mean)
    products = rows @ centroids.T
    return centroids, products.argmax(1), products.max(1).mean()


@pytest.mark.parametrize("size, dim, k", [(60, 3, 5), (300, 16, 20), (40, 8, 39), (25, 2, 1)])
@pytest.mark.parametrize("chunk", [7, 4096])
def test_values_of_numpy(size: int, dim: int, k: int, chunk: int) -> None:
    rows = unit_rows(size, dim)
    found = SphericalKMeans(chunk=chunk).fit(rows, torch.ones(size, dtype=torch.bool), k, seed=3)
    first = rows[first_of_permutation(size, k, seed=3)]
    centroids, clusters, cosine = by_hand(rows.double().numpy(), first.double().numpy(), 10)
    np.testing.assert_allclose(found.centroids.numpy(), centroids, atol=1e-5)
    assert np.array_equal(found.assignment.numpy(), clusters)
    assert found.counts.tolist() == np.bincount(clusters, minlength=k).tolist()
    assert found.cosine == pytest.approx(cosine, abs=1e-6)


def test_values_absent_rows_take_no_part() -> None:
    """The rest is what it would be alone."""
    rows, present = unit_rows(80, 5), torch.arange(80) % 3 > 0
    rows[~present] = 0.0
    found = SphericalKMeans().fit(rows, present, 6, seed=1)
    alone = SphericalKMeans().fit(rows[present], torch.ones(int(present.sum())).bool(), 6, seed=1)
    assert torch.equal(found.centroids, alone.centroids)
    assert torch.equal(found.assignment[present], alone.assignment)
    assert (found.assignment[~present] == ABSENT).all() and found.cosine == alone.cosine


def test_values_an_empty_cluster_keeps_its_centroid() -> None:
    """Three equal rows are three equal first centroids, of which the first gets all rows."""
    rows = torch.tensor([[0.6, 0.8]]).repeat(3, 1)
    found = SphericalKMeans().fit(rows, torch.ones(3).bool(), 3, seed=0)
    assert found.counts.tolist() == [3, 0, 0]
    torch.testing.assert_close(found.centroids, rows)
    assert found.cosine == pytest.approx(1.0)


def test_raises() -> None:
    rows, present = unit_rows(10, 4), torch.ones(10).bool()
    with pytest.raises(ValueError, match="at least as many embeddings, got 3"):
        SphericalKMeans().fit(rows, torch.arange(10) < 3, 4, seed=0)
    with pytest.raises(ValueError, match="NaN"):
        SphericalKMeans().fit(torch.where(rows > 0, torch.nan, rows), present, 4, seed=0)
    with pytest.raises(ValueError, match="iterations >= 1"):
        SphericalKMeans(iterations=0)

    class Enough(Exception):
        pass

    def stop() -> None:
        raise Enough

    with pytest.raises(Enough):
        SphericalKMeans().fit(rows, present, 2, seed=0, poll=stop)
