"""CounterSampler: who gets which image, and exact continuation in mid-epoch."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader

from mmssl.datasets import CounterSampler
from mmssl.datasets.transforms import shuffled_positions


def test_values_are_the_order_of_seed_and_epoch() -> None:
    sampler = CounterSampler(range(23), seed=5)
    for epoch in (0, 1, 7):
        sampler.set_epoch(epoch)
        expected = [(epoch, int(index)) for index in shuffled_positions(23, 5, epoch)]
        assert list(sampler) == expected
        assert list(sampler) == expected


@pytest.mark.parametrize("shuffle", [True, False])
def test_ranks_share_the_batches_of_one_process(shuffle: bool) -> None:
    """Step by step, two ranks of batch 3 see the same images as one rank of batch 6."""
    whole = list(CounterSampler(range(24), shuffle, seed=1))
    ranks = [list(CounterSampler(range(24), shuffle, seed=1, rank=r, world_size=2)) for r in (0, 1)]
    for step in range(4):
        together = {key for rank in ranks for key in rank[3 * step : 3 * step + 3]}
        assert together == set(whole[6 * step : 6 * step + 6])


def test_ranks_that_do_not_divide_the_dataset() -> None:
    """11 images on 4 ranks: one repeated from the start of the order, or three dropped."""
    order = list(CounterSampler(range(11), seed=2))
    padded = [CounterSampler(range(11), seed=2, rank=r, world_size=4) for r in range(4)]
    assert [len(sampler) for sampler in padded] == [3] * 4
    keys = [list(sampler) for sampler in padded]
    assert [keys[i % 4][i // 4] for i in range(12)] == order + order[:1]
    dropped = [
        CounterSampler(range(11), seed=2, rank=r, world_size=4, drop_last=True) for r in range(4)
    ]
    assert [len(sampler) for sampler in dropped] == [2] * 4
    assert {key for sampler in dropped for key in sampler} == set(order[:8])


def test_values_more_ranks_than_images() -> None:
    samplers = [CounterSampler(range(2), False, rank=r, world_size=5) for r in range(5)]
    assert [list(sampler) for sampler in samplers] == [[(0, i)] for i in (0, 1, 0, 1, 0)]
    with pytest.raises(ValueError, match="too few for 5 processes"):
        CounterSampler(range(2), rank=0, world_size=5, drop_last=True)


def test_skip_continues_where_an_epoch_was_left() -> None:
    sampler = CounterSampler(range(20), seed=4, rank=1, world_size=2)
    sampler.set_epoch(3)
    whole = list(sampler)
    sampler.skip(6)
    assert len(sampler) == 10
    assert list(sampler) == whole[6:]
    # only the interrupted epoch is shortened
    assert list(sampler) == whole
    sampler.skip(10)
    assert list(sampler) == []
    with pytest.raises(ValueError, match="Cannot skip 11"):
        sampler.skip(11)


def test_skip_through_a_loader_in_the_middle_of_persistent_workers() -> None:
    class Keys(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 12

        def __getitem__(self, key: tuple[int, int]) -> torch.Tensor:
            return torch.tensor(key)

    data = Keys()
    sampler = CounterSampler(data, seed=1)
    loader = DataLoader(data, 4, sampler=sampler, num_workers=1, persistent_workers=True)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        whole = torch.cat(list(loader)).tolist()
        sampler.skip(4)
        assert torch.cat(list(loader)).tolist() == whole[4:]
        assert {key[0] for key in whole} == {epoch}


def test_seed_reaches_a_dataset_without_one() -> None:
    class Data:
        def __init__(self, seed: int | None) -> None:
            self.seed = seed

        def __len__(self) -> int:
            return 3

    free, fixed = Data(None), Data(8)
    CounterSampler(free, seed=4)
    CounterSampler(fixed, seed=4)
    assert (free.seed, fixed.seed) == (4, 8)


def test_raises_on_a_rank_outside_of_the_world() -> None:
    with pytest.raises(ValueError, match="rank must lie in"):
        CounterSampler(range(4), rank=2, world_size=2)
