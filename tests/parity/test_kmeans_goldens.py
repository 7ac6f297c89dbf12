"""K-means against faiss, and levels of prototypes against the official codes of HCSC and PCL."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmssl.ops.cluster_levels import cluster_flat, cluster_tree, density
from mmssl.ops.faiss_kmeans import FaissKMeans
from mmssl.ops.faiss_random import SplitDraws, first_of_permutation, restart_seed
from mmssl.ops.kmeans import KMeans
from mmssl.structures import Clustering
from tests.helpers.golden_inputs import mixture
from tests.helpers.goldens import Golden

pytestmark = pytest.mark.parity
CLUSTERERS = pytest.mark.parametrize(
    "clusterer",
    [KMeans(sums="faiss"), KMeans(), FaissKMeans()],
    ids=["faiss_sums", "exact_sums", "faiss"],
)


def needs_faiss(clusterer) -> None:
    if isinstance(clusterer, FaissKMeans):
        pytest.importorskip("faiss")


def close(actual: torch.Tensor, expected: np.ndarray, tolerance: float) -> None:
    assert actual.shape == expected.shape
    assert float(np.abs(actual.numpy() - expected).max()) <= tolerance


def check_level(made: Clustering, level: int, golden: Golden, *, exact: bool) -> None:
    """Prototypes of images, centroids (their bits where sums are as faiss makes them) and temperatures."""
    arrays, tolerance = golden.arrays, golden.entry["tolerance"]
    np.testing.assert_array_equal(made.on_level(level), arrays[f"im2cluster{level}"])
    at_most = 0.0 if exact else tolerance["centroids"]
    close(made.centroids[level], arrays[f"centroids{level}"], at_most)
    close(made.density[level], arrays[f"density{level}"], tolerance["density"])


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("restart", range(5))
def test_values_first_centroids(seed, restart) -> None:
    golden = Golden("hcsc", "faiss_random_stream")
    found = first_of_permutation(2000, 64, seed=restart_seed(seed, restart))
    np.testing.assert_array_equal(found, golden.arrays[f"s{seed}_r{restart}"])


def test_values_subsampling_and_splits() -> None:
    arrays = Golden("hcsc", "faiss_random_stream").arrays
    np.testing.assert_array_equal(
        first_of_permutation(5000, 64, seed=1), arrays["subsample_s1_n5000"]
    )
    np.testing.assert_array_equal(SplitDraws().take(64), arrays["split_floats"])


@CLUSTERERS
def test_values_with_splits_of_empty_clusters(clusterer) -> None:
    needs_faiss(clusterer)
    golden = Golden("hcsc", "kmeans_split")
    built = golden.entry["built"]
    points = torch.from_numpy(golden.arrays["x"])
    found = clusterer.fit(points, built["k"], seed=built["seed"])
    np.testing.assert_array_equal(found.assignment, golden.arrays["assign"])
    exact = clusterer != KMeans()
    close(found.centroids, golden.arrays["centroids"], 0.0 if exact else 1e-4)
    # faiss sums the squares of a row with fused operations: two units in the last place of 1
    np.testing.assert_allclose(found.distances, golden.arrays["dist"], rtol=1e-5, atol=2e-5)


@CLUSTERERS
def test_values_tree_of_hcsc(clusterer) -> None:
    needs_faiss(clusterer)
    golden = Golden("hcsc", "hkmeans_2000x16")
    arrays, built, tolerance = golden.arrays, golden.entry["built"], golden.entry["tolerance"]
    tree = cluster_tree(
        mixture("hkmeans_2000x16", 2000, 16, 25, 0.6),
        built["num_cluster"],
        clusterer=clusterer,
        temperature=built["T"],
    )
    assert tree.num_levels == 3
    for level in range(3):
        check_level(tree, level, golden, exact=clusterer != KMeans())
        assert tree.objective[level] == pytest.approx(float(arrays[f"objective{level}"]), rel=1e-5)
        counts = tree.on_level(level).bincount(minlength=built["num_cluster"][level])
        np.testing.assert_array_equal(counts, arrays[f"counts{level}"])
    for level in range(2):
        np.testing.assert_array_equal(tree.parents[level], arrays[f"cluster2cluster{level}"])
        cosines = tree.centroids[level] @ tree.centroids[level + 1].T
        close(cosines, arrays[f"logits{level}"], tolerance["logits"])


@CLUSTERERS
def test_values_levels_of_pcl(clusterer) -> None:
    needs_faiss(clusterer)
    golden = Golden("hcsc", "pcl_kmeans_1200x16")
    built = golden.entry["built"]
    levels = cluster_flat(
        mixture("pcl_kmeans_1200x16", 1200, 16, 20, 0.5),
        built["num_cluster"],
        clusterer=clusterer,
        temperature=built["temperature"],
    )
    assert levels.parents == []
    for level in range(3):
        check_level(levels, level, golden, exact=clusterer != KMeans())


@pytest.mark.parametrize("level", [0, 1, 2])
def test_values_temperatures_with_empty_and_single_members(level) -> None:
    golden = Golden("hcsc", "hkmeans_post")
    arrays, tolerance = golden.arrays, golden.entry["tolerance"]
    centroids = torch.from_numpy(arrays[f"raw_centroids{level}"])
    close(F.normalize(centroids), arrays[f"centroids{level}"], tolerance["centroids"])
    found = density(
        torch.from_numpy(arrays[f"sqdist{level}"]),
        torch.from_numpy(arrays[f"assign{level}"]),
        len(centroids),
        temperature=golden.entry["built"]["T"],
    )
    close(found, arrays[f"density{level}"], tolerance["density"])
