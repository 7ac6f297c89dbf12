"""Random numbers addressed by (seed, epoch, index, view)."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np

from mmssl.datasets.transforms import ViewRandom, shuffled_positions


def test_values_are_philox_doubles() -> None:
    """The stream is pinned to numpy's bit generator, not to its distributions."""
    bits = np.random.Philox(
        key=np.array([3, 1], np.uint64), counter=np.array([0, 0, 7, 2], np.uint64)
    ).random_raw(70)
    expected = (bits >> np.uint64(11)) * 2.0**-53
    rng = ViewRandom(3, 1, 7, 2)
    assert [rng.random() for _ in range(70)] == expected.tolist()


def test_streams_of_neighbouring_addresses_differ() -> None:
    streams = set()
    for address in itertools.product((0, 1, 2), repeat=4):
        rng = ViewRandom(*address)
        streams.add(tuple(rng.random() for _ in range(3)))
    assert len(streams) == 81


def test_negative_and_large_seeds_are_accepted() -> None:
    assert ViewRandom(-1).random() == ViewRandom(2**64 - 1).random()


def test_integers_include_both_ends() -> None:
    rng = ViewRandom(0)
    counts = np.bincount([rng.integer(2, 4) for _ in range(6000)], minlength=6)
    assert counts[:2].tolist() == [0, 0]
    assert np.abs(counts[2:5] / 6000 - 1 / 3).max() < 0.02
    assert counts[5] == 0


def test_permutations_are_uniform() -> None:
    rng = ViewRandom(0)
    counts = Counter(rng.permutation(4) for _ in range(4800))
    assert len(counts) == 24
    # 200 expected each, standard deviation 14
    assert min(counts.values()) > 140
    assert max(counts.values()) < 260


def test_order_of_an_epoch() -> None:
    first, again = shuffled_positions(101, 5, 2), shuffled_positions(101, 5, 2)
    assert first.tolist() == again.tolist()
    assert sorted(first.tolist()) == list(range(101))
    assert first.tolist() != shuffled_positions(101, 5, 3).tolist()
    assert first.tolist() != shuffled_positions(101, 6, 2).tolist()
