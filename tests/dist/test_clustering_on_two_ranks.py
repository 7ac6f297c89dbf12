"""Embeddings and prototypes on two gloo processes: the official ones, and those of one process."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmssl.models.algorithms.base import bare_model
from mmssl.engine.hooks import Preempted, latest_checkpoint
from mmssl.evaluation import embeddings, evaluation_loader
from mmssl.evaluation.embeddings import embed_images
from mmssl.models.algorithms import HCSC
from mmssl.structures import ViewBatch
from tests.helpers import contrast_steps as steps
from tests.helpers.clustered import cluster_hook, figures_without_seconds, run_clustered
from tests.helpers.fill import image
from tests.helpers.goldens import Golden

pytestmark = pytest.mark.dist
CASE = "features_2ranks"
METHODS = ("HCSC", "PCL")
WRAPPER = dict(type="MMDistributedDataParallel", device_ids=None, broadcast_buffers=True)
TWO = dict(launcher="pytorch", model_wrapper_cfg=WRAPPER)


class GivenImages(Dataset):
    """The nine images of the case."""

    def __len__(self) -> int:
        return 9

    def __getitem__(self, key: tuple[int, int]) -> dict[str, ViewBatch]:
        pixels = image(f"{CASE}/{key[1]}", (3, 64, 64))
        return dict(inputs=ViewBatch([pixels], torch.tensor(key[1]), [], torch.tensor(-1), []))


class Unchanged(nn.Module):
    """A preprocessor for images that are normalised already."""

    def forward(self, data: dict, training: bool) -> dict:
        return data


def embed(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    about = Golden("hcsc", CASE).entry["built"]
    model = HCSC(
        steps.resnet18(),
        steps.neck(about["dim"], mlp=True),
        dict(type="Prototypes", num_clusters=[4, 2]),
        queue_length=about["queue_length"],
    )
    steps.fill_model(model, torch.float32)
    model.data_preprocessor = Unchanged()
    if rank:  # its own statistics must not count
        model.twin.backbone.bn1.running_mean += 1.0
    rows = torch.empty(5 - rank, about["dim"])
    loader = evaluation_loader(GivenImages(), batch_size=2)
    embed_images(model, loader, rows, branch="twin", poll=lambda: None)
    torch.save(rows, f"{folder}/{rank}.pth")
    dist.destroy_process_group()


def test_values_of_the_official_features(tmp_path: Path) -> None:
    """An image that the official sampler pads with is embedded once here; the rows are theirs."""
    golden = Golden("hcsc", CASE)
    mp.spawn(embed, args=(str(tmp_path),), nprocs=2)
    found = torch.empty(9, golden.entry["built"]["dim"])
    for rank in range(2):
        found[rank::2] = torch.load(tmp_path / f"{rank}.pth", weights_only=True)
    expected = torch.from_numpy(golden.arrays["features"])
    assert float((found - expected).abs().max()) <= golden.entry["tolerance"]["features"]


def join(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)


def train(rank: int, folder: str) -> None:
    join(rank, folder)
    found = {
        method: outcome(Path(folder) / f"two_{method}", 3, method, **TWO) for method in METHODS
    }
    torch.save(found, f"{folder}/{rank}.pth")
    dist.destroy_process_group()


def outcome(
    work_dir: Path, batch_size: int, method: str = "HCSC", **changes
) -> dict[str, dict[str, Tensor] | list]:
    """State and figures after an epoch of warm-up; later, each batch has its own prototype negatives."""
    options = {"train_dataloader.batch_size": batch_size, "train_cfg.max_epochs": 2}
    run = run_clustered(work_dir, method, **options, **changes)
    state = {key: value.clone() for key, value in bare_model(run.model).state_dict().items()}
    return dict(state=state, history=figures_without_seconds(cluster_hook(run).history))


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict[str, dict]]:
    """What each rank ends with, method by method."""
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(train, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pth", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("method", METHODS)
def test_equivalence_with_one_process_of_twice_the_batch(tmp_path, ranks, method) -> None:
    """Both ranks hold the same everything, and the prototypes of one process: 24 images, two levels.

    Buffers that are exchanged before each step, as in the recipes, do not bring older prototypes back.
    """
    first, second = (found[method] for found in ranks)
    one = outcome(tmp_path, 6, method)
    assert first["state"].keys() == one["state"].keys()
    for key, value in one["state"].items():
        assert torch.equal(first["state"][key], second["state"][key]), key
        if key.startswith("prototypes."):
            torch.testing.assert_close(first["state"][key], value, rtol=1e-4, atol=1e-5, msg=key)
    for mine, theirs in zip(one["history"], first["history"], strict=True):
        assert theirs == pytest.approx(mine, rel=1e-4)


def interrupt(rank: int, folder: str) -> None:
    """SIGTERM reaches rank 1 alone, while images are embedded for the second time."""
    join(rank, folder)
    frozen, calls = embeddings.frozen, []

    def noticed(module):
        calls.append(module)
        if rank == 1 and len(calls) == 3:  # backbone and neck, twice
            os.kill(os.getpid(), signal.SIGTERM)
        return frozen(module)

    embeddings.frozen = noticed
    run_dir = Path(folder) / "run"
    with pytest.raises(Preempted):
        outcome(run_dir, 3, hook=dict(begin_epoch=0), **TWO)
    embeddings.frozen = frozen
    dist.barrier()  # rank 0 writes
    assert latest_checkpoint(run_dir).name == "iter_4.pth"
    straight = outcome(Path(folder) / "straight", 3, hook=dict(begin_epoch=0), **TWO)
    resumed = outcome(run_dir, 3, hook=dict(begin_epoch=0), resume=True, **TWO)
    for key, value in straight["state"].items():
        assert torch.equal(resumed["state"][key], value), key
    assert resumed["history"] == straight["history"]
    dist.destroy_process_group()


def test_state_ended_by_sigterm_on_one_rank(tmp_path: Path) -> None:
    """Both leave between two batches, and go on with the same prototypes."""
    mp.spawn(interrupt, args=(str(tmp_path),), nprocs=2)
