"""The remaining baselines on two gloo processes against one with twice the batch, without BatchNorm.

The processes then meet only where the method lets them: in keys, correlations, codes and queues.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.model import MMDistributedDataParallel
from torch import Tensor

from mmssl.models.algorithms import BaseAlgorithm
from mmssl.structures import Progress, ViewBatch
from tests.helpers.tiny import (
    TinyBackbone,
    tiny_barlow_twins,
    tiny_clsa,
    tiny_infomin,
    tiny_moco_v3,
    tiny_swav,
    tiny_views,
    total_loss,
)

pytestmark = pytest.mark.dist
BARE = dict(type="MLPNeck", hid_channels=16, out_channels=8, norm_cfg=None, last_norm_cfg=None)
STEPS = 3


def _bare(make: Callable[..., BaseAlgorithm], **options) -> BaseAlgorithm:
    return make(backbone=TinyBackbone((3,), norm=False), neck=BARE, **options)


def _barlow(**options) -> BaseAlgorithm:
    model = _bare(tiny_barlow_twins, **options)
    # its norm is the one place that would have to see all processes at once
    model.norm = torch.nn.Identity()
    return model


CASES: dict[str, Callable[[], BaseAlgorithm]] = {
    "moco_v3": lambda: _bare(
        tiny_moco_v3,
        head=dict(
            type="MLPPredictor", hid_channels=16, norm_cfg=None, last_norm_cfg=None, bias=True
        ),
    ),
    "barlow_true": lambda: _barlow(grad_scale="true"),
    "barlow_released": lambda: _barlow(),
    "swav": lambda: _bare(tiny_swav),
    "swav_queue": lambda: _bare(tiny_swav, queue_length=16, queue_start=0),
    "clsa": lambda: _bare(tiny_clsa, queue_length=30),
    # each process shuffles its own patches: without them the loss is that of the keys
    "infomin": lambda: _bare(tiny_infomin, queue_length=30, jigsaw_weight=0.0),
}


def model_of(case: str) -> BaseAlgorithm:
    torch.manual_seed(0)
    model = CASES[case]()
    model.init_weights()
    return model.double().train()


def views_of(case: str, step: int, rank: int) -> ViewBatch:
    seed = 2 * step + rank
    views = tiny_views(seed=seed, num=3 if case == "clsa" else 2)
    patches = tiny_views(seed=seed, pixels=48, num=1) if case == "infomin" else None
    pictures = views.images + ([] if patches is None else patches.images)
    return views._replace(images=[images.double() for images in pictures])


def train(case: str, model: BaseAlgorithm, wrapped, views: Callable[[int], ViewBatch]) -> dict:
    online = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(online, lr=0.05)
    first: dict[str, Tensor] = {}
    losses = []
    for step in range(STEPS):
        model.progress = Progress(step, 10, 0, 1)
        if step and model.twin is not None:
            model.twin.update(model, step, 10)
        loss = total_loss(wrapped(views(step), mode="loss"))
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            named = model.named_parameters()
            first = {n: p.grad.clone() for n, p in named if p.grad is not None}
        losses.append(loss.detach())
        # Barlow's released gradient is another one on two processes: one step is compared
        optimizer.step()
    return dict(losses=torch.stack(losses), first=first, state=model.state_dict())


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    found = {}
    for case in CASES:
        model = model_of(case)
        wrapped = MMDistributedDataParallel(model, broadcast_buffers=False)
        found[case] = train(case, model, wrapped, lambda step, c=case: views_of(c, step, rank))
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(work, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


def both(case: str, step: int) -> ViewBatch:
    parts = [views_of(case, step, rank) for rank in range(2)]
    images = [torch.cat(pair) for pair in zip(*(part.images for part in parts), strict=True)]
    index = torch.arange(len(images[0]))
    return ViewBatch(images, index, [], torch.full_like(index, -1), [])


@pytest.mark.parametrize("case", CASES)
def test_equivalence_with_one_process_of_twice_the_batch(case: str, ranks: list[dict]) -> None:
    model = model_of(case)
    expected = train(case, model, model, lambda step: both(case, step))
    factor = 0.5 if case == "barlow_released" else 1.0
    for rank in ranks:
        found = rank[case]
        assert found["first"].keys() == expected["first"].keys() and found["first"]
        for name, gradient in expected["first"].items():
            torch.testing.assert_close(found["first"][name], factor * gradient, msg=name)
        if case != "barlow_released":
            for key, value in expected["state"].items():
                torch.testing.assert_close(found["state"][key], value, msg=key)
    mean = (ranks[0][case]["losses"] + ranks[1][case]["losses"]) / 2
    steps = 1 if case == "barlow_released" else STEPS
    torch.testing.assert_close(mean[:steps], expected["losses"][:steps])


def test_state_queues_are_the_same_on_both(ranks: list[dict]) -> None:
    """And full, so that the last steps balanced among them."""
    for case in ("swav_queue", "clsa", "infomin"):
        states = [rank[case]["state"] for rank in ranks]
        queues = [key for key in states[0] if "queue" in key and key.endswith("features")]
        assert queues
        for key in queues:
            assert torch.equal(states[0][key], states[1][key]), key
    assert int(ranks[0]["swav_queue"]["state"]["filled"]) == 8 * STEPS > 16
