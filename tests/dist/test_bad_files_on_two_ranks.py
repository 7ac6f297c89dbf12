"""Unreadable files are counted over the ranks, not over the half that each of them reads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from mmssl.datasets import BadFiles, TooManyBadFilesError

pytestmark = pytest.mark.dist


def work(rank: int, folder: str) -> None:
    """100 files, 7 of them unreadable, 4 on one rank and 3 on the other; 6 are allowed."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    bad = BadFiles(100, 0.06, name="folder", path=lambda index: f"{index}.jpg")
    for index in range(rank, 100, 2):
        bad.note_tried(index)
    for index in ((0, 10, 20, 30), (1, 11, 21))[rank]:
        bad.add(index, "broken")
    bad.merge_ranks()
    try:
        bad.check()
        message = ""
    except TooManyBadFilesError as error:
        message = str(error)
    torch.save((bad.indices(), message), f"{folder}/{rank}.pth")
    dist.destroy_process_group()


def test_raises_on_every_rank(tmp_path: Path) -> None:
    mp.spawn(work, args=(str(tmp_path),), nprocs=2)
    for rank in range(2):
        indices, message = torch.load(tmp_path / f"{rank}.pth", weights_only=True)
        assert indices == [0, 1, 10, 11, 20, 21, 30]
        assert "7 of the 100 images" in message
