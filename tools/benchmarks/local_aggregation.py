#!/usr/bin/env python
"""Time and memory of CoTNet's local aggregation: against unfolding, and against the speed of a GPU's memory.

    python tools/benchmarks/local_aggregation.py
    python tools/benchmarks/local_aggregation.py --device cuda --out aggregation.json
    python tools/benchmarks/local_aggregation.py --device cuda --tune --dtypes bf16

The maps are those of the four stages of CoTNet-50 at 224 px (`--more`: CoTNeXt-50, and a batch of
detection). On a CPU, forward and backward together, unfolding and `--ours` each in a process of its own,
the seconds being those of the process. On a GPU, results are compared with the formula first; times are of
kernels alone (CUDA graphs), over inputs that do not fit into the cache; `GB/s` are of the bytes that have
to be moved at least: inputs once and results once, in the backward pass for both gradients together;
`copy` is their share of the speed of the fastest of several copies, by the driver and by a kernel.
`channels_last` are maps and weights with channels innermost; in `mixed` the weights are not, which is how
torch's GroupNorm leaves them.
"""

from __future__ import annotations

import argparse
import time

import torch
from paired import compare, peak_bytes, start_of_peak
from torch import Tensor
from torch.nn import functional as F

from mmssl.ops.local_aggregation import local_aggregation

STAGES = {
    "56x56": (64, 56, 56),
    "28x28": (128, 28, 28),
    "14x14": (256, 14, 14),
    "7x7": (512, 7, 7),
}
MORE = {
    "x 56x56": (96, 56, 56),
    "x 28x28": (192, 28, 28),
    "x 14x14": (384, 14, 14),
    "x 7x7": (768, 7, 7),
    "200x336": (64, 200, 336),
}
SHARES = 8
IMPLEMENTATIONS = ("unfold", "ours")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--more", action="store_true", help="also CoTNeXt and detection (GPU)")
    parser.add_argument("--images", type=int, help="of a batch; 32 on a CPU, 128 on a GPU")
    parser.add_argument(
        "--ours", choices=("auto", "cpp", "shifted"), default="auto", help="what to compare (CPU)"
    )
    parser.add_argument("--kernel", type=int, default=3, help="taps along a side")
    parser.add_argument("--dtypes", nargs="+", default=["fp32", "bf16", "fp16"], help="(GPU)")
    parser.add_argument(
        "--layouts", nargs="+", default=["nchw", "channels_last", "mixed"], help="(GPU)"
    )
    parser.add_argument("--tune", action="store_true", help="try tiles of other sizes (GPU)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each implementation (CPU)")
    parser.add_argument("--out", metavar="FILE.json", help="write the figures")
    parser.add_argument("--run", choices=IMPLEMENTATIONS, help=argparse.SUPPRESS)
    parser.add_argument("--compile", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def unfold(x: Tensor, weight: Tensor) -> Tensor:
    """The operator with all windows in memory.

    Args:
        x: (N, C, H, W).
        weight: (N, 1, Cw, k * k, H, W).

    Returns:
        (N, C, H, W).
    """
    images, channels, height, width = x.shape
    shared, taps = weight.shape[2:4]
    side = int(taps**0.5)
    windows = F.unfold(x, side, padding=side // 2)
    windows = windows.view(images, channels // shared, shared, taps, height * width)
    products = windows * weight.reshape(images, 1, shared, taps, height * width)
    return products.sum(3).view(x.shape)


def measure_cpu(
    implementation: str, stage: str, images: int, kernel: int, ours: str
) -> dict[str, float]:
    """Seconds and additional bytes of forward and backward, after one that warms up."""
    channels, height, width = STAGES[stage]
    torch.manual_seed(0)
    x = torch.randn(images, channels, height, width, requires_grad=True)
    weight = torch.randn(images, 1, channels // SHARES, kernel**2, height, width)
    weight.requires_grad_()
    grad = torch.randn_like(x)

    def step(count: int) -> float:
        start = time.process_time()
        given = x[:count], weight[:count]
        if implementation == "unfold":
            y = unfold(*given)
        else:
            y = local_aggregation(*given, kernel, padding=kernel // 2, implementation=ours)
        torch.autograd.grad(y, given, grad[:count])
        return time.process_time() - start

    step(1)
    before = start_of_peak(torch.device("cpu"))
    seconds = step(images)
    memory = peak_bytes(torch.device("cpu")) - before
    return dict(seconds=min(seconds, step(images), step(images)), bytes=memory)


def on_cpu(args: argparse.Namespace) -> None:
    """A table for each stage."""
    images = args.images or 32
    for stage in args.stages:
        options = argparse.Namespace(**vars(args))
        if args.out:
            options.out = args.out.replace(".json", f"_{stage}.json")
        compare(
            __file__,
            IMPLEMENTATIONS,
            options,
            measure=lambda name, stage=stage: measure_cpu(
                name, stage, images, args.kernel, args.ours
            ),
            arguments=[
                *("--images", str(images), "--kernel", str(args.kernel)),
                *("--stages", stage, "--ours", args.ours),
            ],
            about=dict(
                map=stage,
                channels=STAGES[stage][0],
                images=images,
                kernel=args.kernel,
                ours=args.ours,
            ),
        )


def main() -> None:
    args = parse_args()
    if torch.device(args.device).type == "cpu":
        on_cpu(args)
        return
    from aggregation_on_gpu import compile_only, on_gpu  # needs triton

    args.images = args.images or 128
    args.shapes = {name: STAGES[name] for name in args.stages} | (MORE if args.more else {})
    if args.compile:
        compile_only(args)
    else:
        on_gpu(args, __file__)


if __name__ == "__main__":
    main()
