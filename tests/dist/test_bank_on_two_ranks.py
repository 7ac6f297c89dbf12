"""NPID on two gloo processes: one bank, one Z, and the run of one process with twice the batch."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from mmssl.models.algorithms.base import bare_model
from mmssl.engine.runner import Runner
from tests.helpers.runs import toy_config

pytestmark = pytest.mark.dist
NUM_IMAGES = 24
CASES: dict[str, dict[str, Any]] = {
    "whole_bank": dict(num_negatives=None),
    "drawn_rows": dict(num_negatives=5),
    "noise_contrast": dict(num_negatives=5, criterion="nce"),
}
# nothing but the method itself keeps the buffers of the ranks equal, as in the recipes
WRAPPER = dict(type="MMDistributedDataParallel", device_ids=None, broadcast_buffers=False)
TWO = dict(launcher="pytorch", model_wrapper_cfg=WRAPPER)


def drawn(own: Tensor, *, count: int) -> Tensor:
    """Rows (B, count) that depend on the image alone: two ranks draw others than one process does."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(NUM_IMAGES, (NUM_IMAGES, count), generator=generator)[own]


def outcome(work_dir: Path, batch_size: int, case: str, **changes: Any) -> dict[str, Tensor]:
    """Weights, bank and Z after two epochs."""
    model = dict(
        type="NPID",
        _delete_=True,
        backbone=dict(type="ToyBackbone"),
        neck=dict(type="MLPNeck", hid_channels=8, out_channels=6),
        num_samples=NUM_IMAGES,
        **CASES[case],
    )
    config = toy_config(
        work_dir,
        model=model,
        **{
            "train_dataloader.batch_size": batch_size,
            "train_dataloader.dataset": dict(type="ToyImages", length=NUM_IMAGES, sizes=[8]),
            "train_cfg.max_epochs": 2,
            "default_hooks.report": None,
        },
        **changes,
    )
    runner = Runner.from_cfg(config)
    npid = bare_model(runner.model)
    if npid.num_negatives is not None:
        npid.draw = partial(drawn, count=npid.num_negatives)
    runner.train()
    return {key: value.clone() for key, value in npid.state_dict().items()}


def train(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found = {case: outcome(Path(folder) / f"two_{case}", 4, case, **TWO) for case in CASES}
    torch.save(found, f"{folder}/{rank}.pth")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict[str, dict[str, Tensor]]]:
    """What each rank ends with, case by case."""
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(train, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pth", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("case", CASES)
def test_equivalence_with_one_process_of_twice_the_batch(tmp_path, ranks, case) -> None:
    """Z is the mean of both ranks' estimates: that over the whole first batch."""
    first, second = (found[case] for found in ranks)
    one = outcome(tmp_path, 8, case)
    assert first.keys() == one.keys()
    for key, value in one.items():
        assert torch.equal(first[key], second[key]), key
        torch.testing.assert_close(first[key], value, rtol=1e-5, atol=1e-6, msg=key)
    assert (float(one["normalizer"]) > 0) == (case == "noise_contrast")
