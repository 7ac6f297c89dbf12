"""Windows on two gloo processes: each has its own images, whose rows it holds; killed inside of one."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.hooks import Hook

from mmssl.models.algorithms.base import bare_model
from mmssl.datasets import SlidingWindowSampler
from mmssl.engine.runner import Runner
from mmssl.registry import HOOKS
from tests.helpers.killed import Killed
from tests.helpers.runs import toy_config

pytestmark = pytest.mark.dist
IMAGES = 22
WINDOW = dict(window=16, stride=4)
TWO = dict(
    launcher="pytorch",
    model_wrapper_cfg=dict(
        type="MMDistributedDataParallel", device_ids=None, broadcast_buffers=False
    ),
)


@HOOKS.register_module()
class RankImagesHook(Hook):
    """Notes the window and the images of every iteration of this rank."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, list[int]]] = []

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.seen.append((runner.epoch, data_batch["inputs"].index.tolist()))


def run(work_dir: Path, *hooks: dict, resume: bool = False, **changes: Any) -> tuple[dict, list]:
    """Weights and rows after 2 epochs: 3 windows of 4 batches of 2 on each rank; and the images."""
    options = {
        "model": dict(
            type="PIC",
            _delete_=True,
            backbone=dict(type="ToyBackbone"),
            neck=dict(type="MLPNeck", hid_channels=8, out_channels=6),
            head=dict(num_instances=IMAGES, num_negatives=7, shard=True),
        ),
        "train_dataloader.batch_size": 2,
        "train_dataloader.dataset": dict(type="ToyImages", length=IMAGES, sizes=[8]),
        "train_dataloader.sampler": dict(type="SlidingWindowSampler", _delete_=True, **WINDOW),
        "train_cfg": dict(type="WindowLoop", max_epochs=2),
        "default_hooks.checkpoint": dict(type="CheckpointHook", interval=1, by_epoch=False),
        "default_hooks.report": None,
    }
    hooks = (dict(type="InstanceRowsHook"), dict(type="RankImagesHook"), *hooks)
    config = toy_config(work_dir, custom_hooks=list(hooks), resume=resume, **(options | changes))
    runner = Runner.from_cfg(config)
    (seen,) = (hook.seen for hook in runner.hooks if isinstance(hook, RankImagesHook))
    with suppress(Killed):
        runner.train()
    model = bare_model(runner.model)
    state = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    return state | dict(rows=model.head.class_weights()), seen


def train(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    straight = run(Path(folder) / "straight", **TWO)
    killed = run(Path(folder) / "killed", dict(type="KillHook", at=5), **TWO)
    resumed = run(Path(folder) / "killed", resume=True, **TWO)
    torch.save((straight, killed, resumed), f"{folder}/{rank}.pth")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(train, args=(str(folder),), nprocs=2)
    return folder


def test_values_each_rank_has_its_own_images(folder: Path) -> None:
    """Those whose rows it holds, window by window as its sampler says."""
    for rank in range(2):
        (_, seen), *_ = torch.load(folder / f"{rank}.pth", weights_only=True)
        sampler = SlidingWindowSampler(range(IMAGES), seed=0, rank=rank, world_size=2, **WINDOW)
        assert [epoch for epoch, _ in seen] == [0] * 4 + [1] * 4 + [2] * 4
        for number in range(3):
            sampler.set_epoch(number)
            expected = [index for _, index in sampler]
            assert sum((images for epoch, images in seen if epoch == number), []) == expected
        assert {index % 2 for _, images in seen for index in images} == {rank}


def test_state_killed_inside_a_window_is_bit_equal(folder: Path) -> None:
    for rank in range(2):
        straight, killed, resumed = torch.load(folder / f"{rank}.pth", weights_only=True)
        assert killed[1][:6] + resumed[1] == straight[1]
        for key, value in straight[0].items():
            assert torch.equal(resumed[0][key], value), key
    assert len(straight[0]["rows"]) == 0  # of the first rank only


def test_raises_resume_on_another_number_of_ranks(folder: Path) -> None:
    """The images of a window depend on it."""
    with pytest.raises(ValueError, match=r"world_size=2 \(now 1\)"):
        run(folder / "killed", resume=True, **{"train_dataloader.batch_size": 4})
