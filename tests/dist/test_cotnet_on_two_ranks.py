"""A tiny CoTNet under MoCo and PixPro on two gloo processes.

SyncBN needs GPUs: norms are local here, or in eval mode where two processes are compared with one.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.model import MMDistributedDataParallel
from torch import Tensor

from mmssl.models.algorithms import BaseAlgorithm
from mmssl.models.backbones import CoTNet
from mmssl.structures import Progress, ViewBatch
from tests.helpers.tiny import sgd, tiny_moco, tiny_pixpro, tiny_views, total_loss

pytestmark = pytest.mark.dist
STEPS = 2
ARCH = dict(
    depths=(1, 1, 1, 1), planes=(8, 8, 8, 16), mixers=("se", "cot", "cot", "cot"), stem_channels=8
)
NO_NORM = dict(hid_channels=16, out_channels=8, norm_cfg=None)


def built(name: str, norm_eval: bool) -> BaseAlgorithm:
    """The method in float64, from the same numbers everywhere."""
    torch.manual_seed(0)
    backbone = CoTNet(ARCH, norm_eval=norm_eval, zero_init_residual=False)
    model = (
        tiny_moco(backbone=backbone)
        if name == "moco"
        else tiny_pixpro(backbone=backbone, neck=NO_NORM)
    )
    model.init_weights()
    model.double().train()
    if norm_eval:
        model.twin.eval()
    return model


def batch(step: int, rows: slice) -> ViewBatch:
    views = tiny_views(step, size=8, pixels=64)
    return views._replace(
        images=[image[rows].double() for image in views.images],
        index=views.index[rows],
        boxes=[box[rows].double() for box in views.boxes],
        label=views.label[rows],
    )


def train(name: str, rows: slice, *, norm_eval: bool, wrapped: bool) -> dict[str, Tensor]:
    """State after some steps on these rows of each batch."""
    model = built(name, norm_eval)
    network = MMDistributedDataParallel(model, broadcast_buffers=True) if wrapped else model
    optimizer = sgd(model)
    for step in range(STEPS):
        torch.manual_seed(step)
        model.progress = Progress(step, STEPS, 0, 1)
        model.twin.update(model, step, STEPS)
        loss = total_loss(network(batch(step, rows), mode="loss"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.state_dict()


def work(rank: int, folder: str, name: str, norm_eval: bool) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    state = train(name, slice(4 * rank, 4 * rank + 4), norm_eval=norm_eval, wrapped=True)
    torch.save(state, f"{folder}/{rank}.pth")
    dist.destroy_process_group()


def two_ranks(folder: Path, name: str, *, norm_eval: bool) -> list[dict[str, Tensor]]:
    mp.spawn(work, args=(str(folder), name, norm_eval), nprocs=2)
    return [torch.load(folder / f"{rank}.pth", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", ["moco", "pixpro"])
def test_equivalence_ranks_hold_the_same_weights(name, tmp_path):
    """Norms, those of the fusions too, see the images of their process only; weights stay together."""
    first, second = two_ranks(tmp_path, name, norm_eval=False)
    differing = {key for key in first if not torch.equal(first[key], second[key])}
    assert all(key.rsplit(".", 1)[1] in ("running_mean", "running_var") for key in differing)
    fused = "backbone.layer4.0.conv2.se.1.running_mean"
    assert {fused, f"twin.{fused}"} <= differing
    assert not torch.equal(
        first["backbone.layer4.0.conv2.embed.3.weight"],
        built(name, False).state_dict()["backbone.layer4.0.conv2.embed.3.weight"],
    )


def test_equivalence_two_ranks_are_one_of_twice_the_batch(tmp_path):
    """Where no norm looks at the batch."""
    ranks = two_ranks(tmp_path, "pixpro", norm_eval=True)
    whole = train("pixpro", slice(0, 8), norm_eval=True, wrapped=False)
    for state in ranks:
        for key, value in whole.items():
            torch.testing.assert_close(state[key], value, msg=key)
