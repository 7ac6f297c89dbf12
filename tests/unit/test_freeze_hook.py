"""FreezeHook and per-tensor clipping in a real run of the toy method."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmssl.engine.hooks import FreezeHook
from mmssl.engine.optimizers import clip_per_tensor
from mmssl.engine.optimizers.optim_wrapper import OptimWrapper


class Stand:
    """What the hook needs of a runner."""

    def __init__(self, clip: float = 1.0, accumulate: int = 1) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1, weight_decay=0.5)
        clip_grad = dict(type="per_tensor", max_norm=clip)
        self.optim_wrapper = OptimWrapper(optimizer, accumulate, clip_grad=clip_grad)
        self.epoch = 0

    def step(self) -> None:
        self.model(torch.ones(2, 3)).square().sum().backward()
        self.optim_wrapper.step()
        self.optim_wrapper.zero_grad()


def test_values_frozen_for_an_epoch_without_decay_or_moments() -> None:
    runner = Stand()
    hook = FreezeHook(["1"], epochs=1)
    hook.before_train(runner)
    before = [p.detach().clone() for p in runner.model.parameters()]
    runner.step()
    moved = [not torch.equal(p, q) for p, q in zip(runner.model.parameters(), before, strict=True)]
    assert moved == [True, True, False, False]
    state = runner.optim_wrapper.optimizer.state
    assert all(not state[parameter] for parameter in runner.model[1].parameters())
    assert all(parameter.requires_grad for parameter in runner.model.parameters())
    runner.epoch = 1
    runner.step()
    assert not torch.equal(runner.model[1].weight, before[2])
    hook.after_train(runner)
    runner.epoch = 0
    frozen = runner.model[1].weight.detach().clone()
    runner.step()
    assert not torch.equal(runner.model[1].weight, frozen)


def test_values_frozen_for_iterations() -> None:
    """SwAV's prototypes: as they are for so many iterations, whatever the epoch."""
    runner = Stand()
    runner.iter = 0
    hook = FreezeHook(["1"], iters=2)
    hook.before_train(runner)
    moved = []
    for runner.iter in range(4):
        before = runner.model[1].weight.detach().clone()
        runner.step()
        moved.append(not torch.equal(runner.model[1].weight, before))
    assert moved == [False, False, True, True]
    with pytest.raises(ValueError, match="epochs or iters"):
        FreezeHook(["1"], epochs=1, iters=2)


def test_values_frozen_for_steps_of_accumulated_iterations() -> None:
    """Two steps are six iterations of three each."""
    runner = Stand(accumulate=3)
    runner.optim_wrapper.initialize_count_status(runner.model, 0, 12)
    hook = FreezeHook(["1"], iters=2)
    hook.before_train(runner)
    moved = []
    for runner.iter in range(12):
        before = [p.detach().clone() for p in runner.model.parameters()]
        runner.optim_wrapper.update_params(runner.model(torch.ones(2, 3)).square().sum())
        after = list(runner.model.parameters())
        moved.append([not torch.equal(after[index], before[index]) for index in (0, 2)])
    none, first, both = [False, False], [True, False], [True, True]
    assert moved == [none, none, first, none, none, first, none, none, both, none, none, both]


def test_raises_for_a_module_that_is_not_there() -> None:
    with pytest.raises(ValueError, match=r"Sequential has no module head\.last_layer"):
        FreezeHook(["head.last_layer"]).before_train(Stand())


def test_values_each_tensor_is_clipped_alone() -> None:
    small, large, none = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    small.grad, large.grad = torch.tensor([0.3, 0.4]), torch.tensor([30.0, 40.0])
    total = clip_per_tensor([small, large, none], 5.0)
    torch.testing.assert_close(small.grad, torch.tensor([0.3, 0.4]))
    torch.testing.assert_close(large.grad, torch.tensor([3.0, 4.0]))
    assert none.grad is None
    assert total.item() == pytest.approx((0.25 + 2500) ** 0.5)


def test_values_the_wrapper_clips_per_tensor() -> None:
    runner = Stand(clip=1e-3)
    runner.model(torch.ones(2, 3)).square().sum().backward()
    runner.optim_wrapper._clip_grad()
    norms = [parameter.grad.norm().item() for parameter in runner.model.parameters()]
    assert norms == pytest.approx([1e-3] * 4, rel=1e-2)
