"""SimCLR on two gloo processes against one with twice the batch: negatives of all, gradients through them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.model import MMDistributedDataParallel

from mmssl.losses import nt_xent, unit_norm
from mmssl.models.algorithms import SimCLR
from mmssl.structures import Progress, ViewBatch
from tests.helpers.tiny import TinyBackbone, tiny_simclr, tiny_views

pytestmark = pytest.mark.dist
NECK = dict(type="MLPNeck", out_channels=8)


def model_of(gather_grad: bool) -> SimCLR:
    """Without BatchNorm, so that the processes meet in the loss only."""
    torch.manual_seed(0)
    model = tiny_simclr(backbone=TinyBackbone((3,), norm=False), neck=NECK, gather_grad=gather_grad)
    model.progress = Progress(0, 10, 0, 1)
    return model.double().train()


def views_of(rank: int) -> ViewBatch:
    views = tiny_views(seed=rank)
    return views._replace(images=[images.double() for images in views.images])


def gradients(model: SimCLR) -> dict[str, torch.Tensor]:
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found = []
    for gather_grad in (True, False):
        model = model_of(gather_grad)
        wrapped = MMDistributedDataParallel(model)
        loss = wrapped(views_of(rank), mode="loss")["loss"]
        loss.backward()
        found.append((loss.detach(), gradients(model)))
    torch.save(found, f"{folder}/{rank}.pth")
    dist.destroy_process_group()


def test_equivalence_with_one_process_of_twice_the_batch(tmp_path: Path) -> None:
    mp.spawn(work, args=(str(tmp_path),), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pth", weights_only=True) for rank in range(2)]
    views = [views_of(rank) for rank in range(2)]
    images = [torch.cat(pair) for pair in zip(*(own.images for own in views), strict=True)]
    model = model_of(True)
    loss = model(views[0]._replace(images=images), mode="loss")["loss"]
    loss.backward()
    for number in range(2):
        mean = (ranks[0][number][0] + ranks[1][number][0]) / 2
        torch.testing.assert_close(mean, loss.detach(), rtol=1e-10, atol=0)
    assert ranks[0][0][0] != ranks[1][0][0]
    for rank in ranks:
        for name, expected in gradients(model).items():
            torch.testing.assert_close(rank[0][1][name], expected, rtol=1e-8, atol=1e-12)


def test_equivalence_without_gradient_through_the_rows_of_others(tmp_path: Path) -> None:
    """The mean over processes, each of which takes the other's rows for constants."""
    mp.spawn(work, args=(str(tmp_path),), nprocs=2)
    found = torch.load(tmp_path / "0.pth", weights_only=True)
    model = model_of(False)
    views = [views_of(rank) for rank in range(2)]
    total = 0.0
    for rank in range(2):
        rows = [torch.cat([views[rank].images[v], views[1 - rank].images[v]]) for v in range(2)]
        one, two = (unit_norm(model.neck(model.backbone(r)[0].mean((2, 3)))) for r in rows)
        parts = [torch.cat([z[:4], z[4:].detach()]) for z in (one, two)]
        total = total + nt_xent(one[:4], two[:4], *parts, temperature=0.1) / 2
    total.backward()
    for name, expected in gradients(model).items():
        torch.testing.assert_close(found[1][1][name], expected, rtol=1e-8, atol=1e-12)
    assert not all(torch.allclose(found[0][1][name], found[1][1][name]) for name in found[0][1])
