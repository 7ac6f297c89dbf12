"""A training step where tensors have no values: nothing lies on another device, nothing asks the device.

Tensors on torch's "meta" device refuse to meet those of a CPU, as those of a GPU do, and cannot answer
`item()`, `tolist()` or how many values are true, for each of which a GPU has to finish all it was given.
"""

from __future__ import annotations

import pytest
import torch

from mmssl.datasets.transforms import (
    ColorJitter,
    GaussianBlur,
    RandomGrayscale,
    Solarize,
    ViewRandom,
    apply_photometric,
)
from mmssl.models.algorithms import PCL, BaseAlgorithm
from tests.helpers import tiny
from tests.helpers.networks import NETWORKS
from tests.helpers.scaled_step import views_on

ASKS = {
    "deepcluster_v2": "check(index)",
    "exemplar": "check_instances(",
    "pic": "check_instances(",
    "pic_sampled": "check_instances(",
}
"""Methods with a row for each image ask once a step whether all images have one; where they do."""


@pytest.fixture(autouse=True)
def autocast_knows_meta(monkeypatch: pytest.MonkeyPatch) -> None:
    class Autocast(torch.autocast):
        def __init__(self, device_type: str, *args: object, **options: object) -> None:
            super().__init__("cpu" if device_type == "meta" else device_type, *args, **options)

    monkeypatch.setattr(torch, "autocast", Autocast)


def step(name: str) -> BaseAlgorithm:
    """One step of a method, and the update of its twin."""
    model = tiny.tiny_model(name)
    if isinstance(model, PCL) and model.prototypes.is_ready:
        assert model.prototypes.num_used  # asked for once a clustering
    model = model.to("meta")
    optimizer = tiny.sgd(model)
    tiny.total_loss(model(views_on("meta", model), mode="loss")).backward()
    optimizer.step()
    tiny.step_rows(model, optimizer)
    if model.twin is not None:
        model.twin.update(model, 1, 10)
    return model


@pytest.mark.parametrize("name", sorted(set(tiny.TINY) - set(ASKS)))
def test_state_a_step_stays_on_its_device(name: str) -> None:
    model = step(name)
    trained = [p for p in model.parameters() if p.grad is not None]
    assert trained
    tensors = [*model.parameters(), *model.buffers(), *(p.grad for p in trained)]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


@pytest.mark.parametrize("name", ASKS)
def test_state_what_asks(name: str) -> None:
    with pytest.raises(NotImplementedError, match="no data") as caught:
        step(name)
    assert any(ASKS[name] in str(entry.statement) for entry in caught.traceback)


@pytest.mark.parametrize("name", NETWORKS)
def test_state_a_backbone_stays_on_its_device(name: str) -> None:
    network = NETWORKS[name]().to("meta").train()
    maps = network(torch.empty(4, 3, 64, 64, device="meta"))
    torch.stack([each.sum() for each in maps]).sum().backward()
    assert any(p.grad is not None for p in network.parameters())
    # other sizes need other masks and positions
    maps = network.eval()(torch.empty(1, 3, 96, 64, device="meta"))
    assert {each.device.type for each in maps} == {"meta"}


def test_state_photometric_ops_ask_nothing() -> None:
    """Which images an op concerns is known on the CPU."""
    ops = [ColorJitter(0.4, 0.4, 0.2, 0.1, prob=0.8), RandomGrayscale(prob=0.5)]
    ops += [GaussianBlur(prob=0.5), Solarize(prob=0.5)]
    draws = [(ViewRandom(0, 0, image), op) for image in range(8) for op in ops]
    packed = [op.pack(op.draw(random, (32, 32))) for random, op in draws]
    rows = [sum(packed[first : first + len(ops)], start=[]) for first in range(0, 32, len(ops))]
    images = torch.empty(8, 3, 32, 32, dtype=torch.uint8, device="meta")
    found = apply_photometric(images, torch.tensor(rows))
    assert (found.device.type, found.dtype) == ("meta", torch.float32)
