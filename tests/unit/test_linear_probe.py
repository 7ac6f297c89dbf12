"""Linear probe: equal to separate torch runs, deterministic, honest selection."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mmssl.evaluation import Features, hold_out, linear_probe
from mmssl.evaluation.linear_probe import LinearHeads


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
    with pytest.raises(ValueError, match="same order"):
        linear_probe([data, blobs(12)], data)
    with pytest.raises(ValueError, match="holds no"):
        hold_out(torch.arange(4), 0.1)
