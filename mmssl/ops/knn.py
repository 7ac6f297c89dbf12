"""Weighted nearest-neighbour classification of features by cosine similarity.

Unsupervised Feature Learning via Non-Parametric Instance Discrimination (2018, arXiv 1805.01978);
compared with `eval_knn.py` of facebookresearch/dino @7c446df. Deviations: queries are chunked by size
(the official script fails for fewer than 100 queries), the training set is chunked as well, and a
class without a vote is never a prediction (`fill=True`: it may be one of the best five, as officially).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class KnnAccuracy(NamedTuple):
    """Accuracy of a weighted k-NN classifier, in per cent.

    Attributes:
        top1: Share of queries whose best class is right.
        top5: Share of queries whose best min(5, k) classes contain the right one.
    """

    top1: float
    top5: float


def nearest_neighbors(
    queries: Tensor,
    bank: Tensor,
    *,
    k: int,
    query_chunk: int = 1024,
    bank_chunk: int = 65536,
) -> tuple[Tensor, Tensor]:
    """The `k` most similar rows of `bank` for each row of `queries`, best first.

    Only one (query_chunk, bank_chunk) block of similarities exists at a time. The blocks are computed
    on the device of `queries`; `bank` may stay in main memory.

    Args:
        queries: (Q, D) unit rows.
        bank: (N, D) unit rows.
        k: Neighbours per query; at most N are returned.
        query_chunk: Rows of `queries` handled together.
        bank_chunk: Rows of `bank` handled together.

    Returns:
        Similarities (Q, min(k, N)), descending, and positions in `bank` of the same shape.

    Raises:
        ValueError: `bank` is empty or `k` is not positive.

    Example:
        >>> bank = torch.eye(3)
        >>> nearest_neighbors(bank[1:2], bank, k=1)[1].tolist()
        [[1]]
    """
    if k < 1 or len(bank) == 0:
        raise ValueError(
            f"Nearest neighbours need k >= 1 and a bank with at least one row, got k={k} and "
            f"{len(bank)} rows."
        )
    similarities, positions = [], []
    for rows in queries.split(query_chunk):
        best = rows.new_empty(len(rows), 0)
        where = torch.empty(len(rows), 0, dtype=torch.long, device=rows.device)
        for start in range(0, len(bank), bank_chunk):
            block = bank[start : start + bank_chunk].to(rows.device)
            found, index = (rows @ block.T).topk(min(k, len(block)), dim=1)
            best, where = torch.cat([best, found], 1), torch.cat([where, index + start], 1)
            best, order = best.topk(min(k, best.shape[1]), dim=1)
            where = where.gather(1, order)
        similarities.append(best)
        positions.append(where)
    if not similarities:
        width = min(k, len(bank))
        return queries.new_empty(0, width), torch.empty(0, width, dtype=torch.long)
    return torch.cat(similarities), torch.cat(positions)


def neighbor_votes(
    similarities: Tensor, labels: Tensor, *, num_classes: int, temperature: float = 0.07
) -> Tensor:
    """The votes for every class, in units of the nearest neighbour's vote.

    A neighbour with similarity s votes exp(s / temperature) for its class. Relative to the nearest one
    the order of the classes is the same and nothing overflows.

    Args:
        similarities: (Q, K) similarities of the neighbours, descending, K >= 1.
        labels: (Q, K) classes of the neighbours.
        num_classes: Number of classes C.
        temperature: Of the vote; smaller trusts the nearest more.

    Returns:
        (Q, C) float64; 0 where a class got no vote.
    """
    similarities = similarities.double()
    votes = ((similarities - similarities[:, :1]) / temperature).exp()
    return votes.new_zeros(len(votes), num_classes).scatter_add_(1, labels, votes)


def weighted_knn_predict(
    similarities: Tensor,
    labels: Tensor,
    *,
    num_classes: int,
    k: int,
    temperature: float = 0.07,
    fill: bool = False,
) -> Tensor:
    """Classes in the order of their votes, best first; the first min(5, k, num_classes) of them.

    Args:
        similarities: (Q, K) similarities of the neighbours, descending, K >= 1.
        labels: (Q, K) classes of the neighbours.
        num_classes: Number of classes C.
        k: How many of the K neighbours vote.
        temperature: See `neighbor_votes`.
        fill: Go on with classes that got no vote, the lowest numbers first, as the official scripts
            do: they are sometimes right by luck.

    Returns:
        (Q, min(5, k, C)) classes; -1 where fewer classes got a vote, unless filled.
    """
    similarities, labels = similarities[:, :k], labels[:, :k]
    scores = neighbor_votes(similarities, labels, num_classes=num_classes, temperature=temperature)
    voted = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, labels, True)
    scores = scores.masked_fill(~voted, -1.0)
    if fill:
        return scores.argsort(dim=1, descending=True, stable=True)[:, : min(5, k, num_classes)]
    best, classes = scores.topk(min(5, k, num_classes), dim=1)
    return classes.masked_fill(best < 0, -1)


def check_votes(*, k: Sequence[int] = (10, 20, 100, 200), temperature: float = 0.07) -> None:
    """Refuse options of `weighted_knn` that no images can satisfy.

    Args:
        k: As there.
        temperature: As there.

    Raises:
        ValueError: No k, one below 1, or a temperature that is not positive.
    """
    if not k or min(k) < 1 or not temperature > 0:
        raise ValueError(
            f"k-NN needs one or more k >= 1 and a temperature above 0, got k={list(k)} and "
            f"temperature={temperature}."
        )


def weighted_knn(
    queries: Tensor,
    query_labels: Tensor,
    bank: Tensor,
    bank_labels: Tensor,
    *,
    k: Sequence[int] = (10, 20, 100, 200),
    temperature: float = 0.07,
    num_classes: int | None = None,
    fill: bool = False,
    query_chunk: int = 1024,
    bank_chunk: int = 65536,
) -> dict[int, KnnAccuracy]:
    """Accuracy of the weighted k-NN classifier for several k, from one neighbour search.

    Args:
        queries: (Q, D) features; normalised here.
        query_labels: (Q,) classes.
        bank: (N, D) features of labelled images; normalised here.
        bank_labels: (N,) classes.
        k: Numbers of neighbours. One larger than N lets all N vote.
        temperature: Of the votes.
        num_classes: Default: the largest label + 1.
        fill: See `weighted_knn_predict`.
        query_chunk: See `nearest_neighbors`.
        bank_chunk: See `nearest_neighbors`.

    Returns:
        One `KnnAccuracy` per entry of `k`.

    Raises:
        ValueError: No query, an empty bank, a label below 0, or options that `check_votes` refuses.
    """
    check_votes(k=k, temperature=temperature)
    if len(queries) == 0 or len(bank) == 0:
        raise ValueError(
            f"k-NN needs at least one query and one labelled row, got {len(queries)} and {len(bank)}."
        )
    if min(int(query_labels.min()), int(bank_labels.min())) < 0:
        raise ValueError(
            "k-NN needs a label for every image; drop the ones with label -1 "
            "(mmssl.evaluation.labelled does it)."
        )
    if num_classes is None:
        num_classes = int(max(query_labels.max(), bank_labels.max())) + 1
    similarities, positions = nearest_neighbors(
        F.normalize(queries.float(), dim=1),
        F.normalize(bank.float(), dim=1),
        k=max(k),
        query_chunk=query_chunk,
        bank_chunk=bank_chunk,
    )
    neighbor_labels = bank_labels.to(positions.device)[positions]
    truth = query_labels.to(positions.device).view(-1, 1)
    accuracy = {}
    for number in k:
        predicted = weighted_knn_predict(
            similarities,
            neighbor_labels,
            num_classes=num_classes,
            k=number,
            temperature=temperature,
            fill=fill,
        )
        hits = predicted == truth
        top1 = hits[:, :1].any(1).double().mean().item() * 100
        top5 = hits.any(1).double().mean().item() * 100
        accuracy[number] = KnnAccuracy(top1, top5)
    return accuracy
