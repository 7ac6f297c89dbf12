"""NormAverageHook on two gloo processes: running statistics become the mean, nothing else does."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from mmssl.engine.hooks import NormAverageHook

pytestmark = pytest.mark.dist


def model(rank: int) -> nn.Module:
    """A BatchNorm that saw other images on each rank, and one without statistics."""
    torch.manual_seed(rank)
    net = nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4, track_running_stats=False)
    )
    net(torch.randn(8, 3))
    return net


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    net = model(rank)
    hook, runner = NormAverageHook(), SimpleNamespace(model=net)
    hook.before_train(runner)
    hook.after_train_epoch(runner)
    torch.save(net.state_dict(), f"{folder}/{rank}.pth")
    dist.destroy_process_group()


def test_values_mean_of_the_ranks(tmp_path: Path) -> None:
    mp.spawn(work, args=(str(tmp_path),), nprocs=2)
    before = [model(rank).state_dict() for rank in range(2)]
    after = [torch.load(tmp_path / f"{rank}.pth", weights_only=True) for rank in range(2)]
    for name in before[0]:
        averaged = name in ("1.running_mean", "1.running_var")
        for rank in range(2):
            expected = (before[0][name] + before[1][name]) / 2 if averaged else before[rank][name]
            assert torch.equal(after[rank][name], expected), name
    assert not torch.equal(before[0]["1.running_mean"], before[1]["1.running_mean"])


def test_raises_without_statistics() -> None:
    runner = SimpleNamespace(model=nn.Linear(2, 2))
    with pytest.raises(ValueError, match="no BatchNorm with running statistics"):
        NormAverageHook().before_train(runner)
