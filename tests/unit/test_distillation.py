"""Distillation over pairs of views and regions: hand-made cases, both implementations, gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmssl.losses import (
    distillation,
    matched_regression,
    pair_weights,
    prototype_distillation,
    region_pairs,
    teacher_entropy,
)
from mmssl.ops.sinkhorn import transport_plan


def inputs(dtype: torch.dtype = torch.double, seed: int = 0) -> dict[str, Tensor]:
    """Three images, four views of which the teacher saw two, 5 channels, 11 prototypes."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=dtype, generator=generator)

    return dict(
        student=F.normalize(draw(3, 4, 5), dim=-1).requires_grad_(),
        prototypes=F.normalize(draw(11, 5), dim=-1).requires_grad_(),
        teacher=F.normalize(draw(3, 2, 5), dim=-1),
        teacher_prototypes=F.normalize(draw(11, 5), dim=-1),
        center=0.1 * draw(1, 11),
        pairs=pair_weights([1] * 4).to(dtype) * torch.rand(3, 4, 2, generator=generator),
    )


def test_values_by_hand():
    """Two views of one image, two prototypes, one-hot teachers: the cross-entropy of the other view."""
    student = torch.tensor([[[0.1, 0.0], [0.0, 0.1]]])
    teacher = torch.eye(2)[None]  # view 0 says prototype 0, view 1 prototype 1
    loss = distillation(student, teacher, pair_weights([1, 1]))
    assert loss.item() == pytest.approx(math.log(1 + math.e), abs=1e-6)


def test_values_uniform_teacher_and_student_give_ln_k():
    pairs = pair_weights([3, 3, 2])
    pairs = torch.cat([pairs[:, :1].expand(-1, 3) / 3, pairs[:, 1:].expand(-1, 3) / 3], dim=1)
    loss = distillation(torch.zeros(2, 8, 16), torch.full((2, 6, 16), 1 / 16), pairs)
    assert loss.item() == pytest.approx(math.log(16), abs=1e-6)


def test_values_pairs_of_views_weigh_the_same():
    weights = pair_weights([4, 4, 2])
    assert weights.sum().item() == pytest.approx(1)
    by_view = [part.sum(dim=0) for part in weights.split([4, 4, 2])]
    expected = [[0, 0.25], [0.25, 0], [0.25, 0.25]]
    torch.testing.assert_close(
        torch.stack(by_view), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-15
    )


def test_values_regions_are_matched_across_a_permutation():
    features = torch.eye(5)[None]
    order = torch.tensor([3, 1, 4, 0, 2])
    both = torch.cat([features, features[:, order]], dim=1)
    for match in ("argmax", "transport"):
        pairs = region_pairs(both, both, [5, 5], match=match)[0].unflatten(1, (2, 5))
        assert pairs[:5, 0].abs().sum() == pairs[5:, 1].abs().sum() == 0  # the same crop
        assert pairs[:5, 1].argmax(1).tolist() == torch.argsort(order).tolist()
        assert pairs[5:, 0].argmax(1).tolist() == order.tolist()
        torch.testing.assert_close(pairs.sum(dim=(1, 2)), torch.full((10,), 0.1))


def test_values_transport_spreads_what_argmax_piles_up():
    """Teacher region 0 is a little more similar to all than the region that is meant for each."""
    student = torch.eye(8)[None, :4]
    teacher = 0.4 * torch.eye(8)[None, :4] + 0.92 * torch.eye(8)[None, 4:]
    teacher[0, 0] = torch.tensor([0.5] * 4 + [0.0] * 4)
    both = [torch.cat([student, rows], dim=1) for rows in (student, teacher)]
    chosen = {
        match: region_pairs(*both, [4, 4], match=match)[0, :4, 4:].argmax(1).tolist()
        for match in ("argmax", "transport")
    }
    assert chosen == dict(argmax=[0, 0, 0, 0], transport=[0, 1, 2, 3])


def test_values_transport_plan_has_its_marginals():
    similarity = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    plan = transport_plan(similarity, regularization=0.5)
    torch.testing.assert_close(plan.sum(1), torch.full((2, 3), 1 / 3))
    torch.testing.assert_close(plan.sum(2), torch.full((2, 6), 1 / 6), rtol=1e-3, atol=1e-4)


def test_values_half_precision_matching_rounds_the_cosines():
    """Two candidates that float32 tells apart and half precision does not: the first one wins there."""
    query = torch.tensor([[[1.0, 0.0]]])
    near = torch.tensor([[[1.0, 2e-2], [1.0, 1e-3]]])
    student = torch.cat([query, query], dim=1)
    teacher = torch.cat([near, near], dim=1)
    exact = region_pairs(student, teacher, [1, 1])[0, 0, 2:].argmax().item()
    half = region_pairs(student, teacher, [1, 1], dtype=torch.float16)[0, 0, 2:].argmax().item()
    assert (exact, half) == (1, 0)


def test_values_matching_is_exact_under_autocast_and_for_large_half_precision_rows():
    query = torch.tensor([[[1.0, 0.0]]])
    near = torch.tensor([[[1.0, 2e-2], [1.0, 1e-3]]])
    student, teacher = torch.cat([query, query], dim=1), torch.cat([near, near], dim=1)
    for dtype in (torch.float32, torch.float16):
        with torch.autocast("cpu", torch.bfloat16):
            pairs = region_pairs((6e4 * student).to(dtype), (6e4 * teacher).to(dtype), [1, 1])
        assert pairs[0, 0, 2:].argmax().item() == 1


@pytest.mark.parametrize("max_logits", [1, 140, 10**6])
def test_equivalence_and_gradients_of_both_implementations(max_logits):
    results = []
    for implementation in ("fused", "reference"):
        given = inputs()
        loss = prototype_distillation(
            **given, max_logits=max_logits, implementation=implementation, teacher_temperature=0.07
        )
        (3 * loss).backward()
        results.append((loss.detach(), given["student"].grad, given["prototypes"].grad))
    for fused, reference in zip(*results, strict=True):
        torch.testing.assert_close(fused, reference, rtol=1e-12, atol=1e-13)


def test_gradcheck():
    given = inputs()

    def loss(student: Tensor, prototypes: Tensor) -> Tensor:
        return prototype_distillation(
            **(given | dict(student=student, prototypes=prototypes)), max_logits=100
        )

    assert torch.autograd.gradcheck(loss, (given["student"], given["prototypes"]))


def test_values_without_gradient_for_prototypes_or_at_all():
    given = inputs()
    expected = prototype_distillation(**given)
    expected.backward()
    frozen = inputs()
    frozen["prototypes"].requires_grad_(False)
    prototype_distillation(**frozen).backward()
    assert frozen["prototypes"].grad is None
    torch.testing.assert_close(frozen["student"].grad, given["student"].grad)
    with torch.no_grad():
        torch.testing.assert_close(prototype_distillation(**given), expected.detach())


def test_values_under_autocast_are_those_of_float32():
    given = {name: value.detach().float() for name, value in inputs().items()}
    exact = prototype_distillation(**given)
    rows = given["student"].bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = prototype_distillation(**(given | dict(student=rows)))
    loss.backward()
    assert loss.dtype == torch.float32 and rows.grad.dtype == torch.bfloat16
    rounded = prototype_distillation(**(given | dict(student=rows.detach().float())))
    torch.testing.assert_close(loss.detach(), rounded, rtol=1e-6, atol=1e-6)
    assert loss.item() == pytest.approx(exact.item(), rel=1e-2)


def test_values_large_logits_do_not_overflow():
    given = {name: 300 * value.detach().double() for name, value in inputs().items()}
    exact = prototype_distillation(**given, implementation="reference").item()
    given = {name: value.float() for name, value in given.items()}
    for implementation in ("fused", "reference"):
        loss = prototype_distillation(**given, implementation=implementation).item()
        assert loss == pytest.approx(exact, rel=1e-5)


def test_values_regression_of_matched_rows_by_hand():
    student = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    pairs = torch.tensor([[[0.5, 0.0], [0.5, 0.0]]])
    assert matched_regression(student, student, pairs).item() == pytest.approx(0.5 * 0 + 0.5 * 2)


def test_raises():
    with pytest.raises(ValueError, match="another crop"):
        pair_weights([1], num_teacher_views=1)
    given = inputs()
    with pytest.raises(ValueError, match="4 student rows and 2 teacher rows"):
        prototype_distillation(**(given | dict(pairs=torch.ones(3, 2))))
    with pytest.raises(ValueError, match="'fused' or 'reference'"):
        prototype_distillation(**given, implementation="fast")
    with pytest.raises(ValueError, match="do not add up"):
        region_pairs(torch.zeros(1, 3, 2), torch.zeros(1, 4, 2), [2, 2])
    with pytest.raises(ValueError, match="'argmax' or 'transport'"):
        region_pairs(torch.zeros(1, 4, 2), torch.zeros(1, 4, 2), [2, 2], match="best")


def test_values_entropy_of_the_teacher():
    """Of uniform targets ln K, of sure ones 0; the loss of a student that agrees is the entropy."""
    given = inputs()
    teacher, prototypes, center = given["teacher"], given["teacher_prototypes"], given["center"]
    found = teacher_entropy(teacher, 0 * prototypes, 0 * center)
    assert found.item() == pytest.approx(math.log(11))
    assert teacher_entropy(teacher, prototypes, 0 * center, temperature=1e-4).item() < 1e-6
    found = teacher_entropy(teacher, prototypes, 0 * center, temperature=0.1)
    same = torch.eye(2) / 2
    agreeing = prototype_distillation(
        teacher, prototypes, teacher, prototypes, 0 * center, same, teacher_temperature=0.1
    )
    torch.testing.assert_close(found, agreeing)
    shifted = teacher_entropy(teacher, prototypes, center + 3.0, temperature=0.1)
    torch.testing.assert_close(
        shifted, teacher_entropy(teacher, prototypes, center, temperature=0.1)
    )


@pytest.mark.parametrize(("images", "most"), [(12, 16), (20, 16), (64, 16), (40, 4), (3, 16)])
def test_values_entropy_of_some_rows(images: int, most: int):
    """No more than asked for, of both views, from the first images to the last."""
    prototypes, center = torch.eye(2 * images), torch.zeros(1, 2 * images)
    rows = torch.zeros(images, 2, 2 * images)
    seen = []
    for row in range(2 * images):
        # the row in question is sure, the others know nothing
        one = rows.clone()
        one.flatten(0, 1)[row, row] = 1.0
        found = teacher_entropy(one, prototypes, center, temperature=1e-3, max_rows=most)
        if found < math.log(2 * images) - 1e-4:
            seen.append(row)
    assert min(most, 2 * images) / 2 <= len(seen) <= most
    assert {row % 2 for row in seen} == {0, 1}
    assert seen[0] < 2 and 2 * images - seen[-1] <= 2 * images / most + 2


def test_values_regression_is_of_all_bits_under_autocast():
    """Two minus two cosines near one: half precision has no bits for the difference."""
    given = inputs(torch.float32)
    teacher = F.normalize(given["teacher"], dim=-1)
    student = F.normalize(teacher.repeat(1, 2, 1) + 0.01, dim=-1)
    pairs = pair_weights([1] * 4).expand(3, -1, -1)
    expected = matched_regression(student, teacher, pairs)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(matched_regression(student, teacher, pairs), expected)
