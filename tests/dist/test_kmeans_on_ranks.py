"""K-means on 1, 2 and 4 gloo processes: the same bits, the same errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from mmssl.ops.cluster_levels import cluster_flat, cluster_tree
from mmssl.ops.faiss_kmeans import FaissKMeans
from mmssl.ops.kmeans import KMeans
from tests.helpers.goldens import Golden

pytestmark = pytest.mark.dist


def rows() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(40, 12, generator=generator)
    chosen = torch.randint(40, (601,), generator=generator)
    noisy = centres[chosen] + 0.4 * torch.randn(601, 12, generator=generator)
    return torch.nn.functional.normalize(noisy, dim=1)


def error_of(call) -> str:
    try:
        call()
    except (ValueError, ImportError) as error:
        return str(error)
    return ""


def worker(rank: int, world_size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world_size)
    record(rank, world_size, folder)
    dist.destroy_process_group()


def record(rank: int, world_size: int, folder: Path) -> None:
    """What one rank finds in everything that is compared, in a file."""
    everything = rows()
    mine = everything[rank::world_size]
    few = dict(restarts=2, iterations=5)
    found = {
        "plain": KMeans(**few).fit(mine, 40, seed=3),
        "sampled": KMeans(**few, max_points_per_centroid=10).fit(mine, 40, seed=3),
        "faiss": FaissKMeans(**few).fit(mine, 40, seed=3),
        "few": KMeans(**few).fit(everything[:3][rank::world_size], 2, seed=0),
        "tree": cluster_tree(mine, (60, 20, 3), clusterer=KMeans(**few), temperature=0.2),
        "flat": cluster_flat(
            mine, (20, 50), clusterer=KMeans(**few), temperature=0.2, min_members=10
        ),
    }
    heavy_tailed = torch.from_numpy(Golden("hcsc", "kmeans_split").arrays["x"])
    found["split"] = KMeans(restarts=4).fit(heavy_tailed[rank::world_size], 266, seed=2)
    broken = everything.clone()
    broken[[1, 6, 7, 600]] = torch.nan
    errors = [
        error_of(lambda: KMeans().fit(broken[rank::world_size], 4, seed=0)),
        error_of(lambda: KMeans().fit(mine, 602, seed=0)),
        error_of(lambda: KMeans().fit(everything[: 100 + (rank == 1)], 4, seed=0)),
        error_of(lambda: KMeans(sums="faiss").fit(mine, 4, seed=0)),
    ]
    found = {name: result._asdict() for name, result in found.items()}
    torch.save(dict(found=found, errors=errors), folder / f"rank{rank}.pt")


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[int, list[dict]]:
    found = {}
    for world_size in (1, 2, 4):
        folder = tmp_path_factory.mktemp(f"ranks{world_size}")
        if world_size == 1:
            record(0, 1, folder)
        else:
            mp.spawn(worker, (world_size, folder), nprocs=world_size)
        found[world_size] = [
            torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(world_size)
        ]
    return found


@pytest.mark.parametrize("name", ["plain", "sampled", "split", "faiss", "few"])
@pytest.mark.parametrize("world_size", [2, 4])
def test_equivalence_of_world_sizes(results, world_size, name) -> None:
    expected = results[1][0]["found"][name]
    for rank, result in enumerate(results[world_size]):
        found = result["found"][name]
        assert found["history"] == expected["history"]
        assert found["objective"] == expected["objective"]
        assert torch.equal(found["centroids"], expected["centroids"])
        assert torch.equal(found["counts"], expected["counts"])
        for each in ("assignment", "distances"):
            assert torch.equal(found[each], expected[each][rank::world_size]), each


@pytest.mark.parametrize("name", ["tree", "flat"])
@pytest.mark.parametrize("world_size", [2, 4])
def test_equivalence_of_levels(results, world_size, name) -> None:
    expected = results[1][0]["found"][name]
    assert expected["assignment"].shape == (1 if name == "tree" else 2, 601)
    for result in results[world_size]:
        found = result["found"][name]
        assert found["objective"] == expected["objective"]
        assert torch.equal(found["assignment"], expected["assignment"])
        for each in ("centroids", "density", "parents"):
            assert len(found[each]) == len(expected[each])
            assert all(map(torch.equal, found[each], expected[each])), each


def test_values_the_cases_are_what_they_are_for(results) -> None:
    found = results[1][0]["found"]
    assert len(found["plain"]["history"]) == 5
    assert found["sampled"]["objective"] < found["plain"]["objective"] * 0.7
    assert len(found["flat"]["centroids"][1]) < 50
    # its best restart splits empty clusters on the way
    split = Golden("hcsc", "kmeans_split").arrays["assign"]
    np.testing.assert_array_equal(found["split"]["assignment"], split)


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_raises_the_same_on_every_rank(results, world_size) -> None:
    for result in results[world_size]:
        broken, few, uneven, faiss = result["errors"]
        assert "4 of 601 features" in broken and "have index 1, 6, 7, 600." in broken
        assert "602 clusters need at least as many features, got 601" in few
        if world_size > 1:
            assert f"Row i of {100 * world_size + 1} belongs to rank i mod" in uneven
            assert f"which {world_size} ranks do not have" in faiss
