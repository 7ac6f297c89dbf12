#!/usr/bin/env python
"""Time of a ResNet's forward and backward pass on small images on a CPU: small maps by product, or not.

    python tools/benchmarks/small_map_conv.py                   # ResNet-18, 32 images of 64 px, float32
    python tools/benchmarks/small_map_conv.py --amp --depth 50

`mmssl.ops.small_map_conv` against torch's convolutions alone. Each runs in a process of its own; seconds are
those that the process had, with one thread. The smaller of several times counts; implementations take turns.
"""

from __future__ import annotations

import argparse
import time

import torch
from paired import compare, peak_bytes, start_of_peak

from mmssl.models.backbones import ResNet
from mmssl.ops.small_map_conv import use_small_map_conv

IMPLEMENTATIONS = ("convolution", "product")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=18, help="of the ResNet")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--size", type=int, default=64, help="side of an image in px")
    parser.add_argument("--amp", action="store_true", help="bfloat16")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each implementation")
    parser.add_argument("--out", metavar="FILE.json", help="write the figures")
    parser.add_argument("--run", choices=IMPLEMENTATIONS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.device = "cpu"
    return args


def measure(implementation: str, args: argparse.Namespace) -> dict[str, float]:
    """Seconds and additional bytes of one forward and backward pass, after one that warms up."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    network = ResNet(depth=args.depth, out_indices=(3,)).to(memory_format=torch.channels_last)
    if implementation == "product":
        use_small_map_conv(network)
    images = torch.randn(args.images, 3, args.size, args.size)
    images = images.contiguous(memory_format=torch.channels_last)

    def step() -> float:
        network.zero_grad()
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=args.amp):
            out = network(images)[-1]
        out.float().square().mean().backward()
        return time.process_time() - start

    step()
    before = start_of_peak(torch.device("cpu"))
    seconds = min(step() for _ in range(3))
    return dict(seconds=seconds, bytes=peak_bytes(torch.device("cpu")) - before)


def main() -> None:
    args = parse_args()
    size = dict(depth=args.depth, images=args.images, size=args.size, amp=args.amp)
    arguments = [f"--{name}={value}" for name, value in size.items() if name != "amp"]
    compare(
        __file__,
        IMPLEMENTATIONS,
        args,
        measure=lambda name: measure(name, args),
        arguments=arguments + ["--amp"] * args.amp,
        about=size,
    )


if __name__ == "__main__":
    main()
