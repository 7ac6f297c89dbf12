"""The random numbers of faiss's k-means, so that its choices can be repeated without faiss.

faiss draws from std::mt19937, whose raw 32-bit words are those of `numpy.random.RandomState` with the
same seed. Johnson, Douze, Jegou: Billion-scale similarity search with GPUs (2017, arXiv 1702.08734);
compared with faiss-cpu 1.15.1.
"""

from __future__ import annotations

from array import array

import numpy as np
import torch
from torch import Tensor

SPLIT_SEED = 1234
RESTART_STEP = 15486557


def _words(seed: int, count: int) -> np.ndarray:
    """(count,) uint32: the first words of std::mt19937, whose seed has 32 bits."""
    return np.random.RandomState(seed % 2**32).randint(0, 2**32, size=count, dtype=np.uint32)


class _Untouched(dict):
    """The entries of a permutation that differ from the identity."""

    def __missing__(self, position: int) -> int:
        return position


def first_of_permutation(size: int, count: int, *, seed: int) -> Tensor:
    """The first entries of the permutation that faiss makes from a seed.

    Position i is exchanged with i + (word mod (size - i)), so the first entries are final after as many
    words; time grows with `count`, memory with the smaller of what the two ways of keeping entries need.

    Args:
        size: Length of the whole permutation.
        count: How many entries are wanted, at most `size`.
        seed: Of the generator.

    Returns:
        (count,) int64 positions, all different.

    Raises:
        ValueError: `count` exceeds `size`.

    Example:
        >>> first_of_permutation(2000, 4, seed=1).tolist()
        [1845, 649, 992, 351]
    """
    if not 0 <= count <= size:
        raise ValueError(f"A permutation of {size} has no first {count} entries.")
    exchanges = min(count, max(size - 1, 0))  # the last position has no other to be exchanged with
    steps = _words(seed, exchanges) % (size - np.arange(exchanges, dtype=np.int64))
    # A dictionary entry takes about as much memory as a dozen positions of a plain array.
    entries = array("q", range(size)) if size <= 12 * count else _Untouched()
    chosen: np.ndarray = np.empty(count, dtype=np.int64)
    for position, step in enumerate(steps.tolist()):
        partner = position + step
        chosen[position] = entries[partner]
        entries[partner] = entries[position]
    if count == size and size:
        chosen[-1] = entries[size - 1]
    return torch.from_numpy(chosen)


def restart_seed(seed: int, restart: int) -> int:
    """Seed of the permutation whose first entries are the first centroids of a restart."""
    return seed + 1 + RESTART_STEP * restart


class SplitDraws:
    """The uniform numbers that decide which clusters give half of their points to empty ones.

    One instance serves one iteration: faiss starts the generator anew in each.

    Example:
        >>> draws = SplitDraws()
        >>> draws.first_below(np.array([0.1, 0.2], dtype=np.float32)) in (0, 1)
        True
    """

    BLOCK = 4096

    def __init__(self) -> None:
        self.random = np.random.RandomState(SPLIT_SEED)
        self.waiting: np.ndarray = np.empty(0, dtype=np.float32)

    def take(self, count: int) -> np.ndarray:
        """(count,) float32 next numbers of the stream, from 0 to 1, both included."""
        while len(self.waiting) < count:
            words = self.random.randint(0, 2**32, size=self.BLOCK, dtype=np.uint32)
            fresh = words.astype(np.float32) / np.float32(2**32 - 1)
            self.waiting = np.concatenate([self.waiting, fresh])
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        return taken

    def first_below(self, chances: np.ndarray) -> int:
        """Go through the candidates, again and again, until a draw is below the candidate's chance.

        Args:
            chances: (k,) float32, at least one above 0. One number is drawn per candidate.

        Returns:
            The candidate.
        """
        start = 0
        while True:
            stop = min(start + self.BLOCK, len(chances))
            drawn = self.take(stop - start)
            hits = np.flatnonzero(drawn < chances[start:stop])
            if len(hits):
                # What was drawn beyond the hit belongs to the next cluster.
                self.waiting = np.concatenate([drawn[hits[0] + 1 :], self.waiting])
                return start + int(hits[0])
            start = stop % len(chances)


def split_empty_clusters(centroids: np.ndarray, counts: np.ndarray) -> int:
    """Give every empty cluster a copy of a large one, both moved a little apart; in place.

    A cluster of c among n points and k clusters is taken with the chance (c - 1) / (n - k).

    Args:
        centroids: (k, D) float32.
        counts: (k,) members, with a sum above k if any is 0.

    Returns:
        How many clusters were empty.
    """
    empty = np.flatnonzero(counts == 0)
    if not len(empty):
        return 0
    spare = np.float32(counts.sum() - len(counts))
    sizes: np.ndarray = counts.astype(np.float32)
    draws = SplitDraws()
    up, down = np.float32(1 + 1 / 1024), np.float32(1 - 1 / 1024)
    for cluster in empty.tolist():
        chances = ((sizes.astype(np.float64) - 1.0) / spare).astype(np.float32)
        donor = draws.first_below(chances)
        centroids[cluster] = centroids[donor]
        centroids[cluster, 0::2] *= up
        centroids[cluster, 1::2] *= down
        centroids[donor, 0::2] *= down
        centroids[donor, 1::2] *= up
        sizes[cluster] = sizes[donor] / 2
        sizes[donor] -= sizes[cluster]
    return len(empty)
