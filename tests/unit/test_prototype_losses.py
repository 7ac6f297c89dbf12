"""Contrast with prototypes and selection of negatives, against the formulas and by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn import functional as F

from mmssl.losses import (
    info_nce,
    keep_probability,
    prototype_contrast,
    selective_info_nce,
    shared_prototype_contrast,
)


def unit(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.double), dim=-1)


def density(size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 + 0.3 * torch.rand(size, generator=generator, dtype=torch.double)


@pytest.mark.parametrize("seed", range(5))
def test_equivalence_keep_probability_is_one_minus_the_softmax(seed):
    keys, centroids, phi = unit(30, 6, seed=seed), unit(9, 6, seed=seed + 9), density(9, seed)
    assigned = torch.randint(9, (7,), generator=torch.Generator().manual_seed(seed))
    logits = keys @ centroids.T / phi
    expected = 1 - logits.softmax(dim=1)[:, assigned].T
    actual = keep_probability(
        keys, centroids[assigned], scale=phi[assigned], log_partition=logits.logsumexp(dim=1)
    )
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-14)


def test_equivalence_everything_kept_is_info_nce_on_each_level():
    q, k, queue = unit(4, 6), unit(4, 6, seed=1), unit(20, 6, seed=2)
    keep = torch.ones(3, 4, 20, dtype=torch.bool)
    losses = selective_info_nce(q, k, queue, keep=keep, temperature=0.2)
    torch.testing.assert_close(losses, info_nce(q, k, queue, temperature=0.2).expand(3))


def test_equivalence_excluded_negatives_are_as_if_they_were_not_there():
    q, k, queue = unit(1, 6), unit(1, 6, seed=1), unit(20, 6, seed=2)
    keep = torch.arange(20) % 3 > 0
    loss = selective_info_nce(
        q, k, queue, keep=keep.view(1, 1, 20), temperature=0.2, mask_mode="exclude"
    )
    torch.testing.assert_close(loss[0], info_nce(q, k, queue[keep], temperature=0.2))
    nothing = torch.zeros(1, 1, 20, dtype=torch.bool)
    alone = selective_info_nce(q, k, queue, keep=nothing, temperature=0.2, mask_mode="exclude")
    assert alone.item() == 0.0


def test_values_removed_negatives_count_as_orthogonal_ones():
    q = torch.tensor([[1.0, 0.0]])
    queue = q.repeat(3, 1)
    keep = torch.tensor([[[True, False, False]]])
    loss = selective_info_nce(q, q, queue, keep=keep, temperature=0.5)
    # positive e^2, kept e^2, removed 1 + 1
    assert loss.item() == pytest.approx(math.log((2 * math.exp(2) + 2) / math.exp(2)))


def test_values_prototype_contrast_by_hand():
    centroids = torch.eye(3)
    q = torch.tensor([[1.0, 0.0, 0.0]])
    phi = torch.tensor([0.5, 0.25, 0.2])
    own, negatives = torch.tensor([0]), torch.tensor([False, True, False])
    plain = prototype_contrast(q, centroids, density=phi, assigned=own, negatives=negatives)
    assert plain.item() == pytest.approx(math.log((math.exp(2) + 1) / math.exp(2)))
    both = torch.tensor([False, True, True])
    keep = torch.tensor([[True, False, True]])
    options = dict(density=phi, assigned=own, negatives=both, keep=keep)
    assert prototype_contrast(q, centroids, **options).item() == pytest.approx(
        math.log((math.exp(2) + 2) / math.exp(2))
    )
    assert prototype_contrast(q, centroids, mask_mode="exclude", **options).item() == pytest.approx(
        math.log((math.exp(2) + 1) / math.exp(2))
    )


def test_values_each_column_has_its_own_temperature():
    q, centroids, phi = unit(4, 6), unit(9, 6, seed=1), density(9)
    own = torch.tensor([1, 3, 3, 8])
    negatives = torch.ones(9, dtype=torch.bool)
    negatives[own] = False
    others = negatives.nonzero()[:, 0]
    columns = torch.stack([torch.cat([j[None], others]) for j in own])  # one row of ids per query
    logits = (q[:, None] * centroids[columns]).sum(dim=2) / phi[columns]
    expected = F.cross_entropy(logits, torch.zeros(4, dtype=torch.long))
    actual = prototype_contrast(q, centroids, density=phi, assigned=own, negatives=negatives)
    torch.testing.assert_close(actual, expected)


def test_values_images_of_one_prototype_are_negatives_of_each_other_in_pcl():
    q, centroids, phi = unit(3, 6), unit(5, 6, seed=1), density(5)
    own, drawn = torch.tensor([2, 2, 4]), torch.tensor([0])
    logits = q @ centroids[[2, 2, 4, 0]].T / phi[[2, 2, 4, 0]]
    expected = F.cross_entropy(logits, torch.arange(3))
    actual = shared_prototype_contrast(q, centroids, density=phi, assigned=own, negatives=drawn)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("mask_mode", ["zero", "exclude"])
def test_gradcheck(mask_mode):
    q, k, queue = unit(3, 4).requires_grad_(), unit(3, 4, seed=1), unit(8, 4, seed=2)
    keep = torch.rand(2, 3, 8, generator=torch.Generator().manual_seed(0)) < 0.6
    centroids, phi, own = unit(5, 4, seed=3), density(5), torch.tensor([0, 2, 2])
    negatives = torch.tensor([False, True, False, True, True])

    def instance(q: Tensor) -> Tensor:
        return selective_info_nce(q, k, queue, keep=keep, temperature=0.2, mask_mode=mask_mode)

    def prototype(q: Tensor) -> Tensor:
        return prototype_contrast(
            q, centroids, density=phi, assigned=own, negatives=negatives,
            keep=keep[0, :, :5], mask_mode=mask_mode,
        )  # fmt: skip

    def shared(q: Tensor) -> Tensor:
        return shared_prototype_contrast(
            q, centroids, density=phi, assigned=own, negatives=torch.tensor([3, 4])
        )

    assert gradcheck(instance, q) and gradcheck(prototype, q) and gradcheck(shared, q)


def test_values_removed_negatives_get_no_gradient():
    q, k = unit(2, 4), unit(2, 4, seed=1)
    queue = unit(6, 4, seed=2).requires_grad_()
    keep = torch.tensor([True, True, False, True, False, True])
    selective_info_nce(q, k, queue, keep=keep.expand(1, 2, 6), temperature=0.2).sum().backward()
    assert (queue.grad[~keep] == 0).all() and (queue.grad[keep] != 0).all()


def test_raises_for_an_unknown_mask_mode():
    q = unit(1, 4)
    with pytest.raises(ValueError, match="'zero' or 'exclude', got 'drop'"):
        selective_info_nce(
            q, q, q, keep=torch.ones(1, 1, 1, dtype=torch.bool), temperature=1.0, mask_mode="drop"
        )
