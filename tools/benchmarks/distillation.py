#!/usr/bin/env python
"""Time and peak memory of EsViT's region loss: the fused path against its reference.

    python tools/benchmarks/distillation.py                         # small, for a CPU
    python tools/benchmarks/distillation.py --full --device cuda    # B=32, K=65536, 2x224 + 8x96 px

Both go from what stands before the last layers of student and teacher to the gradients of the student's
rows and prototypes. Each runs in a process of its own; on a CPU memory is what the process needed more
than before (peak resident size), on a GPU what torch allocated at most. The smaller of several times
counts; implementations take turns.
"""

from __future__ import annotations

import argparse
import time

import torch
from paired import compare, peak_bytes, start_of_peak
from torch.nn import functional as F

from mmssl.losses import pair_weights, prototype_distillation

# Images, prototypes, length of a row, logits that the fused path holds. The small size is a quarter of each,
# the row's too: for its memory's speed a CPU multiplies matrices several times slower than a GPU.
FULL = dict(images=32, prototypes=65536, dim=256, max_logits=2**26)
SMALL = dict(images=8, prototypes=16384, dim=64, max_logits=2**22)
# Of 2 views of 224 px and 8 of 96 px in a Swin.
REGIONS = [49, 49] + [9] * 8
IMPLEMENTATIONS = ("reference", "fused")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="the size of the published runs")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dim", type=int, help="another length of a row")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each implementation")
    parser.add_argument("--out", metavar="FILE.json", help="write the figures")
    parser.add_argument("--run", choices=IMPLEMENTATIONS, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(implementation: str, size: dict[str, int], device: torch.device) -> dict[str, float]:
    """Seconds and additional bytes of one loss with its gradients, after one that warms up."""
    generator = torch.Generator().manual_seed(0)

    def unit(*shape: int) -> torch.Tensor:
        return F.normalize(torch.randn(*shape, generator=generator), dim=-1).to(device)

    images, count, dim = size["images"], size["prototypes"], size["dim"]
    rows = unit(images, sum(REGIONS), dim).requires_grad_()
    prototypes = unit(count, dim).requires_grad_()
    teacher, teacher_prototypes = unit(images, sum(REGIONS[:2]), dim), unit(count, dim)
    # Partners at random: which they are does not change the work.
    chosen = torch.randint(49, (images, sum(REGIONS), 2, 1), generator=generator)
    pairs = torch.zeros(images, sum(REGIONS), 2, 49).scatter_(3, chosen, 1.0)
    pairs = (pairs * pair_weights(REGIONS)[:, :, None]).flatten(2).to(device)
    center = torch.zeros(1, count, device=device)

    def step(num_images: int) -> float:
        rows.grad = prototypes.grad = None
        start = time.perf_counter()
        prototype_distillation(
            rows[:num_images], prototypes, teacher[:num_images], teacher_prototypes, center,
            pairs[:num_images], max_logits=size["max_logits"], implementation=implementation,
        ).backward()  # fmt: skip
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    step(1)  # libraries and kernels load
    before = start_of_peak(device)
    seconds = step(images)
    memory = peak_bytes(device) - before
    return dict(seconds=min(seconds, step(images)), bytes=memory)


def main() -> None:
    args = parse_args()
    size = dict(FULL if args.full else SMALL)
    size["dim"] = args.dim or size["dim"]
    compare(
        __file__,
        IMPLEMENTATIONS,
        args,
        measure=lambda name: measure(name, size, torch.device(args.device)),
        arguments=["--device", args.device, "--dim", str(size["dim"])] + ["--full"] * args.full,
        about=size,
    )


if __name__ == "__main__":
    main()
