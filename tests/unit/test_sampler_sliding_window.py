"""SlidingWindowSampler: windows overlap exactly, ranks are disjoint, resuming needs only (seed, k)."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mmssl.datasets import SlidingWindowSampler, in_windows
from mmssl.datasets.transforms import shuffled_positions


def sampler_of(num_images: int = 60, window: int = 20, **options) -> SlidingWindowSampler:
    return SlidingWindowSampler(range(num_images), window, **(dict(stride=5, seed=3) | options))


def windows_of(sampler: SlidingWindowSampler, numbers) -> list[list[int]]:
    windows = []
    for number in numbers:
        sampler.set_epoch(number)
        windows.append([index for _, index in sampler])
    return windows


@pytest.mark.parametrize("reshuffle", [True, False])
@pytest.mark.parametrize(("num_images", "window", "stride"), [(60, 20, 5), (23, 8, 4), (23, 23, 7)])
def test_values_windows_are_cut_out_of_a_row_of_passes(
    num_images, window, stride, reshuffle
) -> None:
    """Every window is a slice of pi_0, pi_1, ..., whose parts are permutations."""
    sampler = sampler_of(num_images, window, stride=stride, reshuffle=reshuffle)
    windows = windows_of(sampler, range(3 * num_images))
    for number, images in enumerate(windows):
        start = number * stride
        passes = [
            shuffled_positions(num_images, 3, k if reshuffle else 0, stream=1)
            for k in range(start // num_images, (start + window) // num_images + 1)
        ]
        begin = start % num_images
        assert Counter(images) == Counter(np.concatenate(passes)[begin : begin + window].tolist())


def test_values_neighbours_share_all_but_a_stride() -> None:
    sampler = sampler_of()
    windows = windows_of(sampler, range(40))
    for first, second in zip(windows, windows[1:], strict=False):
        shared = (Counter(first) & Counter(second)).total()
        assert shared >= 20 - 5
    # pass ends at windows 9 to 11: images come twice, and nowhere else
    twice = [number for number, images in enumerate(windows[:12]) if len(set(images)) < 20]
    assert twice and set(twice) <= {9, 10, 11}


def test_values_each_image_is_seen_equally_often() -> None:
    """60 windows move by 5 passes of 60: 20 visits of every image, but for the ends of the row."""
    counts = Counter(index for window in windows_of(sampler_of(), range(60)) for index in window)
    assert sorted(counts) == list(range(60))
    assert all(abs(count - 20) <= 20 / 5 for count in counts.values())


def test_values_a_run_of_windows_covers_more_than_the_released_sampler() -> None:
    """W / S windows: W + (W / S - 1) * S images, or W for ever."""
    seen = {
        mode: {
            index
            for window in windows_of(sampler_of(mode=mode, reshuffle=False), range(4))
            for index in window
        }
        for mode in ("stream", "mod", "released")
    }
    assert {mode: len(images) for mode, images in seen.items()} == dict(
        stream=35, mod=35, released=20
    )


def test_values_fixed_permutation_equals_mod_without_order() -> None:
    """Without reshuffling the stream is a walk around one circle, as `mod` is."""
    for mode in ("stream", "mod"):
        windows = windows_of(sampler_of(mode=mode, reshuffle=False), range(24))
        assert [set(images) for images in windows[:12]] == [set(images) for images in windows[12:]]
        assert all(len(set(images)) == 20 for images in windows)


@pytest.mark.parametrize("mode", ["stream", "mod", "released"])
@pytest.mark.parametrize(("num_images", "ranks"), [(64, 2), (67, 4)])
def test_values_ranks_are_disjoint(mode: str, num_images: int, ranks: int) -> None:
    shares = [
        sampler_of(num_images, 24, stride=8, mode=mode, rank=rank, world_size=ranks)
        for rank in range(ranks)
    ]
    assert {len(share) for share in shares} == {24 // ranks}
    for number in range(12):
        for rank, share in enumerate(shares):
            (window,) = windows_of(share, [number])
            assert {index % ranks for index in window} == {rank}
            assert max(window) < num_images
    if mode == "stream":  # no two ranks go through their shares alike
        first, second = (np.array(windows_of(share, [0])[0]) // ranks for share in shares[:2])
        assert not np.array_equal(first, second)


def test_values_views_of_an_image_that_comes_twice_differ() -> None:
    """Its key is another one; all keys of a window are different."""
    sampler = sampler_of()
    keys = []
    for number in range(36):
        sampler.set_epoch(number)
        window = list(sampler)
        assert len(set(window)) == 20
        keys += window
        assert sum(epoch == number for epoch, _ in window) == len({index for _, index in window})
    assert len(set(keys)) == len(keys)


def test_equivalence_a_window_is_a_function_of_seed_and_number() -> None:
    """In any order, in a new object, after the loop has set the seed of a resumed run."""
    walked, jumped = sampler_of(), sampler_of(seed=8)
    jumped.seed = 3
    expected = windows_of(walked, range(30))
    for number in (29, 3, 12, 13, 0):
        assert windows_of(jumped, [number]) == [expected[number]]
    assert windows_of(sampler_of(seed=4), [0]) != expected[:1]


@pytest.mark.parametrize("mode", ["stream", "mod", "released"])
def test_equivalence_skip_continues_inside_a_window(mode: str) -> None:
    sampler = sampler_of(mode=mode)
    sampler.set_epoch(10)
    whole = list(sampler)
    sampler.skip(7)
    assert len(sampler) == 20
    assert list(sampler) == whole[7:]
    assert list(sampler) == whole
    with pytest.raises(ValueError, match="Cannot skip 21"):
        sampler.skip(21)


class Keys(Dataset):
    """Gives back its keys."""

    def __len__(self) -> int:
        return 60

    def __getitem__(self, key: tuple[int, int]) -> torch.Tensor:
        return torch.tensor(key)


def test_equivalence_number_of_workers() -> None:
    """Persistent workers, any number of them, and a resumed window give the same batches."""
    found = []
    for workers in (0, 2):
        data, batches = Keys(), []
        sampler = SlidingWindowSampler(data, 20, stride=5, seed=1)
        loader = DataLoader(
            data, 5, sampler=sampler, num_workers=workers, persistent_workers=workers > 0
        )
        assert len(loader) == 4
        for number in (0, 1, 11):
            sampler.set_epoch(number)
            if number == 11:
                sampler.skip(10)
            batches.append(torch.cat(list(loader)).tolist())
        found.append(batches)
    assert found[0] == found[1]
    assert [len(batch) for batch in found[0]] == [20, 20, 10]


def test_state_memory_is_two_passes_of_a_rank() -> None:
    sampler = SlidingWindowSampler(range(200_000), 20_000, stride=5_000, rank=1, world_size=2)
    for number in range(60):
        sampler.set_epoch(number)
        next(iter(sampler))
        assert sum(order.nbytes for order in sampler._orders.values()) <= 2 * 100_000 * 4


def test_values_windows_of_epochs() -> None:
    sampler = sampler_of(50, 20)
    assert [sampler.windows(epochs) for epochs in (0, 1, 2, 0.1, 200)] == [0, 3, 5, 1, 500]
    assert in_windows(5, num_images=1281167, window=131072) == 49


def test_values_a_long_walk_shows_a_bar(capsys) -> None:
    sampler = sampler_of(mode="mod")
    windows_of(sampler, [99])
    assert "Walking through 100 windows" in capsys.readouterr().out
    windows_of(sampler, [100, 101, 102])
    assert capsys.readouterr().out == ""


def test_state_settings_tell_other_orders_apart() -> None:
    settings = sampler_of().settings()
    assert settings == dict(
        images=60, window=20, stride=5, mode="stream", reshuffle=True, world_size=1
    )
    # the windows are as long, and hold other images
    assert sampler_of(num_images=61).settings() != settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(mode="slide"), "mode must be one of stream, mod, released"),
        (dict(window=61), "larger than the data set of 60"),
        (
            dict(num_images=61, window=64, stride=4, rank=0, world_size=4),
            "data set of 61 .15 on each of 4",
        ),
        (dict(stride=21), "leave images out"),
        (dict(stride=0), "stand still"),
        (dict(stride=1, rank=0, world_size=2, mode="mod"), "stand still"),
        (dict(window=21, stride=6, rank=0, world_size=2), "window=21 unequally.*for example 20"),
        (dict(stride=5, rank=0, world_size=2), "stride=5 unequally.*for example 4"),
    ],
)
def test_raises_windows_that_make_no_sense(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sampler_of(**options)
