"""DeepCluster-v2 on two gloo processes: memory and clusters of one process, files for any number of ranks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn import functional as F

from mmssl.ops.spherical_kmeans import SphericalKMeans
from tests.helpers.memory_runs import memory_hook, run_memory

pytestmark = pytest.mark.dist
WRAPPER = dict(type="MMDistributedDataParallel", device_ids=None, broadcast_buffers=True)
TWO = {"launcher": "pytorch", "model_wrapper_cfg": WRAPPER, "train_dataloader.batch_size": 3}
# no image is left out: one without a cluster changes the mean of its rank alone
SET = {
    "model.num_samples": 24,
    "train_dataloader.dataset.length": 24,
    "train_cfg.max_epochs": 2,
    "default_hooks.checkpoint": dict(type="CheckpointHook", interval=3, by_epoch=False),
}


def rows() -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return F.normalize(torch.randn(61, 7, generator=generator), dim=1)


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    own, present = rows()[rank::2], (torch.arange(61) % 4 > 0)[rank::2]
    clusters = SphericalKMeans().fit(own, present, 9, seed=2)
    run = run_memory(Path(folder) / "two", **TWO, **SET)
    memory = run.model.module.memory
    figures = memory_hook(run).history
    torch.save(
        dict(
            clusters=tuple(clusters),
            embeds=memory.embeds,
            assignment=memory.assignment,
            figures=[{k: v for k, v in entry.items() if "second" not in k} for entry in figures],
        ),
        f"{folder}/{rank}.pth",
    )
    dist.barrier()
    # the rest of a run of one process, from inside of its second epoch
    resumed = run_memory(
        Path(folder) / "on_two", resume=True, load_from=f"{folder}/one.pth", **TWO, **SET
    )
    torch.save(resumed.model.module.memory.embeds, f"{folder}/on_two_{rank}.pth")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Outcomes of both ranks, and of one process."""
    place = tmp_path_factory.mktemp("ranks")
    run_memory(place / "one", **SET, **{"train_dataloader.batch_size": 6})
    (place / "one.pth").write_bytes((place / "one" / "iter_6.pth").read_bytes())
    mp.spawn(work, (str(place),), nprocs=2)
    return place


def load(path: Path):
    return torch.load(path, weights_only=False)


def test_equivalence_of_clusters_bit_by_bit(folder: Path) -> None:
    present = torch.arange(61) % 4 > 0
    expected = SphericalKMeans().fit(rows(), present, 9, seed=2)
    for rank in range(2):
        centroids, assignment, counts, cosine = load(folder / f"{rank}.pth")["clusters"]
        assert torch.equal(centroids, expected.centroids)
        assert torch.equal(assignment, expected.assignment)
        assert torch.equal(counts, expected.counts) and cosine == expected.cosine


def test_equivalence_with_one_process_of_twice_the_batch(folder: Path) -> None:
    """Each rank has its rows, the file of rank 0 all of them."""
    one = load(folder / "one" / "iter_8.pth")["state_dict"]
    two = load(folder / "two" / "iter_8.pth")["state_dict"]
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-5, msg=key)
    first, second = (load(folder / f"{rank}.pth") for rank in range(2))
    assert torch.equal(first["assignment"], second["assignment"])
    assert first["figures"] == second["figures"] and len(first["figures"]) == 2
    assert torch.equal(two["memory.embeds"][::2], first["embeds"])
    assert torch.equal(two["memory.embeds"][1::2], second["embeds"])


def test_state_a_file_of_one_process_goes_on_on_two(folder: Path) -> None:
    one = load(folder / "one" / "iter_8.pth")["state_dict"]["memory.embeds"]
    for rank in range(2):
        found = load(folder / f"on_two_{rank}.pth")
        torch.testing.assert_close(found, one[rank::2], rtol=1e-4, atol=1e-5)
