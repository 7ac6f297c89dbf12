"""MomentumTwin: which tensors it moves, by how much, and when."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmssl.models.momentum_twin import MomentumTwin
from mmssl.ops.schedules import Cosine


def owner() -> nn.Module:
    module = nn.Module()
    module.backbone = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Dropout(0.5))
    module.neck = nn.Linear(2, 2)
    module.t_stream = None
    return module


def twin_of(module: nn.Module, **options) -> MomentumTwin:
    arguments = dict(momentum=0.75, update_at="after_step") | options
    return MomentumTwin(module, ["backbone", "neck", "t_stream"], **arguments)


def test_values_update_is_two_rounded_operations():
    module = owner()
    twin = twin_of(module, momentum=Cosine(0.99, 1.0))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter))
    before = {name: value.clone() for name, value in twin.named_parameters()}
    online = dict(module.named_parameters())
    momentum = twin.update(module, 3, 10)
    assert momentum == Cosine(0.99, 1.0)(3, 10)
    for name, value in twin.named_parameters():
        assert torch.equal(value, before[name] * momentum + online[name] * (1 - momentum)), name
    assert int(twin.num_updates) == 1


def test_values_constant_student_is_approached_geometrically():
    module = owner()
    twin = twin_of(module)
    nn.init.zeros_(module.neck.weight)
    start = twin.neck.weight.clone()
    for step in range(4):
        twin.update(module, step, 10)
    torch.testing.assert_close(twin.neck.weight, start * 0.75**4)


@pytest.mark.parametrize("average_buffers", [False, True])
def test_state_buffers(average_buffers):
    module = owner()
    twin = twin_of(module, average_buffers=average_buffers)
    module.backbone[1].running_mean.fill_(4.0)
    module.backbone[1].num_batches_tracked.fill_(7)
    twin.update(module, 0, 10)
    assert twin.backbone[1].running_mean[0] == (1.0 if average_buffers else 0.0)
    assert twin.backbone[1].num_batches_tracked == (7 if average_buffers else 0)


def test_state_sync_copies_everything_and_restarts_the_count():
    module = owner()
    twin = twin_of(module)
    module.backbone[1].running_mean.fill_(4.0)
    twin.update(module, 0, 10)
    twin.sync(module)
    assert int(twin.num_updates) == 0
    for name, value in module.state_dict().items():
        assert torch.equal(value, twin.state_dict()[name]), name


def test_state_no_gradients_no_dropout_absent_children_left_out():
    module = owner()
    twin = twin_of(module)
    assert not any(parameter.requires_grad for parameter in twin.parameters())
    assert twin.backbone[2].p == 0.0
    assert module.backbone[2].p == 0.5
    assert twin.names == ["backbone", "neck"]
    assert {id(p) for p in twin.parameters()}.isdisjoint({id(p) for p in module.parameters()})


def test_state_updates_keep_storage():
    """Pointers stay, as DDP and CUDA graphs need."""
    module = owner()
    twin = twin_of(module)
    pointers = [parameter.data_ptr() for parameter in twin.parameters()]
    twin.update(module, 0, 10)
    twin.sync(module)
    assert pointers == [parameter.data_ptr() for parameter in twin.parameters()]


def test_raises():
    with pytest.raises(ValueError, match="update_at"):
        twin_of(owner(), update_at="sometimes")
    with pytest.raises(AttributeError, match="head"):
        MomentumTwin(owner(), ["head"], momentum=0.9, update_at="after_step")
