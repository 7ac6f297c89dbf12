"""Distillation over pairs of views and regions: hand-made cases, both implementations, gradients."""

from __future__ import annotations

import math

import pytest
import torch

from mmssl.losses import distillation, match_regions, match_views, pair_weights


def test_values_by_hand():
    """Two views of one image, two prototypes, one-hot teachers: the cross-entropy of the other view."""
    student = torch.tensor([[0.1, 0.0], [0.0, 0.1]])
    teacher = torch.eye(2)  # view 0 says prototype 0, view 1 prototype 1
    loss = distillation(student, teacher, match_views(2, 1), pair_weights([(1, 1)] * 2))
    assert loss.item() == pytest.approx(math.log(1 + math.e), abs=1e-6)


def test_values_uniform_teacher_and_student_give_ln_k():
    student, teacher = torch.zeros(8, 16), torch.full((4, 16), 1 / 16)
    loss = distillation(student, teacher, match_views(4, 2), pair_weights([(2, 1)] * 4))
    assert loss.item() == pytest.approx(math.log(16), abs=1e-6)


def test_values_regions_are_matched_across_a_permutation():
    features = torch.eye(5)[None]
    order = torch.tensor([3, 1, 4, 0, 2])
    matches = match_regions([features, features[:, order]], [features, features[:, order]])
    assert matches[:5, 0].tolist() == [-1] * 5
    assert (matches[:5, 1] - 5).tolist() == torch.argsort(order).tolist()
    assert matches[5:, 0].tolist() == order.tolist()


@pytest.mark.parametrize("chunk_rows", [1, 5, 100])
def test_equivalence_and_gradients_of_both_implementations(chunk_rows):
    torch.manual_seed(0)
    teacher = torch.randn(6, 9, dtype=torch.double).softmax(1)
    matches, weights = match_views(4, 3), pair_weights([(3, 1)] * 4)
    results = []
    for implementation in ("fused", "reference"):
        student = torch.randn(12, 9, dtype=torch.double, generator=torch.Generator().manual_seed(1))
        student.requires_grad_()
        loss = distillation(
            student, teacher, matches, weights, chunk_rows=chunk_rows, implementation=implementation
        )
        (3 * loss).backward()
        results.append((loss.detach(), student.grad))
    for fused, reference in zip(*results, strict=True):
        torch.testing.assert_close(fused, reference, rtol=1e-12, atol=1e-14)


def test_gradcheck():
    torch.manual_seed(0)
    student = torch.randn(6, 5, dtype=torch.double, requires_grad=True)
    teacher = torch.randn(4, 5, dtype=torch.double).softmax(1)
    matches, weights = match_views(3, 2), pair_weights([(2, 1)] * 3)
    assert torch.autograd.gradcheck(
        lambda logits: distillation(logits, teacher, matches, weights, chunk_rows=4), student
    )


def test_values_half_precision_logits_are_summed_in_float32():
    torch.manual_seed(0)
    student = torch.randn(6, 50).bfloat16().requires_grad_()
    teacher = torch.randn(4, 50).softmax(1)
    matches, weights = match_views(3, 2), pair_weights([(2, 1)] * 3)
    loss = distillation(student, teacher, matches, weights)
    loss.backward()
    exact = distillation(student.detach().float(), teacher, matches, weights)
    assert loss.dtype == torch.float32 and student.grad.dtype == torch.bfloat16
    torch.testing.assert_close(loss.detach(), exact)


def test_raises():
    with pytest.raises(ValueError, match="another crop"):
        pair_weights([(2, 1)], num_teacher_views=1)
    with pytest.raises(ValueError, match="as many matches"):
        distillation(torch.zeros(3, 2), torch.zeros(2, 2), match_views(2, 1), torch.ones(2))
    with pytest.raises(ValueError, match="'fused' or 'reference'"):
        distillation(
            torch.zeros(2, 2), torch.zeros(2, 2), match_views(2, 1), torch.ones(2),
            implementation="fast",
        )  # fmt: skip
