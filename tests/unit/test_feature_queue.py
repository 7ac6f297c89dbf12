"""FeatureQueue: order, wrapping, state."""

from __future__ import annotations

import pytest
import torch

from mmssl.models.memories import FeatureQueue


def keys(start: int, count: int, dim: int = 3) -> torch.Tensor:
    """Rows that say their number."""
    return torch.arange(start, start + count).float()[:, None].repeat(1, dim)


def numbers(queue: FeatureQueue) -> list[int]:
    return queue.features[:, 0].int().tolist()


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 7, 12])
def test_values_the_newest_keys_stay_whatever_the_batch(batch):
    """Batches that do not divide the length, and batches longer than it."""
    queue = FeatureQueue(5, 3)
    for step in range(6):
        queue.enqueue(keys(step * batch, batch))
    written = 6 * batch
    assert int(queue.pointer) == written % 5
    # from the oldest to the newest
    expected = list(range(max(written - 5, 0), written))
    turned = queue.features.roll(-int(queue.pointer), 0)[:, 0].int().tolist()
    assert turned[-len(expected) :] == expected


def test_values_wrapping_by_hand():
    queue = FeatureQueue(5, 3)
    queue.enqueue(keys(1, 3))
    assert numbers(queue)[:3] == [1, 2, 3]
    queue.enqueue(keys(4, 3))
    assert (numbers(queue), int(queue.pointer)) == ([6, 2, 3, 4, 5], 1)


def test_state_starts_with_unit_rows_that_differ():
    torch.manual_seed(0)
    queue = FeatureQueue(200, 8)
    torch.testing.assert_close(queue.features.norm(dim=1), torch.ones(200))
    assert queue.features.mean(0).abs().max() < 0.15
    assert int(queue.pointer) == 0
    assert set(queue.state_dict()) == {"features", "pointer"}


def test_state_goes_on_after_loading():
    queue, other = FeatureQueue(4, 3), FeatureQueue(4, 3)
    queue.enqueue(keys(0, 3))
    other.load_state_dict(queue.state_dict())
    for each in (queue, other):
        each.enqueue(keys(3, 3))
    assert torch.equal(queue.features, other.features)
    assert numbers(other) == [4, 5, 2, 3]


def test_state_index_follows_the_keys():
    queue = FeatureQueue(4, 3, with_index=True)
    assert queue.index.tolist() == [-1, -1, -1, -1]
    queue.enqueue(keys(1, 3), torch.tensor([10, 20, 30]))
    queue.enqueue(keys(4, 2), torch.tensor([40, 50]))
    assert queue.index.tolist() == [50, 20, 30, 40]
    assert numbers(queue) == [5, 2, 3, 4]
    assert "index" in queue.state_dict()


def test_state_holds_no_graph_and_keeps_its_precision():
    queue = FeatureQueue(4, 3)
    live = keys(1, 2).requires_grad_()
    queue.enqueue(live * 2)
    assert not queue.features.requires_grad
    queue.enqueue(keys(1, 1).bfloat16())
    assert queue.features.dtype == torch.float32


def test_values_a_copy_lets_a_loss_go_backward_after_writing():
    queue = FeatureQueue(4, 3)
    q = torch.randn(2, 3, requires_grad=True)
    before = queue.features.clone()
    loss = (q @ before.T).sum()
    queue.enqueue(keys(1, 2))
    loss.backward()
    torch.testing.assert_close(q.grad, before.sum(0).repeat(2, 1))


def test_raises():
    with pytest.raises(ValueError, match="length >= 1"):
        FeatureQueue(0, 3)
    with pytest.raises(ValueError, match="keys of size 3"):
        FeatureQueue(4, 3).enqueue(keys(0, 2, dim=2))
    with pytest.raises(ValueError, match="dataset positions"):
        FeatureQueue(4, 3).enqueue(keys(0, 2), torch.arange(2))
    with pytest.raises(ValueError, match="dataset positions"):
        FeatureQueue(4, 3, with_index=True).enqueue(keys(0, 2))
