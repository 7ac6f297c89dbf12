#!/usr/bin/env python
"""Time and peak memory of HCSC's selection of negatives: kept partitions against the plain softmax.

    python tools/benchmarks/selection.py
    python tools/benchmarks/selection.py --device cuda

Both give the probability that a key of the queue stays a negative of an image of the batch, on every level,
at the published size. The plain form takes the softmax of all keys over all prototypes of a level; ours
keeps the keys' partitions over the steps and computes those of the new keys of a step only. Each runs in a
process of its own; the smaller of several times counts, implementations take turns.
"""

from __future__ import annotations

import argparse
import itertools
import time

import torch
from paired import compare, peak_bytes, start_of_peak
from torch import Tensor
from torch.nn import functional as F

from mmssl.losses import keep_probability
from mmssl.models.memories import FeatureQueue, Prototypes
from mmssl.structures import Clustering

SIZE = dict(keys=16384, images=32, processes=8, dim=128)
LEVELS = (3000, 2000, 1000)
SCALE = 0.2
IMPLEMENTATIONS = ("plain", "kept")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=SIZE["keys"], help="length of the queue")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each implementation")
    parser.add_argument("--out", metavar="FILE.json", help="write the figures")
    parser.add_argument("--run", choices=IMPLEMENTATIONS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    batch = SIZE["images"] * SIZE["processes"]
    if args.keys < batch:
        parser.error(f"--keys must be at least {batch}, the keys of a step, got {args.keys}")
    return args


def loaded(device: torch.device, keys: int) -> tuple[Prototypes, FeatureQueue, Tensor]:
    """Random prototypes, a queue, and the partition of every key on every level."""
    torch.manual_seed(0)
    dim = SIZE["dim"]
    prototypes = Prototypes(LEVELS, dim).to(device)
    centroids = [F.normalize(torch.randn(count, dim), dim=1) for count in LEVELS]
    parents = [torch.randint(above, (m,)) for m, above in itertools.pairwise(LEVELS)]
    density = [torch.full((count,), SCALE) for count in LEVELS]
    assignment = torch.randint(LEVELS[0], (1, 4 * LEVELS[0]))
    prototypes.load(Clustering(centroids, density, parents, assignment, []), epoch=0)
    queue = FeatureQueue(keys, dim).to(device)
    partitions = torch.stack([level.log_partition(queue.features) for level in prototypes.levels])
    return prototypes, queue, partitions


def plain(prototypes: Prototypes, queue: FeatureQueue, assigned: Tensor) -> list[Tensor]:
    """The formula: a softmax over all prototypes, of which one column is read."""
    probabilities = []
    for level, own in zip(prototypes.levels, assigned, strict=True):
        share = (queue.features @ level.centroids.T / level.scale).softmax(dim=1)
        probabilities.append(1 - share[:, own].T)
    return probabilities


def kept(
    prototypes: Prototypes, queue: FeatureQueue, assigned: Tensor, partitions: Tensor
) -> list[Tensor]:
    """What HCSC does in a step: partitions of the new keys, and one product per pair."""
    new = slice(0, SIZE["images"] * SIZE["processes"])
    probabilities = []
    for level, own, partition in zip(prototypes.levels, assigned, partitions, strict=True):
        partition[new] = level.log_partition(queue.features[new])
        probabilities.append(
            keep_probability(
                queue.features,
                level.centroids[own],
                scale=level.scale[own],
                log_partition=partition,
            )
        )
    return probabilities


def measure(implementation: str, device: torch.device, keys: int) -> dict[str, float]:
    """Seconds and additional bytes of one step, after one that warms up, and a sum to compare."""
    prototypes, queue, partitions = loaded(device, keys)
    assigned = prototypes.assign(torch.arange(SIZE["images"], device=device))
    few = FeatureQueue(SIZE["images"] * SIZE["processes"], SIZE["dim"]).to(device)

    def step(keys_of: FeatureQueue) -> tuple[float, float]:
        start = time.perf_counter()
        if implementation == "plain":
            found = plain(prototypes, keys_of, assigned)
        else:
            found = kept(prototypes, keys_of, assigned, partitions[:, : len(keys_of.features)])
        total = float(torch.stack(found).double().sum())
        return time.perf_counter() - start, total

    step(few)  # libraries and kernels load
    before = start_of_peak(device)
    seconds, total = step(queue)
    memory = peak_bytes(device) - before
    return dict(seconds=min(seconds, step(queue)[0]), bytes=memory, total=total)


def main() -> None:
    args = parse_args()
    compare(
        __file__,
        IMPLEMENTATIONS,
        args,
        measure=lambda name: measure(name, torch.device(args.device), args.keys),
        arguments=["--device", args.device, "--keys", str(args.keys)],
        about=dict(SIZE, keys=args.keys, levels=LEVELS),
    )


if __name__ == "__main__":
    main()
