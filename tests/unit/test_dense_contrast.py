"""Which cells of two views belong together, and InfoNCE of many queries without their logits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from mmssl.losses import best_cells, chunked_info_nce, info_nce
from tests.helpers.tolerance import FLOAT64


def unit(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=dtype), dim=1)


class Largest(TorchDispatchMode):
    """Keeps the number of values of the largest tensor that is made."""

    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(value, Tensor):
                self.numel = max(self.numel, value.numel())
        return result


def test_values_cells_of_greatest_cosine_not_product() -> None:
    queries = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    keys = torch.tensor([[[0.5, 9.0, 0.1], [0.1, 8.0, 2.0]]])
    # the second key is the longest: its product would win everywhere
    assert best_cells(queries, keys).tolist() == [[0, 2]]
    assert best_cells(queries * 7, keys * torch.tensor([3.0, 0.1, 5.0])).tolist() == [[0, 2]]


def test_values_first_of_equal_cells() -> None:
    keys = torch.ones(2, 4, 49)
    assert (best_cells(torch.ones(2, 4, 49), keys) == 0).all()
    assert (best_cells(torch.ones(2, 4, 9), torch.cat([-keys[:, :, :5], keys], 2)) == 5).all()


def test_equivalence_cells_match_within_their_own_image() -> None:
    queries, keys = unit(3, 5, 6), unit(3, 5, 7, seed=1)
    expected = [
        [int((k.T @ q[:, i]).argmax()) for i in range(6)]
        for q, k in zip(queries, keys, strict=True)
    ]
    assert best_cells(queries, keys).tolist() == expected


def test_equivalence_cells_are_matched_in_float32_under_autocast() -> None:
    queries = unit(4, 32, 49, dtype=torch.float32)
    # neighbours that bfloat16 products cannot tell from each other
    keys = (queries + 1e-3 * unit(4, 32, 49, seed=1, dtype=torch.float32)).roll(1, dims=2)
    keys = torch.cat([keys, keys + 2e-3 * unit(4, 32, 49, seed=2, dtype=torch.float32)], dim=2)
    with torch.autocast("cpu", torch.bfloat16):
        found = best_cells(queries, keys)
        coarse = (queries.transpose(1, 2) @ keys).argmax(dim=2)
    assert torch.equal(found, best_cells(queries, keys))
    assert not torch.equal(found, coarse)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("max_logits", [1, 100, 10**6])
def test_equivalence_chunks_have_value_and_gradients_of_the_formula(max_logits, dtype) -> None:
    queue = unit(30, 8, seed=3, dtype=dtype)
    found = []
    for implementation in ("chunked", "reference"):
        q, k = (unit(25, 8, seed=seed, dtype=dtype).requires_grad_() for seed in (1, 2))
        loss = chunked_info_nce(
            q, k, queue, temperature=0.2, max_logits=max_logits, implementation=implementation
        )
        (loss * 3).backward()
        found.append((loss, q.grad, k.grad))
    tolerance = FLOAT64 if dtype == torch.float64 else dict(rtol=1e-5, atol=1e-6)
    for chunked, reference in zip(*found, strict=True):
        torch.testing.assert_close(chunked, reference, **tolerance)
    assert found[0][0].dtype == dtype


def test_gradcheck_queries_and_keys() -> None:
    q, k = unit(5, 4, seed=1).requires_grad_(), unit(5, 4, seed=2).requires_grad_()
    queue = unit(7, 4, seed=3)
    assert torch.autograd.gradcheck(
        lambda q, k: chunked_info_nce(q, k, queue, temperature=0.3, max_logits=14), (q, k)
    )


def test_values_known_losses() -> None:
    same = torch.ones(4, 9) / 3
    assert chunked_info_nce(same, same, same[:3], temperature=0.07).item() == pytest.approx(
        math.log(4)
    )
    q = torch.eye(4)[:2]
    loss = chunked_info_nce(q, q, torch.eye(4)[2:], temperature=0.2)
    assert loss.item() == pytest.approx(math.log(1 + 2 * math.exp(-5)), rel=1e-5)
    assert chunked_info_nce(q, q, -q, temperature=1e-3).item() == 0.0
    # exp(2000) has no number
    assert chunked_info_nce(q, -q, q, temperature=1e-3).item() == pytest.approx(2000)


def test_state_the_queue_may_change_before_the_backward_pass() -> None:
    gradients = []
    for overwritten in (False, True):
        q, queue = unit(6, 4, seed=1).requires_grad_(), unit(9, 4, seed=3)
        loss = chunked_info_nce(q, unit(6, 4, seed=2), queue, temperature=0.2)
        if overwritten:
            queue.zero_()
        loss.backward()
        gradients.append(q.grad)
    assert torch.equal(*gradients)


def test_shapes_logits_of_all_queries_are_never_held() -> None:
    q, queue = unit(400, 8, seed=1).requires_grad_(), unit(500, 8, seed=3)
    sizes = []
    for implementation in ("chunked", "reference"):
        with Largest() as largest:
            chunked_info_nce(
                q, q.detach(), queue, temperature=0.2, max_logits=5000,
                implementation=implementation,
            ).backward()  # fmt: skip
        sizes.append(largest.numel)
    assert sizes[0] <= 5000 and sizes[1] >= 400 * 500


def test_equivalence_float32_under_autocast_and_no_work_without_gradient() -> None:
    q, k, queue = (unit(6, 16, seed=seed, dtype=torch.float32) for seed in (1, 2, 3))
    expected = info_nce(q, k, queue, temperature=0.2)
    with torch.autocast("cpu", torch.bfloat16):
        found = chunked_info_nce(q, k, queue, temperature=0.2)
        half = chunked_info_nce(q.bfloat16(), k.bfloat16(), queue, temperature=0.2)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    assert half.dtype == torch.float32 and not found.requires_grad


@pytest.mark.parametrize("implementation", ["chunked", "reference"])
def test_values_empty_queue(implementation) -> None:
    """Nothing to be told from: loss and gradients are 0."""
    q, k = (unit(6, 4, seed=seed).requires_grad_() for seed in (1, 2))
    loss = chunked_info_nce(
        q, k, unit(9, 4)[:0], temperature=0.2, max_logits=2, implementation=implementation
    )
    loss.backward()
    assert loss == 0 and not q.grad.any() and not k.grad.any()


def test_equivalence_without_queries() -> None:
    q, queue = unit(6, 4)[:0].requires_grad_(), unit(9, 4)
    for implementation in ("chunked", "reference"):
        loss = chunked_info_nce(q, q, queue, temperature=0.2, implementation=implementation)
        loss.backward()
        assert loss.isnan() and q.grad.shape == (0, 4)


def test_raises_for_what_does_not_fit() -> None:
    q, queue = unit(6, 4), unit(9, 4)
    for implementation in ("chunked", "reference"):
        with pytest.raises(ValueError, match="must be positive, got 0"):
            chunked_info_nce(q, q, queue, temperature=0, implementation=implementation)
    with pytest.raises(ValueError, match=r"\(6, 4\), \(5, 4\) and \(9, 4\)"):
        chunked_info_nce(q, q[:5], queue, temperature=0.2)
    with pytest.raises(ValueError, match=r"\(9, 3\)"):
        chunked_info_nce(q, q, queue[:, :3], temperature=0.2)
    with pytest.raises(ValueError, match="no gradient here"):
        chunked_info_nce(q, q, queue.requires_grad_(), temperature=0.2)
    with pytest.raises(ValueError, match="'chunked' or 'reference', got 'fused'"):
        chunked_info_nce(q, q, queue, temperature=0.2, implementation="fused")
    with pytest.raises(ValueError, match=r"\(2, 3, 4\) and \(2, 5, 4\)"):
        best_cells(torch.zeros(2, 3, 4), torch.zeros(2, 5, 4))
