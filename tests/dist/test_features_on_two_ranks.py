"""Feature extraction on two gloo processes: every rank gets all images, in dataset order."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from mmssl.evaluation import evaluation_loader, extract_features, features
from tests.helpers.monitored import Gratings, TinyBackbone

pytestmark = pytest.mark.dist


def backbone() -> TinyBackbone:
    torch.manual_seed(0)
    return TinyBackbone(8)


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    features.GATHER_ROWS = 3  # several rounds, the last one ragged
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found = extract_features(backbone(), evaluation_loader(Gratings(9), batch_size=4))
    torch.save(tuple(found), f"{folder}/{rank}.pth")
    dist.destroy_process_group()


def test_equivalence_with_one_process(tmp_path: Path) -> None:
    mp.spawn(work, args=(str(tmp_path),), nprocs=2)
    alone = extract_features(backbone(), evaluation_loader(Gratings(9), batch_size=4))
    for rank in range(2):
        rows, labels = torch.load(tmp_path / f"{rank}.pth", weights_only=True)
        torch.testing.assert_close(rows, alone.features)
        assert torch.equal(labels, alone.labels)
