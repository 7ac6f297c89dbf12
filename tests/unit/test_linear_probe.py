"""Linear probe: equal to separate torch runs, deterministic, honest selection."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from mmssl.evaluation import Features, hold_out, linear_probe
from mmssl.evaluation.linear_heads import LinearHeads


def blobs(num: int, seed: int = 0, noise: float = 0.5, classes: int = 4, dim: int = 8) -> Features:
    centres = torch.randn(classes, dim, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num) % classes
    return Features(centres[labels] + noise * torch.randn(num, dim, generator=generator), labels)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_equivalence_with_separate_torch_classifiers(batch_norm: bool) -> None:
    lrs, data, steps = [0.05, 0.5, 2.0], blobs(32), 12
    heads = LinearHeads(8, 4, lrs, weight_decay=1e-3, batch_norm=batch_norm, seed=3)
    start = heads.weight.detach()[:4].clone()
    factors = [0.5 * (1 + math.cos(math.pi * i / steps)) for i in range(steps)]
    batches = [slice(8 * (i % 4), 8 * (i % 4) + 8) for i in range(steps)]
    for factor, rows in zip(factors, batches, strict=True):
        heads.step(data.features[rows], data.labels[rows], factor)
    logits = heads.logits(data.features)

    for number, lr in enumerate(lrs):
        layers = [nn.Linear(8, 4)] + ([nn.BatchNorm1d(4)] if batch_norm else [])
        network = nn.Sequential(*layers)
        with torch.no_grad():
            network[0].weight.copy_(start)
            network[0].bias.zero_()
        optimizer = torch.optim.SGD(network.parameters(), lr, momentum=0.9, weight_decay=1e-3)
        for factor, rows in zip(factors, batches, strict=True):
            optimizer.param_groups[0]["lr"] = lr * factor
            loss = nn.functional.cross_entropy(network(data.features[rows]), data.labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        network.eval()
        torch.testing.assert_close(logits[:, number], network(data.features), rtol=1e-4, atol=1e-5)


OPTIONS = [
    dict(nesterov=True),
    dict(label_smoothing=0.1),
    dict(max_grad_norm=0.2),
    dict(nesterov=True, label_smoothing=0.3, max_grad_norm=0.2, weight_decay=1e-2),
]


def torch_training(
    start: torch.Tensor,
    data: Features,
    batches: list[torch.Tensor],
    lrs: list[float],
    *,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    label_smoothing: float = 0.0,
    max_grad_norm: float = math.inf,
) -> nn.Linear:
    """A classifier that torch trains: one learning rate per batch, biases of 0 at first."""
    layer = nn.Linear(start.shape[1], start.shape[0]).to(start.dtype)
    with torch.no_grad():
        layer.weight.copy_(start)
        layer.bias.zero_()
    optimizer = torch.optim.SGD(
        layer.parameters(), lrs[0], momentum=0.9, weight_decay=weight_decay, nesterov=nesterov
    )
    for rows, lr in zip(batches, lrs, strict=True):
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad()
        logits = layer(data.features[rows])
        nn.functional.cross_entropy(
            logits, data.labels[rows], label_smoothing=label_smoothing
        ).backward()
        nn.utils.clip_grad_norm_(layer.parameters(), max_grad_norm)
        optimizer.step()
    return layer


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "+".join(options))
def test_values_options_as_in_torch(options: dict[str, Any]) -> None:
    """One head in double precision, and beside one with another learning rate in single."""
    data, steps, lr = blobs(32), 8, 0.5
    batches = [torch.arange(32).view(4, 8)[step % 4] for step in range(steps)]
    double = Features(data.features.double(), data.labels)
    alone = LinearHeads(8, 4, [lr], seed=3, **options)
    start = alone.weight.detach().double()
    for name in ("weight", "bias"):
        setattr(alone, name, getattr(alone, name).detach().double().requires_grad_())
    alone.parameters = [alone.weight, alone.bias]
    alone.momenta = [momentum.double() for momentum in alone.momenta]
    alone.lrs = alone.lrs.double()
    two = LinearHeads(8, 4, [3.0, lr], seed=3, **options)
    for rows in batches:
        alone.step(double.features[rows], double.labels[rows], 1.0)
        two.step(data.features[rows], data.labels[rows], 1.0)
    expected = torch_training(start, double, batches, [lr] * steps, **options)
    torch.testing.assert_close(alone.weight, expected.weight, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(alone.bias[0], expected.bias, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(two.weight[4:], expected.weight.float(), rtol=1e-5, atol=1e-6)

    plain = torch_training(start, double, batches, [lr] * steps)
    assert not torch.allclose(plain.weight, expected.weight, rtol=1e-2)


def test_values_mobys_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """All options together, from `linear_probe`: two epochs of warm-up, then the cosine of all five."""
    trained: list[LinearHeads] = []
    accuracy = LinearHeads.accuracy

    def remembered(self: LinearHeads, *data: torch.Tensor) -> torch.Tensor:
        trained.append(self)
        return accuracy(self, *data)

    monkeypatch.setattr(LinearHeads, "accuracy", remembered)
    data, epochs, lr = blobs(20), 5, 40.0
    options = dict(nesterov=True, label_smoothing=0.1, max_grad_norm=0.1)
    linear_probe(data, data, lrs=[lr], epochs=epochs, batch_size=8, warmup_epochs=2, **options)

    generator = torch.Generator().manual_seed(0)  # three batches an epoch, the last one smaller
    batches = [
        rows for _ in range(epochs) for rows in torch.randperm(20, generator=generator).split(8)
    ]
    factors = [step / 6 for step in range(6)]
    factors += [0.5 * (1 + math.cos(math.pi * step / 15)) for step in range(6, 15)]
    start = LinearHeads(8, 4, [lr]).weight.detach()
    lrs = [lr * 8 / 256 * factor for factor in factors]
    expected = torch_training(start, data, batches, lrs, **options)
    torch.testing.assert_close(trained[-1].weight, expected.weight, rtol=1e-4, atol=1e-5)


def test_values_separable_and_chance() -> None:
    found = linear_probe(blobs(80), blobs(40, 1), epochs=10)
    assert found.top1 == 100.0
    assert found.sweep[found.lr] == max(found.sweep.values())
    noise = Features(
        torch.randn(400, 8, generator=torch.Generator().manual_seed(5)), blobs(400).labels
    )
    assert 10 < linear_probe(blobs(80), noise, lrs=[0.1], epochs=5).top1 < 40  # 25 by chance


def test_values_deterministic_and_independent_of_global_seed() -> None:
    torch.manual_seed(1)
    first = linear_probe(blobs(60), blobs(40, 1, noise=2.0), epochs=4)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert linear_probe(blobs(60), blobs(40, 1, noise=2.0), epochs=4) == first
    assert torch.equal(torch.get_rng_state(), state)


def test_values_selection_does_not_see_validation() -> None:
    train = blobs(80, noise=1.5)
    wrong = Features(train.features, (train.labels + 1) % 4)
    honest = linear_probe(train, blobs(40, 1, noise=1.5), epochs=3)
    assert linear_probe(train, wrong, epochs=3).lr == honest.lr
    assert honest.selected_on == "held_out"
    optimistic = linear_probe(train, wrong, epochs=3, select_on="val")
    assert optimistic.top1 >= linear_probe(train, wrong, epochs=3).top1


def test_values_several_crops_are_used_in_turn() -> None:
    train, val = blobs(40), blobs(40, 1, noise=1.0)
    same = linear_probe([train, train], val, lrs=[0.3], epochs=4)
    assert same == linear_probe(train, val, lrs=[0.3], epochs=4)
    other = Features(-train.features, train.labels)
    assert linear_probe([train, other], val, lrs=[0.3], epochs=4).top1 < same.top1


def test_values_normalisation_removes_scale() -> None:
    train, val = blobs(60), blobs(60, 1, noise=1.0)
    huge = [Features(data.features * 1e3, data.labels) for data in (train, val)]
    for normalize in ("l2", "standardize"):
        plain = linear_probe(train, val, lrs=[1.0], epochs=3, normalize=normalize)
        scaled = linear_probe(*huge, lrs=[1.0], epochs=3, normalize=normalize)
        assert scaled.top1 == plain.top1


def test_values_hold_out_is_stratified() -> None:
    labels = torch.tensor([0] * 20 + [1] * 10 + [2])
    fit, held = hold_out(labels, 0.2)
    assert labels[held].bincount().tolist() == [4, 2]
    assert sorted([*fit.tolist(), *held.tolist()]) == list(range(31))


def test_raises_on_bad_input() -> None:
    data = blobs(16)
    unlabelled = Features(data.features, torch.full((16,), -1))
    with pytest.raises(ValueError, match="one folder per class"):
        linear_probe(data, unlabelled)
    with pytest.raises(ValueError, match=r"no training image has: \[3\]"):
        linear_probe(Features(*(part[data.labels < 3] for part in data)), data)
    with pytest.raises(ValueError, match="normalize"):
        linear_probe(data, data, normalize="batch")
    for option, words in (
        (dict(warmup_epochs=5, epochs=5), "less than the 5 epochs, got 5"),
        (dict(label_smoothing=1.0), "label_smoothing must be .* below 1, got 1.0"),
        (dict(max_grad_norm=0.0), "max_grad_norm must be positive"),
    ):
        with pytest.raises(ValueError, match=words):
            linear_probe(data, data, **option)
    with pytest.raises(ValueError, match="same order"):
        linear_probe([data, blobs(12)], data)
    with pytest.raises(ValueError, match="holds no"):
        hold_out(torch.arange(4), 0.1)
