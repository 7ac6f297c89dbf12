"""Levels of prototypes: temperatures by hand, trees and flat levels, small prototypes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmssl.ops import nearest_centroid
from mmssl.ops.cluster_levels import cluster_flat, cluster_tree, density
from mmssl.ops.kmeans import KMeans, nearest

QUICK = KMeans(restarts=1, iterations=8)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch) -> None:
    """Rows are few here; tiles for many would be computed all the same."""
    monkeypatch.setitem(nearest_centroid.TILE_ROWS, "cpu", 128)


def unit_rows(size: int = 400, dim: int = 8, groups: int = 30, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(groups, dim, generator=generator)
    chosen = torch.randint(groups, (size,), generator=generator)
    return F.normalize(centres[chosen] + 0.3 * torch.randn(size, dim, generator=generator))


def reference_density(distances, assignment, k, temperature, smoothing, clip) -> np.ndarray:
    """As the paper's code puts it: a list of members per prototype."""
    spread = np.zeros(k)
    members = [np.sqrt(distances[assignment == cluster]) for cluster in range(k)]
    for cluster, each in enumerate(members):
        if len(each) > 1:
            spread[cluster] = each.mean() / math.log(len(each) + smoothing)
    for cluster, each in enumerate(members):
        if len(each) <= 1:
            spread[cluster] = spread.max()
    spread = spread.clip(np.percentile(spread, clip[0]), np.percentile(spread, clip[1]))
    return temperature * spread / spread.mean()


@pytest.mark.parametrize("size, k", [(500, 7), (60, 40), (1000, 100), (9, 5)])
@pytest.mark.parametrize("smoothing, clip", [(10, (10, 90)), (1, (0, 75)), (30, (25, 100))])
def test_values_density(size, k, smoothing, clip) -> None:
    generator = torch.Generator().manual_seed(size)
    distances = torch.rand(size, generator=generator)
    assignment = (torch.rand(size, generator=generator) ** 2 * k).long()
    assignment[:2] = 0
    found = density(distances, assignment, k, temperature=0.2, smoothing=smoothing, clip=clip)
    expected = reference_density(distances.numpy(), assignment.numpy(), k, 0.2, smoothing, clip)
    np.testing.assert_allclose(found, expected, rtol=2e-6)
    assert float(found.double().mean()) == pytest.approx(0.2, rel=1e-6)


def test_values_density_of_empty_and_single_prototypes_is_the_largest() -> None:
    distances = torch.tensor([1.0, 1.0, 4.0, 4.0, 1e-4])
    assignment = torch.tensor([0, 0, 1, 1, 2])
    found = density(distances, assignment, 4, temperature=1.0, clip=(0, 100))
    assert found.tolist() == pytest.approx([4 / 7, 8 / 7, 8 / 7, 8 / 7])


def test_equivalence_of_density_in_any_order() -> None:
    generator = torch.Generator().manual_seed(1)
    distances, assignment = torch.rand(999, generator=generator), torch.arange(999) % 13
    order = torch.randperm(999, generator=generator)
    found = density(distances, assignment, 13, temperature=0.2)
    assert torch.equal(found, density(distances[order], assignment[order], 13, temperature=0.2))


def test_raises_where_there_are_no_temperatures() -> None:
    with pytest.raises(ValueError, match="None of the 3 prototypes of a level has two members"):
        density(torch.rand(3), torch.arange(3), 3, temperature=0.2)
    with pytest.raises(ValueError, match="coincide with their centroids"):
        density(torch.zeros(6), torch.arange(6) // 2, 3, temperature=0.2)
    with pytest.raises(ValueError, match="two members"):
        cluster_flat(unit_rows(20), (20,), clusterer=QUICK, temperature=0.2)


def test_values_tree() -> None:
    """Every level is k-means of the unit centroids below it, with the level as seed."""
    rows, sizes = unit_rows(), (50, 20, 4)
    tree = cluster_tree(rows, sizes, clusterer=QUICK, temperature=0.1)
    assert tree.assignment.dtype == torch.int32 and tree.assignment.shape == (1, 400)
    below = rows
    for level, size in enumerate(sizes):
        found = QUICK.fit(below, size, seed=level)
        assert torch.equal(tree.centroids[level], F.normalize(found.centroids))
        of_level = tree.assignment[0].long() if level == 0 else tree.parents[level - 1]
        assert torch.equal(of_level, found.assignment)
        assert tree.objective[level] == found.objective
        expected = density(found.distances, found.assignment, size, temperature=0.1)
        assert torch.equal(tree.density[level], expected)
        below = tree.centroids[level]
    assert torch.equal(tree.on_level(2), tree.parents[1][tree.parents[0][tree.on_level(0)]])


def test_values_flat_levels_do_not_know_of_each_other() -> None:
    rows = unit_rows()
    levels = cluster_flat(rows, (20, 50), clusterer=QUICK, temperature=0.2)
    for level, size in enumerate((20, 50)):
        found = QUICK.fit(rows, size, seed=level)
        assert torch.equal(levels.on_level(level), found.assignment)
        assert torch.equal(levels.centroids[level], F.normalize(found.centroids))
    one = cluster_flat(rows, (20,), clusterer=QUICK, temperature=0.2)
    tree = cluster_tree(rows, (20,), clusterer=QUICK, temperature=0.2)
    assert torch.equal(one.assignment, tree.assignment)
    assert torch.equal(one.density[0], tree.density[0])


@pytest.mark.parametrize("cluster, sizes", [(cluster_tree, (60, 15, 4)), (cluster_flat, (15, 60))])
def test_values_small_prototypes_are_dissolved(cluster, sizes) -> None:
    rows = unit_rows()
    kept = cluster(rows, sizes, clusterer=QUICK, temperature=0.2)
    found = cluster(rows, sizes, clusterer=QUICK, temperature=0.2, min_members=8)
    level = sizes.index(60)
    seed = level
    raw = QUICK.fit(rows, 60, seed=seed)
    stays = raw.counts >= 8
    assert 0 < int(stays.sum()) < 60
    assert torch.equal(found.centroids[level], kept.centroids[level][stays])
    assert len(found.density[level]) == int(stays.sum())
    expected = nearest(rows, raw.centroids[stays])[1]
    assert torch.equal(found.on_level(level), expected)
    # nobody whose prototype stayed has moved
    renumbered = stays.long().cumsum(0) - 1
    stayed = stays[raw.assignment]
    assert torch.equal(expected[stayed], renumbered[raw.assignment][stayed])
    for each in range(found.num_levels):
        counts = found.on_level(each).bincount(minlength=len(found.centroids[each]))
        assert int(counts.min()) >= 8


def test_values_small_prototypes_of_higher_levels_count_images() -> None:
    """A prototype above with one child has as many images as that child, which are enough."""
    rows = unit_rows(400, groups=10)
    options = dict(clusterer=QUICK, temperature=0.2)
    found = cluster_tree(rows, (30, 20), **options, min_members=5)
    children = found.parents[0].bincount(minlength=len(found.centroids[1]))
    assert int(children.min()) == 1
    images = found.on_level(1).bincount(minlength=len(found.centroids[1]))
    assert int(images.min()) >= 5


def test_raises_on_sizes_and_members() -> None:
    rows = unit_rows(50)
    options = dict(clusterer=QUICK, temperature=0.2)
    with pytest.raises(ValueError, match=r"fewer clusters than the one before, got \[5, 9\]"):
        cluster_tree(rows, (5, 9), **options)
    with pytest.raises(ValueError, match=r"one or more clusters, got \[\]"):
        cluster_flat(rows, (), **options)
    with pytest.raises(ValueError, match="51 clusters need at least as many features, got 50"):
        cluster_tree(rows, (51, 9), **options)
    with pytest.raises(ValueError, match="None of the 9 prototypes of level 0 has min_members=50"):
        cluster_tree(rows, (9, 2), **options, min_members=50)
    broken = rows.clone()
    broken[7] = torch.nan
    with pytest.raises(ValueError, match="index 7"):
        cluster_flat(broken, (9,), **options)


def test_values_progress_names_the_level(capsys) -> None:
    cluster_tree(unit_rows(50), (9, 3), clusterer=QUICK, temperature=0.2, progress="Epoch 3")
    shown = capsys.readouterr().out
    assert "Epoch 3, 9 clusters" in shown and "Epoch 3, 3 clusters" in shown
