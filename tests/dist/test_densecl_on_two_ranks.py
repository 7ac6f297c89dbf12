"""DenseCL on two gloo processes against one that plays both: shuffled keys, BatchNorm per rank."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.model import MMDistributedDataParallel

from mmssl.models.algorithms import DenseCL
from mmssl.models.algorithms import densecl as densecl_module
from mmssl.models.necks import DenseEmbeddings
from mmssl.ops import collectives
from tests.helpers.tiny import tiny_model, tiny_views, total_loss

pytestmark = pytest.mark.dist
ORDER = torch.tensor([5, 0, 7, 2, 3, 6, 1, 4])
BATCH = 4


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.randperm = lambda size, **options: ORDER
    model = tiny_model("densecl").double()
    views = tiny_views(seed=rank, size=BATCH)
    views = views._replace(images=[images.double() for images in views.images])
    wrapped = MMDistributedDataParallel(model)
    loss = wrapped(views, mode="loss")
    total_loss(loss).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    loss = {name: value.detach() for name, value in loss.items()}
    torch.save((loss, gradients, model.state_dict()), f"{folder}/{rank}.pth")
    dist.destroy_process_group()


def played(monkeypatch) -> tuple[list[dict], list[dict], list[DenseCL]]:
    """Losses, gradients and models of both ranks, in this process."""
    model = tiny_model("densecl").double()
    ranks = [copy.deepcopy(model) for _ in range(2)]
    images = [[v.double() for v in tiny_views(seed=rank, size=BATCH).images] for rank in range(2)]
    everything = torch.cat([own[1] for own in images])
    keys = []
    with torch.no_grad():
        for one, share in zip(ranks, ORDER.view(2, -1), strict=True):
            keys.append(one.embed(one.twin, everything[share]))
    home = ORDER.argsort()
    keys = DenseEmbeddings(*(torch.cat(parts)[home] for parts in zip(*keys, strict=True)))
    # keys of all ranks go into the queue of each
    monkeypatch.setattr(
        "mmssl.models.memories.feature_queue.gather_cat", lambda own: every[id(own)]
    )
    losses, gradients = [], []
    for rank, one in enumerate(ranks):
        own = DenseEmbeddings(*(part[rank * BATCH : (rank + 1) * BATCH] for part in keys))
        every = {id(own.view): keys.view, id(own.mean_cell): keys.mean_cell}
        monkeypatch.setattr(densecl_module, "through_shuffled_batch", lambda *_, own=own: own)
        views = tiny_views(seed=rank, size=BATCH)._replace(images=images[rank])
        losses.append(one(views, mode="loss"))
        total_loss(losses[-1]).backward()
        gradients.append({n: p.grad for n, p in one.named_parameters() if p.grad is not None})
    return losses, gradients, ranks


def test_equivalence_with_one_process_that_plays_both(tmp_path: Path, monkeypatch) -> None:
    mp.spawn(work, args=(str(tmp_path),), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pth", weights_only=True) for rank in range(2)]
    losses, gradients, ranks = played(monkeypatch)
    assert losses[0]["loss_dense"] != losses[1]["loss_dense"]
    for rank, (loss, gradient, state) in enumerate(found):
        for name, value in losses[rank].items():
            torch.testing.assert_close(loss[name], value.detach(), rtol=1e-10, atol=0)
        for name, value in gradient.items():
            mean = (gradients[0][name] + gradients[1][name]) / 2
            torch.testing.assert_close(value, mean, rtol=1e-8, atol=1e-12)
        # running statistics too: each rank has seen its share of the shuffled keys
        for name, value in ranks[rank].state_dict().items():
            torch.testing.assert_close(state[name], value, rtol=1e-10, atol=1e-12)
        assert int(state["queue.pointer"]) == int(state["dense_queue.pointer"]) == 2 * BATCH
    assert not torch.equal(
        found[0][2]["twin.backbone.stages.0.1.running_mean"],
        found[1][2]["twin.backbone.stages.0.1.running_mean"],
    )


def plain_tuple(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    images = torch.arange(4.0)[:, None] + 10 * rank
    alone = collectives.through_shuffled_batch(lambda own: own + own.sum(), images)
    both = collectives.through_shuffled_batch(lambda own: (own * 2, -own), images)
    named = collectives.through_shuffled_batch(
        lambda own: DenseEmbeddings(own, own, own, own), images
    )
    assert isinstance(both, tuple) and isinstance(named, DenseEmbeddings)
    torch.save((images, alone, both, tuple(named)), f"{folder}/{rank}.pth")
    dist.destroy_process_group()


def test_values_every_kind_of_result_comes_home(tmp_path: Path) -> None:
    mp.spawn(plain_tuple, args=(str(tmp_path),), nprocs=2)
    sums = set()
    for rank in range(2):
        images, alone, (twice, minus), named = torch.load(
            tmp_path / f"{rank}.pth", weights_only=True
        )
        assert torch.equal(twice, images * 2) and torch.equal(minus, -images)
        assert all(torch.equal(part, images) for part in named)
        sums |= set((alone - images).flatten().tolist())
    # the sums of the two shares, of which each rank has seen one
    assert len(sums) == 2 and sum(sums) == sum(range(4)) * 2 + 40
