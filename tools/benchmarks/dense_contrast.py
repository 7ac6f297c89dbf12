#!/usr/bin/env python
"""Time and peak memory of DenseCL's contrast of cells: in chunks against the plain InfoNCE.

    python tools/benchmarks/dense_contrast.py                            # a quarter of the images
    python tools/benchmarks/dense_contrast.py --images 32 --device cuda  # as published

Both go from the embeddings of all cells, their keys and the queue to loss and gradient. Each runs in a
process of its own; on a CPU memory is what the process needed more than before (peak resident size), on a
GPU what torch allocated at most. The smaller of several times counts; implementations take turns.
"""

from __future__ import annotations

import argparse
import time

import torch
from paired import compare, peak_bytes, start_of_peak
from torch.nn import functional as F

from mmssl.losses import chunked_info_nce

CELLS, DIM, KEYS = 49, 128, 65536
IMPLEMENTATIONS = ("reference", "chunked")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=8, help="images per process; published: 32")
    parser.add_argument("--keys", type=int, default=KEYS, help="length of the queue")
    parser.add_argument("--max-logits", type=int, default=2**24, help="logits held at a time")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each implementation")
    parser.add_argument("--out", metavar="FILE.json", help="write the figures")
    parser.add_argument("--run", choices=IMPLEMENTATIONS, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(implementation: str, args: argparse.Namespace) -> dict[str, float]:
    """Seconds and additional bytes of one loss with its gradient, and both as sums to compare."""
    device = torch.device(args.device)
    generator = torch.Generator().manual_seed(0)

    def unit(rows: int) -> torch.Tensor:
        return F.normalize(torch.randn(rows, DIM, generator=generator), dim=1).to(device)

    queue = unit(args.keys)
    q, k = unit(CELLS * args.images).requires_grad_(), unit(CELLS * args.images)

    def step(keys: int) -> tuple[float, float]:
        q.grad = None
        start = time.perf_counter()
        loss = chunked_info_nce(
            q, k, queue[:keys], temperature=0.2, max_logits=args.max_logits,
            implementation=implementation,
        )  # fmt: skip
        loss.backward()
        total = loss.item()
        return time.perf_counter() - start, total

    step(16)  # libraries and kernels load
    before = start_of_peak(device)
    seconds, loss = step(args.keys)
    memory = peak_bytes(device) - before
    seconds = min(seconds, step(args.keys)[0])
    return dict(seconds=seconds, bytes=memory, loss=loss, gradient=float(q.grad.double().norm()))


def main() -> None:
    args = parse_args()
    numbers = ("images", "keys", "max_logits")
    options = [(f"--{name.replace('_', '-')}", str(getattr(args, name))) for name in numbers]
    compare(
        __file__,
        IMPLEMENTATIONS,
        args,
        measure=lambda name: measure(name, args),
        arguments=["--device", args.device, *(word for option in options for word in option)],
        about=dict(images=args.images, cells=CELLS, keys=args.keys, dim=DIM),
    )


if __name__ == "__main__":
    main()
