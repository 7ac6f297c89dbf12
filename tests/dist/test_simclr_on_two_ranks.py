"""SimCLR on two gloo processes against one with twice the batch: negatives of all, gradients through them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.model import MMDistributedDataParallel

from mmssl.engine.runner import Runner
from mmssl.losses import nt_xent, unit_norm
from mmssl.models.algorithms import SimCLR
from mmssl.structures import Progress, ViewBatch
from tests.helpers.runs import method_config
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


def runner_of(folder: str, sync_bn: str | None) -> Runner:
    """The recipe's neck, whose SyncBN has no GPUs here."""
    sync = dict(type="SyncBN")
    neck = dict(
        type="MLPNeck",
        hid_channels=16,
        out_channels=8,
        bias=False,
        last_bias=False,
        norm_cfg=sync,
        last_norm_cfg=dict(sync, bias=False),
        _delete_=True,
    )
    options = {"model.neck": neck, "train_cfg.max_epochs": 2}
    config = method_config(Path(folder) / f"run_{sync_bn}", "simclr", **options)
    config.launcher = "pytorch"
    if sync_bn:
        config.sync_bn = sync_bn
    runner = Runner.from_cfg(config)
    neck = runner.model.module.neck
    assert not any(isinstance(layer, torch.nn.SyncBatchNorm) for layer in runner.model.modules())
    assert not neck.layers[-1].bias.any()
    return runner


def trained(folder: str) -> dict[str, torch.Tensor]:
    """The neck's weights behind two epochs."""
    runner = runner_of(folder, None)
    layers = runner.model.module.neck.layers
    before = layers[-1].weight.detach().clone()
    runner.train()
    assert not torch.equal(before, layers[-1].weight)
    assert not layers[-1].bias.any()
    return runner.model.module.neck.state_dict()


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)  # mmengine reads it, though without GPUs it names none
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found = []
    for gather_grad in (True, False):
        model = model_of(gather_grad)
        wrapped = MMDistributedDataParallel(model)
        loss = wrapped(views_of(rank), mode="loss")["loss"]
        loss.backward()
        found.append((loss.detach(), gradients(model)))
    runner_of(folder, "torch")
    torch.save(dict(found=found, neck=trained(folder)), f"{folder}/{rank}.pth")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What each of the two processes has saved."""
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(work, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pth", weights_only=True) for rank in range(2)]


def test_equivalence_with_one_process_of_twice_the_batch(saved: list[dict]) -> None:
    ranks = [own["found"] for own in saved]
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


def test_equivalence_without_gradient_through_the_rows_of_others(saved: list[dict]) -> None:
    """The mean over processes, each of which takes the other's rows for constants."""
    found = saved[0]["found"]
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


def test_state_recipe_trains_on_cpus(saved: list[dict]) -> None:
    """SyncBN is local there, asked for by the neck or by `sync_bn`; both ranks hold the same weights."""
    one, two = (own["neck"] for own in saved)
    assert "layers.4.weight" in one
    assert "layers.4.bias" not in one
    for name in (name for name in one if name.endswith(("weight", "bias"))):
        assert torch.equal(one[name], two[name]), name
