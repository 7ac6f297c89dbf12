"""Weighted k-NN: votes by hand, chunks, small sets."""

from __future__ import annotations

import math

import pytest
import torch

from mmssl.ops.knn import nearest_neighbors, weighted_knn, weighted_knn_predict


def test_values_votes_by_hand() -> None:
    # one neighbour at .9 of class 1 against two at .8 of class 0
    similarities, labels = torch.tensor([[0.9, 0.8, 0.8]]), torch.tensor([[1, 0, 0]])

    def best(temperature):
        return weighted_knn_predict(
            similarities, labels, num_classes=3, k=3, temperature=temperature
        ).tolist()

    # exp(.1 / t) against 2: equal at t = .1 / ln 2
    assert best(0.1 / math.log(2) - 0.01) == [[1, 0, -1]]
    assert best(0.1 / math.log(2) + 0.01) == [[0, 1, -1]]


def test_values_tiny_temperature_does_not_overflow() -> None:
    similarities = torch.tensor([[1.0, 0.99]])
    predicted = weighted_knn_predict(
        similarities, torch.tensor([[2, 0]]), num_classes=3, k=2, temperature=1e-4
    )
    assert predicted.tolist() == [[2, 0]]


def test_equivalence_of_chunks() -> None:
    generator = torch.Generator().manual_seed(0)
    bank, queries = (torch.randn(n, 5, generator=generator) for n in (53, 11))
    whole = nearest_neighbors(queries, bank, k=9)
    parts = nearest_neighbors(queries, bank, k=9, query_chunk=4, bank_chunk=6)
    assert torch.equal(whole[1], parts[1])
    assert torch.allclose(whole[0], parts[0])
    expected = (queries @ bank.T).sort(dim=1, descending=True)
    assert torch.equal(whole[1], expected.indices[:, :9])


def test_values_fewer_images_than_k_and_chunks() -> None:
    features = torch.eye(3)
    accuracy = weighted_knn(features[:1], torch.tensor([0]), features, torch.arange(3), k=[1, 200])
    assert accuracy[1] == (100.0, 100.0)
    assert accuracy[200].top1 == 100.0


def test_values_top5_of_small_k() -> None:
    # the only right neighbour is the second nearest: k = 1 never sees it
    bank = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    labels = torch.tensor([0, 1, 2])
    accuracy = weighted_knn(bank[:1], torch.tensor([1]), bank, labels, k=[1, 2])
    assert accuracy[1] == (0.0, 0.0)
    assert accuracy[2] == (0.0, 100.0)


def test_raises_on_bad_input() -> None:
    features, labels = torch.eye(2), torch.tensor([0, -1])
    with pytest.raises(ValueError, match="label -1"):
        weighted_knn(features, labels, features, labels)
    with pytest.raises(ValueError, match="at least one query"):
        weighted_knn(features[:0], labels[:0], features, labels)
    with pytest.raises(ValueError, match="k >= 1"):
        nearest_neighbors(features, features[:0], k=1)
