"""PixPro and PixContrast on two gloo processes compute what one process with twice the batch computes.

The parts have no BatchNorm there: on several processes it needs SyncBN, and that GPUs. The recipes
synchronise all norms but that of a propagation module with two layers: each process's own, as released.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.model import MMDistributedDataParallel
from torch import Tensor

from mmssl.models.algorithms import BaseAlgorithm
from mmssl.structures import Progress, ViewBatch
from tests.helpers.tiny import TinyBackbone, TinyPyramid, tiny_pixcontrast, tiny_pixpro, tiny_views

pytestmark = pytest.mark.dist
STEPS = 3
PLAIN = dict(hid_channels=16, out_channels=8, norm_cfg=None)


def backbone() -> dict[str, TinyBackbone]:
    return dict(backbone=TinyBackbone((3,), norm=False), neck=PLAIN)


MODELS: dict[str, Callable[[], BaseAlgorithm]] = {
    "pixpro": lambda: tiny_pixpro(
        **backbone(), instance_neck=PLAIN, instance_head=dict(hid_channels=16, norm_cfg=None)
    ),
    "pixpro_star": lambda: tiny_pixpro(
        backbone=TinyBackbone(norm=False),
        pyramid=TinyPyramid(),
        neck=PLAIN,
        instance_neck=PLAIN,
        instance_loss="simclr_star",
    ),
    "pixcontrast": lambda: tiny_pixcontrast(**backbone()),
    "pixcontrast_skip": lambda: tiny_pixcontrast(**backbone(), empty="skip", neg_ratio=1.0),
}


def batch(step: int, rows: slice) -> ViewBatch:
    """Images of a step; three of the four of the first rank do not overlap."""
    views = tiny_views(step, size=8)
    views.boxes[1][1:4] += 5
    return views._replace(
        images=[image[rows].double() for image in views.images],
        boxes=[box[rows] for box in views.boxes],
    )


def rows_of(rank: int) -> slice:
    return slice(4 * rank, 4 * rank + 4)


def loss_of(losses: dict[str, Tensor]) -> Tensor:
    return sum(value for key, value in losses.items() if "loss" in key)


def local_norm() -> BaseAlgorithm:
    """PixPro whose only norm is that of the propagation module."""
    torch.manual_seed(0)
    model = tiny_pixpro(**backbone(), head=dict(num_layers=2))
    model.init_weights()
    model.progress = Progress(0, STEPS, 0, 1)
    return model.double().train()


def gradients(model: BaseAlgorithm) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def train(name: str, rows: slice, wrap: Callable) -> dict[str, torch.Tensor]:
    """State after some steps, and the losses, on these rows of each batch."""
    torch.manual_seed(0)
    model = MODELS[name]()
    model.init_weights()
    model = model.double().train()
    wrapped = wrap(model)
    online = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(online, lr=0.1, momentum=0.9)
    found = []
    for step in range(STEPS):
        model.progress = Progress(step, STEPS, 0, 1)
        model.twin.update(model, step, STEPS)
        losses = wrapped(batch(step, rows), mode="loss")
        optimizer.zero_grad()
        loss = loss_of(losses)
        loss.backward()
        optimizer.step()
        found.append(loss.detach())
    return dict(model.state_dict(), losses=torch.stack(found))


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    for name in MODELS:
        found = train(name, rows_of(rank), MMDistributedDataParallel)
        torch.save(found, f"{folder}/{name}_{rank}.pth")
    model = local_norm()
    wrapped = MMDistributedDataParallel(model, broadcast_buffers=False)
    loss = loss_of(wrapped(batch(0, rows_of(rank)), mode="loss"))
    loss.backward()
    torch.save((loss.detach(), gradients(model), model.state_dict()), f"{folder}/local_{rank}.pth")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ranks")
    mp.spawn(work, args=(str(path),), nprocs=2)
    return path


@pytest.mark.parametrize("name", MODELS)
def test_equivalence_with_one_process_of_twice_the_batch(folder: Path, name: str) -> None:
    alone = train(name, slice(0, 8), lambda model: model)
    ranks = [torch.load(folder / f"{name}_{rank}.pth", weights_only=True) for rank in range(2)]
    for key in alone.keys() - {"losses"}:
        torch.testing.assert_close(ranks[0][key], alone[key], rtol=1e-9, atol=1e-12, msg=key)
        assert torch.equal(ranks[0][key], ranks[1][key]), key
    mean = (ranks[0]["losses"] + ranks[1]["losses"]) / 2
    torch.testing.assert_close(mean, alone["losses"], rtol=1e-9, atol=1e-12)
    assert not torch.allclose(ranks[0]["losses"], ranks[1]["losses"])


def test_state_norm_of_the_propagation_is_each_ranks_own(folder: Path) -> None:
    """Statistics and loss of a rank are those of one process with its images; gradients are averaged."""
    alone = []
    for rank in range(2):
        model = local_norm()
        loss = loss_of(model(batch(0, rows_of(rank)), mode="loss"))
        loss.backward()
        alone.append((loss.detach(), gradients(model), model.state_dict()))
    ranks = [torch.load(folder / f"local_{rank}.pth", weights_only=True) for rank in range(2)]
    exact = dict(rtol=1e-9, atol=1e-12)
    for (loss, slopes, state), (own_loss, _, own_state) in zip(ranks, alone, strict=True):
        torch.testing.assert_close(loss, own_loss, **exact)
        for key, value in own_state.items():
            torch.testing.assert_close(state[key], value, **exact, msg=key)
        for key, value in slopes.items():
            mean = (alone[0][1][key] + alone[1][1][key]) / 2
            torch.testing.assert_close(value, mean, **exact, msg=key)
    norm = "head.value_transform.layers.1"
    assert int(ranks[0][2][f"{norm}.num_batches_tracked"]) == 2  # a pass for each view
    assert not torch.allclose(*(state[f"{norm}.running_mean"] for *_, state in ranks))
