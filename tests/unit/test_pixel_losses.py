"""Losses over pairs of cells: PixPro's consistency and PixContrast."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmssl.losses import cell_std, contrast_among, info_nce, pixel_consistency, pixel_contrast
from mmssl.ops.boxes import cells_near
from tests.helpers.tolerance import FLOAT64
from tests.unit.test_boxes import WHOLE, random_boxes

LOSSES = [pixel_consistency, pixel_contrast]
losses = pytest.mark.parametrize("loss", LOSSES)
APART = torch.tensor([[2.0, 2.0, 3.0, 3.0]])


def maps(num: int, grid: tuple[int, int], seed: int, dim: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(num, dim, *grid, generator=generator, dtype=torch.float64)
    return F.normalize(drawn, dim=1)


def drawn(num: int = 6, first: tuple = (3, 4), second: tuple = (4, 2)) -> tuple[tuple, ...]:
    """Queries that learn, keys, and boxes of views with maps of two sizes."""
    queries = tuple(
        maps(num, grid, seed).requires_grad_() for seed, grid in enumerate((first, second))
    )
    keys = tuple(maps(num, grid, 2 + seed) for seed, grid in enumerate((first, second)))
    return queries, keys, (random_boxes(num), random_boxes(num, seed=1))


def consistency_by_loops(q: Tensor, k: Tensor, near: Tensor) -> Tensor:
    values = []
    for query, key, pairs in zip(q.flatten(2), k.flatten(2), near, strict=True):
        found = [query[:, i] @ key[:, j] for i, j in pairs.nonzero().tolist()]
        values.append(sum(found) / (len(found) + 1e-6) if found else query.sum() * 0)
    return torch.stack(values)


def contrast_by_loops(q: Tensor, k: Tensor, near: Tensor, used: Tensor, t: float) -> Tensor:
    values = []
    for query, key, pairs, kept in zip(q.flatten(2), k.flatten(2), near, used, strict=True):
        exps = (query.T @ key / t).exp()
        rows = [
            -torch.log(exps[i][pairs[i]].sum() / exps[i][kept[i]].sum())
            for i in range(len(pairs))
            if pairs[i].any()
        ]
        values.append(torch.stack(rows).mean() if rows else query.sum() * 0)
    return torch.stack(values)


def assert_same(found: Tensor, expected: Tensor, queries: tuple) -> None:
    torch.testing.assert_close(found, expected, **FLOAT64)
    weight = torch.linspace(0.5, 1.5, len(found), dtype=torch.float64)
    ours, theirs = (
        torch.autograd.grad((value * weight).sum(), queries, allow_unused=True, retain_graph=True)
        for value in (found, expected)
    )
    for mine, other in zip(ours, theirs, strict=True):
        mine = torch.zeros(()) if mine is None else mine
        torch.testing.assert_close(
            mine, torch.zeros_like(mine) if other is None else other, **FLOAT64
        )


@pytest.mark.parametrize("max_pairs", [1, 3 * 96, 10**6])
def test_values_consistency_pair_by_pair(max_pairs: int) -> None:
    queries, keys, boxes = drawn()
    near = cells_near(*boxes, (3, 4), (4, 2), radius=0.7)
    assert 0 < (near.flatten(1).any(dim=1)).sum() <= 6
    terms = pixel_consistency(queries, keys, boxes, max_pairs=max_pairs)
    assert_same(terms.first, consistency_by_loops(queries[0], keys[1], near), queries)
    assert_same(terms.second, consistency_by_loops(queries[1], keys[0], near.mT), queries)
    assert terms.num_positives.tolist() == near.sum(dim=(1, 2)).tolist()


@pytest.mark.parametrize("max_pairs", [1, 3 * 96, 10**6])
@pytest.mark.parametrize("neg_ratio", [None, 0.7, 1.2])
def test_values_contrast_pair_by_pair(max_pairs: int, neg_ratio: float | None) -> None:
    queries, keys, boxes = drawn()
    near = cells_near(*boxes, (3, 4), (4, 2), radius=0.7)
    used = torch.ones_like(near)
    if neg_ratio is not None:
        used = near | ~cells_near(*boxes, (3, 4), (4, 2), radius=neg_ratio)
    terms = pixel_contrast(
        queries, keys, boxes, temperature=0.2, neg_ratio=neg_ratio, max_pairs=max_pairs
    )
    first = contrast_by_loops(queries[0], keys[1], near, used, 0.2)
    second = contrast_by_loops(queries[1], keys[0], near.mT, used.mT, 0.2)
    assert_same(terms.first, first, queries)
    assert_same(terms.second, second, queries)


@losses
def test_gradcheck(loss) -> None:
    queries, keys, boxes = drawn(num=3, first=(2, 2), second=(2, 3))
    boxes = (WHOLE.repeat(3, 1), torch.cat([WHOLE, random_boxes(1), APART]))
    assert torch.autograd.gradcheck(
        lambda q1, q2: loss((q1, q2), keys, boxes, max_pairs=24)[:2], queries
    )


@losses
def test_equivalence_branches_with_other_maps(loss) -> None:
    """The twin's maps may have other sizes than the online ones: each direction has its own pairs."""
    queries, _, boxes = drawn()
    keys = (maps(6, (2, 2), 8), maps(6, (5, 3), 9))
    terms = loss(queries, keys, boxes)
    alone = loss((queries[0], queries[0]), (keys[1], keys[1]), boxes)
    torch.testing.assert_close(terms.first, alone.first, **FLOAT64)
    swapped = loss(queries[::-1], keys[::-1], boxes[::-1])
    torch.testing.assert_close(terms.second, swapped.first, **FLOAT64)


@losses
def test_values_views_apart_add_nothing(loss) -> None:
    queries, keys, _ = drawn(num=2)
    terms = loss(queries, keys, (WHOLE.repeat(2, 1), APART.repeat(2, 1)))
    assert not terms.first.any() and not terms.second.any() and not terms.num_positives.any()
    (terms.first.sum() + terms.second.sum()).backward()
    assert all(query.grad is not None and not query.grad.any() for query in queries)


@losses
def test_values_one_image_apart_leaves_the_others_alone(loss) -> None:
    queries, keys, (first, second) = drawn()
    expected = loss(queries, keys, (first, second))
    apart = second.clone()
    apart[2] = APART
    found = loss(queries, keys, (first, apart))
    others = torch.arange(6) != 2
    torch.testing.assert_close(found.first[others], expected.first[others], **FLOAT64)
    assert found.first[2] == 0 and found.second[2] == 0


def test_values_consistency_of_a_view_with_itself() -> None:
    """Only a cell and itself are a pair: cosine 1; with the opposite sign -1."""
    key = maps(3, (4, 4), 0)
    boxes = (WHOLE.repeat(3, 1), WHOLE.repeat(3, 1))
    for sign in (1, -1):
        terms = pixel_consistency((sign * key, sign * key), (key, key), boxes)
        torch.testing.assert_close(
            terms.first, torch.full((3,), sign, dtype=torch.float64), rtol=1e-6, atol=0
        )
    assert terms.num_positives.tolist() == [16, 16, 16]


def test_values_contrast_of_equal_features() -> None:
    """Every cell is as likely: log(cells / positives)."""
    ones = F.normalize(torch.ones(1, 3, 3, 4), dim=1)
    terms = pixel_contrast((ones, ones), (ones, ones), (WHOLE, WHOLE))
    near = cells_near(WHOLE, WHOLE, (3, 4), (3, 4), radius=0.7)[0]
    expected = (12 / near.sum(dim=1)).log().mean().item()
    assert terms.first.item() == pytest.approx(expected, rel=1e-6)
    # all cells positive: nothing to tell apart
    everything = pixel_contrast((ones, ones), (ones, ones), (WHOLE, WHOLE), pos_ratio=100.0)
    assert everything.first.item() == pytest.approx(0, abs=1e-6)


def test_values_contrast_does_not_overflow_at_low_temperature() -> None:
    """exp(1000) is no float32: losses and gradients are those of float64 nevertheless."""
    runs = []
    for dtype in (torch.float64, torch.float32):
        queries, keys, boxes = drawn()
        queries = tuple(query.detach().to(dtype).requires_grad_() for query in queries)
        keys = tuple(key.to(dtype) for key in keys)
        terms = pixel_contrast(queries, keys, boxes, temperature=1e-3, neg_ratio=1.0)
        (terms.first.sum() + terms.second.sum()).backward()
        runs.append([terms.first.detach(), terms.second.detach(), *(q.grad for q in queries)])
    for exact, found in zip(*runs, strict=True):
        largest = float(exact.abs().max())
        torch.testing.assert_close(found.double(), exact.double(), rtol=0, atol=1e-3 * largest)


@losses
def test_equivalence_under_autocast(loss) -> None:
    queries, keys, boxes = drawn()
    queries = tuple(query.float().detach().requires_grad_() for query in queries)
    keys = tuple(key.float() for key in keys)
    exact = loss(queries, keys, boxes)
    slope = torch.autograd.grad(exact.first.sum(), queries[0])[0]
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(queries, keys, boxes)
        assert torch.equal(found.first, exact.first)
    torch.testing.assert_close(torch.autograd.grad(found.first.sum(), queries[0])[0], slope)


@losses
def test_raises_on_wrong_input(loss) -> None:
    queries, keys, boxes = drawn()
    with pytest.raises(ValueError, match="must not carry a gradient"):
        loss(queries, queries, boxes)
    with pytest.raises(ValueError, match="same N and C"):
        loss(queries, (keys[0], keys[1][:, :3]), boxes)
    with pytest.raises(ValueError, match="same N and C"):
        loss(queries, keys, (boxes[0][:3], boxes[1]))


def test_raises_on_options_of_the_contrast() -> None:
    queries, keys, boxes = drawn()
    with pytest.raises(ValueError, match="must not be below pos_ratio"):
        pixel_contrast(queries, keys, boxes, neg_ratio=0.5)
    with pytest.raises(ValueError, match="temperature must be positive"):
        pixel_contrast(queries, keys, boxes, temperature=0.0)


def test_equivalence_contrast_among_a_batch_is_info_nce() -> None:
    rows = F.normalize(torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    q, keys = rows[:1], rows[1:]
    found = contrast_among(q, keys, torch.tensor([2]), temperature=0.2)
    expected = info_nce(q, keys[2:3], keys[[0, 1, 3]], temperature=0.2)
    torch.testing.assert_close(found, expected)


def test_values_spread_of_cells() -> None:
    assert cell_std(torch.ones(3, 4, 2, 2)) == 0
    spread = cell_std(F.normalize(torch.randn(50, 64, 7, 7), dim=1))
    assert spread.item() == pytest.approx(1 / math.sqrt(64), rel=0.01)
