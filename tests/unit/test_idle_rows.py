"""What idle rows are owed: the operator of a step, cohorts, the recent list, the store."""

from __future__ import annotations

import copy

import pytest
import torch

from mmssl.models.memories import IdleCohorts, RecentInstances, RowStore
from mmssl.ops.idle_sgd import compose, idle_operator, idle_power, moved
from mmssl.ops.sharded_rows import gather_rows_in_chunks


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_equivalence_operators_with_steps_of_torchs_sgd(momentum, decay):
    """Ten steps without gradient at changing rates, from the momentum that one with gradient left."""
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(3, 5, dtype=torch.float64))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=momentum, weight_decay=decay)
    weight.grad = torch.randn_like(weight)
    before = weight.detach().clone()
    optimizer.step()
    velocity = weight.grad + decay * before  # u, which SGD without momentum does not keep
    start = weight.detach().clone()
    product = torch.eye(2, dtype=torch.float64)
    for step in range(10):
        lr = 0.1 + 0.03 * step
        optimizer.param_groups[0]["lr"] = lr
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
        product = compose(idle_operator(lr, momentum=momentum, weight_decay=decay), product)
    w, u = moved(product.expand(3, 2, 2), start, velocity)
    torch.testing.assert_close(w, weight.detach())
    buffer = optimizer.state[weight].get("momentum_buffer")
    if buffer is not None:
        torch.testing.assert_close(u, buffer)


def test_values_operator_by_hand():
    operator = idle_operator(0.1, momentum=0.9, weight_decay=0.01)
    torch.testing.assert_close(
        operator, torch.tensor([[0.999, -0.09], [0.01, 0.9]], dtype=torch.float64)
    )
    assert torch.det(operator).item() == pytest.approx(0.9, rel=1e-12)
    w, u = moved(operator[None], torch.tensor([[2.0]]), torch.tensor([[1.0]]))
    assert (w.item(), u.item()) == (pytest.approx(1.908), pytest.approx(0.92))


def test_values_powers_follow_products():
    steps = torch.tensor([0, 1, 7, 64, 1000])
    powers = idle_power(steps, 0.03, momentum=0.9, weight_decay=1e-4)
    step = idle_operator(0.03, momentum=0.9, weight_decay=1e-4)
    product, found = torch.eye(2, dtype=torch.float64), {}
    for number in range(1001):
        found[number] = product
        product = compose(step, product)
    torch.testing.assert_close(powers, torch.stack([found[n] for n in steps.tolist()]))


def test_equivalence_compose_is_the_matrix_product_whatever_lies_beside_it():
    torch.manual_seed(0)
    many = torch.randn(50, 2, 2, dtype=torch.float64)
    step = torch.randn(2, 2, dtype=torch.float64)
    together = compose(step, many)
    torch.testing.assert_close(together, step @ many)
    for each, alone in zip(together, many):
        assert torch.equal(each, compose(step, alone))


def test_state_cohorts_come_and_go():
    cohorts = IdleCohorts(4)
    settings = dict(momentum=0.9, weight_decay=0.1)
    cohorts.advance(0.1, **settings)
    cohorts.join(1, 2)
    cohorts.advance(0.2, **settings)
    cohorts.join(2, 1)
    cohorts.join(2, 1)
    assert cohorts.births.tolist() == [0, 1, 2] and cohorts.counts.tolist() == [4, 2, 2]
    owed = cohorts.owed(torch.tensor([2, 0, 1]), 2, (0.2, 0.9, 0.1))
    first, second = (idle_operator(lr, **settings) for lr in (0.1, 0.2))
    assert torch.equal(owed[0], torch.eye(2, dtype=torch.float64))
    torch.testing.assert_close(owed[1], second @ first)
    torch.testing.assert_close(owed[2], second)
    cohorts.leave(torch.tensor([1, 2, 1]))
    assert cohorts.births.tolist() == [0, 2] and cohorts.counts.tolist() == [4, 1]
    cohorts.restart(7)
    assert cohorts.births.tolist() == [7] and cohorts.counts.tolist() == [5]


def test_raises_on_options_nobody_knows(tmp_path):
    with pytest.raises(ValueError, match="correction must be one of"):
        IdleCohorts(3, "some")
    with pytest.raises(ValueError, match="at least 1"):
        RecentInstances(0, 5)
    for options in (dict(storage="disk"), dict(folder=str(tmp_path))):
        with pytest.raises(ValueError, match="storage must be 'device' or 'host'"):
            RowStore(3, 2, **options)


def test_values_recent_list_against_a_plain_one():
    torch.manual_seed(0)
    for everything in (False, True):
        recent = RecentInstances(7, 20, everything=everything)
        plain = list(range(13, 20)) if everything else []
        assert recent.known.tolist() == plain
        for _ in range(40):
            batch = torch.randint(20, (3,))
            recent.visit(batch)
            for own in batch.tolist():
                plain = [other for other in plain if other != own] + [own]
            plain = plain[-7:]
            assert recent.known.tolist() == plain
    assert len(RecentInstances(100, 20).index) == 20


def test_state_rows_of_the_host_stay_there(tmp_path):
    for folder in (None, str(tmp_path)):
        store = RowStore(5, 2, storage="host", folder=folder)
        store.weight.copy_(torch.arange(10.0).view(5, 2))
        assert not list(store.buffers())
        rows = torch.tensor([4, 1])
        store.mark(rows, -1)
        weight, momentum, cohort = store.read(rows)
        assert weight.tolist() == [[8, 9], [2, 3]] and cohort.tolist() == [-1, -1]
        assert store.active().tolist() == [1, 4]
        assert torch.cat(list(store.idle_chunks())).tolist() == [0, 2, 3]
        store.write(rows, weight + 1, momentum - 1)
        assert store.weight[4].tolist() == [9, 10] and store.momentum[1].tolist() == [-1, -1]
        assert torch.equal(copy.deepcopy(store).weight, store.weight)
        doubled = store.double()
        assert doubled.weight.dtype == torch.float64 and doubled.weight[4, 1] == 10
    assert not list(tmp_path.iterdir()), "the files have no name"


def test_values_rows_in_chunks_on_one_process():
    rows = torch.arange(14).view(7, 2)
    assert torch.equal(gather_rows_in_chunks(rows, 7, chunk=3), rows)
