"""PIC's classifier on a GPU against the same on a CPU, wherever its rows lie."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmssl.engine.hooks import InstanceRowsHook
from mmssl.losses import instance_softmax
from mmssl.models.heads import InstanceClassifier

pytestmark = pytest.mark.gpu
DEVICE = torch.device("cuda")
N, D, B, STEPS = 40, 16, 4, 25
SGD = dict(momentum=0.9, weight_decay=0.02)
STORAGES: dict[str, dict[str, Any]] = {
    "parameter": dict(num_negatives=None),
    "full": dict(num_negatives=None, shard=True),
    "sampled": dict(num_negatives=6),
    "closed_form": dict(num_negatives=6, correction="closed_form"),
    "host": dict(num_negatives=6, storage="host"),
    "files": dict(num_negatives=6, storage="host"),
}


def head_of(case: str, folder: str) -> InstanceClassifier:
    torch.manual_seed(0)
    options = dict(STORAGES[case], **(dict(folder=folder) if case == "files" else {}))
    return InstanceClassifier(D, N, init_std=1.0, **options)


def batch_of(step: int) -> tuple[Tensor, Tensor]:
    """Features of a large and two small crops of images that come back."""
    generator = torch.Generator().manual_seed(step)
    index = (2 * step + torch.randperm(12, generator=generator)[:B]) % N
    return torch.randn(3 * B, D, generator=generator), index


def run(head: InstanceClassifier, device: torch.device) -> list[Tensor]:
    """Losses, gradients of the last features and rows."""
    found = []
    optimizer = None
    if head.rows is None:
        optimizer = torch.optim.SGD(head.parameters(), lr=0.1, **SGD)
    for step in range(STEPS):
        features, index = batch_of(step)
        features = features.to(device).requires_grad_()
        classes = head(index.to(device))
        loss = instance_softmax(
            features[:B], features[B:], classes.weight, classes.target, temperature=0.2
        ).loss
        loss.backward()
        rate = 0.02 * (step + 1)
        if optimizer is None:
            head.rows.step(rate, **SGD)
        else:
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
            optimizer.zero_grad()
        found.append(loss.detach().cpu())
    return [*found, features.grad.cpu(), head.class_weights()]


@pytest.mark.parametrize("case", STORAGES)
def test_equivalence_with_the_cpu(case, tmp_path) -> None:
    expected = run(head_of(case, str(tmp_path)), torch.device("cpu"))
    head = head_of(case, str(tmp_path)).to(DEVICE)
    for mine, theirs in zip(run(head, DEVICE), expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    if head.rows is not None:
        rows = head.rows
        assert rows.weight.is_cuda and rows.momentum.is_cuda and rows.members.is_cuda
        assert rows.store.weight.is_cuda == (rows.store.storage == "device")
        assert rows.cohorts.operators.device.type == "cpu"


@pytest.mark.parametrize("case", ["full", "sampled", "host"])
def test_state_saved_on_a_gpu_and_continued_there(case, tmp_path) -> None:
    straight = head_of(case, str(tmp_path)).to(DEVICE)
    run(straight, DEVICE)
    saved = copy.deepcopy(straight.state_dict())
    resumed = head_of(case, str(tmp_path)).to(DEVICE)
    resumed.load_state_dict({key: value.cpu() for key, value in saved.items()})
    for mine, theirs in zip(run(resumed, DEVICE), run(straight, DEVICE), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


class Network(nn.Module):
    """A layer and a classifier behind it."""

    def __init__(self, head: InstanceClassifier) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.backbone, self.head = nn.Linear(D, D), head


@pytest.mark.parametrize("case", ["sampled", "host", "full"])
def test_state_float16_with_a_loss_scale(case, tmp_path) -> None:
    """Rows follow float32 training up to float16; a step that is skipped is skipped for them too."""
    losses = {}
    for half in (False, True):
        model = Network(head_of(case, str(tmp_path))).to(DEVICE)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, **SGD)
        scaler = torch.amp.GradScaler(init_scale=2.0**12, enabled=half)
        wrapper = SimpleNamespace(
            optimizer=optimizer,
            clip_grad_kwargs=None,
            should_update=lambda: True,
            loss_scaler=scaler if half else None,
        )
        hook, runner = (
            InstanceRowsHook(),
            SimpleNamespace(iter=0, model=model, optim_wrapper=wrapper),
        )
        hook.before_train(runner)
        losses[half] = []
        for step in range(10):
            features, index = batch_of(step)
            with torch.autocast("cuda", torch.float16, enabled=half):
                embedded = model.backbone(features.to(DEVICE))
                classes = model.head(index.to(DEVICE))
                loss = instance_softmax(
                    embedded[:B], embedded[B:], classes.weight, classes.target, temperature=0.2
                ).loss
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            hook.after_train_iter(runner, step)
            scaler.update()
            losses[half].append(loss.item())
        assert model.head.rows.num_steps == 10
    assert losses[True] == pytest.approx(losses[False], rel=0.02)
    loss = model.backbone(torch.full((1, D), float("inf"), device=DEVICE)).sum()
    model.head(torch.arange(B, device=DEVICE))
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    hook.after_train_iter(runner, 10)
    assert model.head.rows.num_steps == 10 and not len(model.head.rows.batch)
