"""K-means: properties on random points of several sizes, agreement of its ways, refusals."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmssl.ops import bounded_search, nearest_centroid
from mmssl.ops.bounded_search import BoundedSearch
from mmssl.ops.cluster_sums import ExactSums
from mmssl.ops.exact_sums import grid_scale, on_grid
from mmssl.ops.faiss_kmeans import FaissKMeans
from mmssl.ops.faiss_random import RESTART_STEP, first_of_permutation, split_empty_clusters
from mmssl.ops.kmeans import KMeans, build_clusterer, nearest
from mmssl.ops.row_reader import RowReader

SIZES = [(30, 2, 4), (257, 3, 16), (900, 17, 40), (600, 8, 500), (2100, 33, 70), (64, 1, 3)]
POINTS = pytest.mark.parametrize("size, dim, k", SIZES)
BOTH = pytest.mark.parametrize("sums", ["exact", "faiss"])


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch) -> None:
    """Points are few here; tiles for many would be computed all the same."""
    monkeypatch.setitem(nearest_centroid.TILE_ROWS, "cpu", 128)


def points(size: int, dim: int, seed: int = 0) -> torch.Tensor:
    """(size, dim) points around a few centres."""
    generator = torch.Generator().manual_seed(seed)
    centres = 3 * torch.randn(10, dim, generator=generator)
    chosen = torch.randint(10, (size,), generator=generator)
    return centres[chosen] + torch.randn(size, dim, generator=generator)


@POINTS
def test_values_of_a_result_hold_together(size, dim, k) -> None:
    rows = points(size, dim)
    found = KMeans(restarts=2).fit(rows, k, seed=1)
    exact = (rows[:, None].double() - found.centroids.double()).square().sum(2)
    near = exact.min(1)
    chosen = exact.gather(1, found.assignment[:, None])[:, 0]
    torch.testing.assert_close(chosen, near.values, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.distances.double(), chosen, rtol=1e-5, atol=1e-6)
    assert torch.equal(found.counts, found.assignment.bincount(minlength=k))
    assert found.history[-1] == found.objective
    assert found.centroids.dtype == found.distances.dtype == torch.float32


@BOTH
@POINTS
def test_values_inertia_never_rises(size, dim, k, sums) -> None:
    rows = points(size, dim, seed=size)
    if k > size // 3:
        rows = rows.unique(dim=0)  # no empty clusters, whose splits may raise it
    found = KMeans(restarts=1, sums=sums).fit(rows, k, seed=0)
    steps = np.diff(found.history)
    assert (steps <= 1e-6 * found.history[0]).all()
    final = float(found.distances.double().sum())
    assert final <= found.objective * (1 + 1e-6)
    assert found.objective < found.history[0]


@POINTS
def test_values_more_iterations_and_restarts_are_not_worse(size, dim, k) -> None:
    rows = points(size, dim)
    short = KMeans(iterations=2, restarts=1).fit(rows, k, seed=0).objective
    long = KMeans(iterations=20, restarts=1).fit(rows, k, seed=0).objective
    several = KMeans(iterations=20, restarts=4).fit(rows, k, seed=0).objective
    assert several <= long <= short * (1 + 1e-6)


@pytest.mark.parametrize("clusterer", [KMeans(restarts=4), FaissKMeans(restarts=4)])
def test_values_objectives_of_all_restarts(clusterer) -> None:
    if isinstance(clusterer, FaissKMeans):
        pytest.importorskip("faiss")
    rows = points(300, 5)
    found = clusterer.fit(rows, 30, seed=0)
    assert len(set(found.objectives)) == 4
    assert found.objective == min(found.objectives)
    for restart, objective in enumerate(found.objectives):
        one = dataclasses.replace(clusterer, restarts=1)
        alone = one.fit(rows, 30, seed=RESTART_STEP * restart)
        assert alone.objectives == (objective,)
    assert clusterer.fit(rows, 300, seed=0).objectives == ()


def test_raises_what_poll_raises_before_an_iteration() -> None:
    calls = 0

    def poll() -> None:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KeyboardInterrupt

    clusterer = KMeans(iterations=3, restarts=2)
    found = clusterer.fit(points(300, 5), 30, seed=0, poll=poll)
    assert calls == 6 and len(found.history) == 3
    with pytest.raises(KeyboardInterrupt):
        clusterer.fit(points(300, 5), 30, seed=0, poll=poll)
    assert calls == 8


@POINTS
def test_equivalence_with_faiss(size, dim, k) -> None:
    pytest.importorskip("faiss")
    rows = points(size, dim, seed=3)
    expected = FaissKMeans(restarts=3).fit(rows, k, seed=5)
    found = KMeans(restarts=3, sums="faiss").fit(rows, k, seed=5)
    assert torch.equal(found.centroids, expected.centroids)
    assert torch.equal(found.assignment, expected.assignment)
    exact = KMeans(restarts=3).fit(rows, k, seed=5)
    assert exact.objective == pytest.approx(expected.objective, rel=1e-5)
    assert (exact.assignment == expected.assignment).double().mean() >= 0.999


def test_equivalence_with_faiss_on_a_sample_of_the_rows() -> None:
    faiss = pytest.importorskip("faiss")
    rows = points(3000, 6)
    ours = KMeans(max_points_per_centroid=30, sums="faiss").fit(rows, 20, seed=2)
    theirs = faiss.Kmeans(6, 20, niter=20, nredo=5, seed=2, max_points_per_centroid=30)
    theirs.train(rows.numpy())
    np.testing.assert_array_equal(ours.centroids, theirs.centroids)
    wrapped = FaissKMeans(max_points_per_centroid=30).fit(rows, 20, seed=2)
    assert torch.equal(wrapped.centroids, ours.centroids)
    assert ours.objective == float(theirs.obj[-1]) == wrapped.objective
    assert ours.objective < float(ours.distances.sum()) / 2  # of 600 rows, not of 3000


@POINTS
def test_equivalence_of_permuted_sums(size, dim, k) -> None:
    """The same first centroids and permuted rows: the sums, so everything, are the same bits."""
    rows = points(size, dim)
    order = torch.randperm(size, generator=torch.Generator().manual_seed(9))
    scale = grid_scale(float(rows.abs().max()), size)
    assert torch.equal(on_grid(rows, scale).sum(0), on_grid(rows[order], scale).flip(0).sum(0))
    centroids = rows[:k]
    distances, assignment = nearest(rows, centroids)
    permuted = nearest(rows[order], centroids)
    assert torch.equal(permuted[0], distances[order])
    assert torch.equal(permuted[1], assignment[order])


def test_equivalence_of_the_objective_of_permuted_rows() -> None:
    """Clusters that lie apart are found from every start, so in every order of the rows."""
    generator = torch.Generator().manual_seed(0)
    centres = 100 * torch.eye(6)
    rows = centres.repeat(50, 1) + torch.randn(300, 6, generator=generator)
    found = KMeans(restarts=20).fit(rows, 6, seed=0)
    order = torch.randperm(300, generator=generator)
    permuted = KMeans(restarts=20).fit(rows[order], 6, seed=0)
    assert found.objective == pytest.approx(permuted.objective, rel=1e-9)
    assert sorted(found.counts.tolist()) == sorted(permuted.counts.tolist()) == [50] * 6


@pytest.mark.parametrize("chunk", [1, 100, 2048, 5000])
def test_equivalence_of_chunks(chunk) -> None:
    rows = points(2500, 9)
    whole = KMeans(restarts=2).fit(rows, 30, seed=0)
    parts = KMeans(restarts=2, chunk=chunk).fit(rows, 30, seed=0)
    for name in ("centroids", "assignment", "distances", "counts"):
        assert torch.equal(getattr(parts, name), getattr(whole, name)), name
    assert parts.history == whole.history


@BOTH
@POINTS
@pytest.mark.parametrize("length", [1e-3, 1.0, 1e4])
def test_equivalence_of_searching_every_row(size, dim, k, sums, length, monkeypatch) -> None:
    rows = length * points(size, dim, seed=k)
    searched: list[int] = []
    call = BoundedSearch.__call__

    def counted(self, start, part):
        found = call(self, start, part)
        searched.append(self.searched)
        return found

    monkeypatch.setattr(BoundedSearch, "__call__", counted)
    few = KMeans(restarts=1, sums=sums).fit(rows, k, seed=0)
    assert searched[0] == size and searched[-1] < size
    assert len(searched) == len(few.history)
    create = BoundedSearch.__init__

    def unsure(self, *args, **options):
        create(self, *args, **options)
        self.slack = torch.inf

    monkeypatch.setattr(BoundedSearch, "__init__", unsure)
    searched.clear()
    every = KMeans(restarts=1, sums=sums).fit(rows, k, seed=0)
    assert set(searched) == {size}
    assert every.history == few.history
    assert torch.equal(every.centroids, few.centroids)
    assert torch.equal(every.assignment, few.assignment)


@POINTS
@pytest.mark.parametrize("resident", [True, False])
def test_equivalence_of_ways_to_a_device(size, dim, k, resident, monkeypatch) -> None:
    """Rows moved once or staged, and sums of all rows: as on a GPU, but on a CPU."""
    rows = points(size, dim)
    clusterer = KMeans(restarts=2, chunk=128, max_points_per_centroid=12)
    expected = clusterer.fit(rows, k, seed=1)
    start = ExactSums.__init__
    kept = RowReader.kept
    moved = []

    def as_on_a_gpu(self, *args, **options):
        start(self, *args, **options)
        self.selects = False

    def keep(self):
        reader = kept(self)
        moved.append(len(reader))
        held = torch.cat([part for _, part in self._through_pinned()])
        return RowReader(held, chunk=self.chunk, device=self.device) if resident else reader

    monkeypatch.setattr(ExactSums, "__init__", as_on_a_gpu)
    monkeypatch.setattr(RowReader, "kept", keep)
    if not resident:
        monkeypatch.setattr(RowReader, "_parts", RowReader._through_pinned)
    found = clusterer.fit(rows, k, seed=1)
    assert moved[0] == size
    assert found.history == expected.history
    assert torch.equal(found.centroids, expected.centroids)
    assert torch.equal(found.assignment, expected.assignment)


def test_values_a_row_between_two_is_searched_until_it_is_safe(monkeypatch) -> None:
    """By hand: the second at 3, own at 1 is safe while it came nearer by no more than 2 in all.

    The third goes farther than both in every step, so it is the one that is asked each time.
    """
    monkeypatch.setattr(bounded_search, "GROUP", 1)
    search = BoundedSearch(1, 1, largest_square=1e4, device=torch.device("cpu"))
    search.slack = 1e-4
    row = torch.tensor([[1.0]])
    for centroids, where, how_many in [
        ([0.0, 4.0, 50.0], 0, 1),
        ([0.0, 3.0, 90.0], 0, 0),
        ([0.0, 2.1, 50.0], 0, 0),
        ([0.0, 1.9, 90.0], 1, 1),
        ([0.0, 1.9, 1.8], 2, 1),
        ([0.0, 1.9, 50.0], 1, 1),
    ]:
        search.move_to(torch.tensor(centroids)[:, None])
        found = search(0, row)
        assert (found.assignment.item(), search.searched) == (where, how_many), centroids
        assert found.distances.item() == pytest.approx((centroids[where] - 1) ** 2)


def test_equivalence_of_blocks_of_centroids(monkeypatch) -> None:
    rows = points(500, 5)
    whole = nearest(rows, rows[:300])
    monkeypatch.setattr(nearest_centroid, "BLOCK", 64)
    parts = nearest(rows, rows[:300])
    assert torch.equal(parts[1], whole[1])
    assert torch.equal(parts[0], whole[0])


def test_values_of_equally_near_centroids_the_first() -> None:
    centroids = torch.tensor([[5.0], [1.0], [3.0], [1.0]]).repeat(50, 1)
    distances, assignment = nearest(torch.tensor([[2.0], [1.0], [4.0]]), centroids)
    assert assignment.tolist() == [1, 1, 0]
    assert distances.tolist() == [1.0, 0.0, 1.0]


@BOTH
def test_values_duplicate_points(sums) -> None:
    """Fewer different points than clusters: centroids stay finite, every point is near one."""
    rows = points(12, 4).repeat(20, 1)
    found = KMeans(sums=sums).fit(rows, 20, seed=0)
    assert found.centroids.isfinite().all()
    assert float(found.distances.max()) < 1e-2
    assert int(found.counts.sum()) == 240
    same = KMeans(sums=sums).fit(torch.ones(50, 3), 5, seed=0)
    assert float(same.distances.max()) < 1e-2


@BOTH
def test_values_as_many_clusters_as_points(sums) -> None:
    rows = points(40, 5)
    found = KMeans(sums=sums).fit(rows, 40, seed=3)
    assert torch.equal(found.centroids, rows)
    assert found.assignment.tolist() == list(range(40))
    assert found.objective == 0 and found.history == () and float(found.distances.max()) == 0


def test_values_stop_when_nothing_changes() -> None:
    rows = points(300, 2)
    found = KMeans(iterations=200, restarts=1).fit(rows, 5, seed=0)
    assert 2 < len(found.history) < 200
    assert found.history[-1] == found.history[-2]


def test_values_no_global_generator_is_touched() -> None:
    rows = points(200, 3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = KMeans().fit(rows, 9, seed=4)
    torch.rand(5), np.random.rand(3)
    second = KMeans().fit(rows, 9, seed=4)
    assert torch.equal(first.centroids, second.centroids)
    assert not torch.equal(first.centroids, KMeans().fit(rows, 9, seed=5).centroids)
    torch.set_rng_state(before[0])
    KMeans().fit(rows, 9, seed=4)
    assert torch.equal(torch.get_rng_state(), before[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_equivalence_of_precisions(dtype) -> None:
    rows = points(300, 4).to(dtype)
    found = KMeans().fit(rows, 12, seed=0)
    assert torch.equal(found.centroids, KMeans().fit(rows.float(), 12, seed=0).centroids)


def test_equivalence_under_autocast_and_low_precision() -> None:
    rows = F.normalize(points(500, 16))
    expected = KMeans(restarts=1).fit(rows, 40, seed=0)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = KMeans(restarts=1).fit(rows, 40, seed=0)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(found.centroids, expected.centroids)


def test_values_sums_do_not_depend_on_the_order() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(4001, generator=generator) * 10 ** torch.randn(4001, generator=generator)
    scale = grid_scale(float(values.abs().max()), 4001)
    sums = {
        float(on_grid(values[torch.randperm(4001, generator=generator)], scale).cumsum(0)[-1])
        for _ in range(20)
    }
    assert len(sums) == 1
    assert sums.pop() / scale == pytest.approx(float(values.double().sum()), rel=1e-9)
    assert grid_scale(0.0, 10) > 0


@pytest.mark.parametrize("size, count", [(1, 1), (2, 2), (10, 10), (5000, 3), (100, 99)])
def test_values_permutation_is_one_and_its_beginning_does_not_depend_on_the_rest(
    size, count
) -> None:
    whole = first_of_permutation(size, size, seed=7)
    assert sorted(whole.tolist()) == list(range(size))
    assert torch.equal(first_of_permutation(size, count, seed=7), whole[:count])


def test_values_split_by_hand() -> None:
    """With one donor the draws do not matter: half of its members, moved apart by 1/1024."""
    centroids = np.array([[0, 0, 0], [8, 8, 8], [4, 4, 4]], dtype=np.float32)
    assert split_empty_clusters(centroids, np.array([0, 9, 1])) == 1
    up, down = 8 + 8 / 1024, 8 - 8 / 1024
    assert centroids.tolist() == [[up, down, up], [down, up, down], [4, 4, 4]]
    assert split_empty_clusters(centroids, np.array([3, 4, 1])) == 0


@pytest.mark.parametrize("clusterer", [KMeans(), KMeans(sums="faiss"), FaissKMeans()])
def test_raises_on_what_cannot_be_clustered(clusterer) -> None:
    if isinstance(clusterer, FaissKMeans):
        pytest.importorskip("faiss")
    rows = points(30, 2)
    with pytest.raises(ValueError, match="31 clusters need at least as many features, got 30"):
        clusterer.fit(rows, 31, seed=0)
    with pytest.raises(ValueError, match="0 clusters"):
        clusterer.fit(rows, 0, seed=0)
    broken = rows.clone()
    broken[4, 1], broken[17, 0], broken[29, 0] = torch.nan, torch.inf, -torch.inf
    with pytest.raises(ValueError, match="3 of 30 features .* have index 4, 17, 29"):
        clusterer.fit(broken, 3, seed=0)
    with pytest.raises(ValueError, match="index 4, 5, 6, 7, 8. The"):
        clusterer.fit(torch.where(torch.arange(30)[:, None] < 4, rows, torch.nan), 3, seed=0)
    with pytest.raises(ValueError, match="huge"):
        clusterer.fit(rows * 1e25, 3, seed=0)
    with pytest.raises(ValueError, match="floating-point matrix"):
        clusterer.fit(rows.long(), 3, seed=0)
    with pytest.raises(ValueError, match=r"\(30,\)"):
        clusterer.fit(rows[:, 0], 3, seed=0)


def test_raises_on_options() -> None:
    with pytest.raises(ValueError, match="restarts >= 1, got 0"):
        KMeans(restarts=0)
    with pytest.raises(ValueError, match="sums is 'exact' or 'faiss', got 'fast'"):
        KMeans(sums="fast")
    with pytest.raises(ValueError, match="iterations >= 1"):
        FaissKMeans(iterations=0)
    with pytest.raises(ValueError, match="rows of one length"):
        nearest(torch.ones(2, 3), torch.ones(2, 4))
    with pytest.raises(ValueError, match="Needs a centroid"):
        nearest(torch.ones(2, 3), torch.ones(0, 3))


def test_raises_without_faiss(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match="pip install faiss-cpu"):
        FaissKMeans().fit(points(30, 2), 3, seed=0)


def test_values_built_from_a_config() -> None:
    assert build_clusterer(dict(type="KMeans", restarts=2)) == KMeans(restarts=2)
    assert build_clusterer(dict(type="FaissKMeans")) == FaissKMeans()
    own = KMeans(chunk=5)
    assert build_clusterer(own) is own
    with pytest.raises(KeyError, match="'Ward'"):
        build_clusterer(dict(type="Ward"))
    with pytest.raises(TypeError, match="method `fit`"):
        build_clusterer("KMeans")
    with pytest.raises(dataclasses.FrozenInstanceError):
        own.chunk = 6


def test_values_progress_is_shown(capsys) -> None:
    KMeans(restarts=1).fit(points(50, 2), 3, seed=0, progress="Clustering")
    assert "Clustering" in capsys.readouterr().out
    KMeans(restarts=1).fit(points(50, 2), 3, seed=0)
    assert capsys.readouterr().out == ""
