"""Batches whose loss is not finite, which a run may skip, and batches of one image."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from mmssl.engine.hooks import FiniteLossHook, NonFiniteLossError
from mmssl.models.memories import Center, FeatureBank, FeatureQueue
from mmssl.structures import Progress
from tests.helpers.tiny import (
    TinyBackbone,
    own_views,
    sgd,
    tiny_moco_v3,
    tiny_model,
    tiny_views,
    total_loss,
    train_step,
)

BARE = dict(type="MLPNeck", hid_channels=16, out_channels=8, norm_cfg=None, last_norm_cfg=None)
REMEMBERING = [
    "clsa", "deepcluster_v2", "densecl", "dino", "esvit", "hcsc", "infomin", "moby", "moco", "npid",
    "npid_bank", "pcl", "swav_queue",
]  # fmt: skip


@pytest.mark.parametrize("name", REMEMBERING)
def test_state_memories_leave_out_a_batch_that_is_skipped(name: str) -> None:
    """The next loss is finite: what earlier batches left is still there, and nothing of this one."""
    model = tiny_model(name)
    optimizer = sgd(model)
    for step in range(3):
        train_step(model, optimizer, step)
    views = own_views(model, 3)
    broken = [images.clone() for images in views.images]
    for images in broken:
        images[0] = float("nan")
    assert not total_loss(model(views._replace(images=broken), mode="loss")).isfinite()
    assert math.isfinite(train_step(model, optimizer, 4))
    for key, value in model.named_buffers():
        if value.is_floating_point() and not key.endswith(("running_mean", "running_var")):
            assert value.isfinite().all(), key


def test_values_only_rows_that_are_not_finite_stay() -> None:
    rows = torch.eye(4)
    rows[1, 0] = float("nan")
    queue = FeatureQueue(6, 4, with_index=True)
    before = queue.features.clone()
    queue.enqueue(rows, torch.arange(4))
    assert torch.equal(queue.features[[0, 2, 3]], rows[[0, 2, 3]])
    assert torch.equal(queue.features[[1, 4, 5]], before[[1, 4, 5]])
    assert queue.index.tolist() == [0, -1, 2, 3, -1, -1] and int(queue.pointer) == 4
    bank = FeatureBank(4, 4)
    before = bank.features.clone()
    bank.update(torch.arange(4), rows)
    assert torch.equal(bank.features[1], before[1])
    assert not torch.equal(bank.features[0], before[0]) and bank.features.isfinite().all()
    center = Center(4)
    center.update(rows[0])
    before = center.mean.clone()
    center.update(rows[1])
    torch.testing.assert_close(center.mean, before)


@pytest.mark.parametrize("name", ["barlow_twins", "moco"])
def test_state_nothing_of_a_tolerated_batch_stays(name: str) -> None:
    """Running statistics of norms, of the twin's too, are as before it."""
    model, info = tiny_model(name), {}
    train_step(model, sgd(model), 0)
    hub = SimpleNamespace(get_info=info.get, update_info=info.__setitem__)
    said: list[str] = []
    runner = SimpleNamespace(
        model=model, message_hub=hub, logger=SimpleNamespace(warning=said.append), iter=1, epoch=0
    )
    before = {key: value.clone() for key, value in model.state_dict().items() if "running" in key}
    hook = FiniteLossHook(max_skipped=1)
    views = own_views(model, 3)
    for images in views.images:
        images[0] = float("nan")
    hook.before_train_iter(runner, 1)
    outputs = model(views, mode="loss")
    assert not all(value.isfinite().all() for value in model.state_dict().values())
    hook.after_train_iter(runner, 1, None, outputs)
    assert len(said) == 1 and before
    for key, value in before.items():
        assert torch.equal(model.state_dict()[key], value), key
    with pytest.raises(NonFiniteLossError):
        hook.after_train_iter(runner, 1, None, outputs)


def test_raises_moco_v3_for_one_image() -> None:
    """Without BatchNorm its loss would be 0."""
    head = dict(type="MLPPredictor", hid_channels=16, norm_cfg=None, last_norm_cfg=None)
    model = tiny_moco_v3(backbone=TinyBackbone((3,), norm=False), neck=BARE, head=head).train()
    model.progress = Progress(0, 10, 0, 1)
    with pytest.raises(ValueError, match="batch of one image over all processes"):
        model(tiny_views(size=1), mode="loss")
    assert model(tiny_views(size=2), mode="loss")["loss"] > 0
