#!/usr/bin/env python
"""Time and memory of local relation at the stages of LR-Net-50, against unfolded windows.

    python tools/benchmarks/local_relation.py                            # shifted maps, forward and backward
    python tools/benchmarks/local_relation.py --stage 3 --out stage3.json
    python tools/benchmarks/local_relation.py --device cuda              # kernels, by type and layout

On a CPU each run has a process of its own, whose processor time (not that of others beside it) and additional
peak memory count. On a GPU kernels are checked
against the formula first; GB/s are those of the bytes that have to be moved at least (inputs and results
once; in the backward pass also the result and the log-sum-exp), beside those of a copy on the same device.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from paired import compare, peak_bytes, start_of_peak
from torch import Tensor
from torch.nn import functional as F

from mmssl.ops.local_relation import local_relation

STAGES = {1: (10, 10, 56), 2: (25, 8, 28), 3: (50, 8, 14), 4: (100, 8, 7)}
"""Groups, channels that share weights, and side of the map of each stage's layers at 224 px."""
KERNEL = 7
IMPLEMENTATIONS = ("unfold", "shifted")
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# of float32 sums against the formula on the same, rounded inputs, relative to the largest value
TOLERANCE = {"fp32": 1e-4, "bf16": 2e-2, "fp16": 4e-3}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stage", type=int, choices=STAGES, help="default: all four")
    parser.add_argument("--images", type=int, help="default: 8 on a CPU, 64 on a GPU")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--types", nargs="+", choices=TYPES, default=list(TYPES), help="on a GPU")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each implementation")
    parser.add_argument("--out", metavar="FILE.json", help="write the figures of one stage (CPU)")
    parser.add_argument("--run", choices=IMPLEMENTATIONS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.out and not args.stage:
        parser.error("--out holds one stage: add --stage")
    args.images = args.images or (8 if args.device == "cpu" else 64)
    return args


def inputs(
    stage: int, images: int, device: str, dtype: torch.dtype, *, last: bool = False
) -> list[Tensor]:
    """Queries, keys, values (channels last or not) and prior, and a gradient of the result."""
    groups, share, side = STAGES[stage]
    generator = torch.Generator().manual_seed(0)
    channels = (groups, groups, groups * share, groups * share)
    layout = torch.channels_last if last else torch.contiguous_format
    maps = [
        torch.randn(images, each, side, side, generator=generator)
        .to(device, dtype)
        .to(memory_format=layout)
        for each in channels
    ]
    prior = torch.randn(groups, KERNEL, KERNEL, generator=generator).to(device, dtype)
    return [each.requires_grad_() for each in (*maps[:3], prior)] + maps[3:]


def unfolded(query: Tensor, key: Tensor, value: Tensor, prior: Tensor, groups: int) -> Tensor:
    """The operator as one writes it with `unfold`: all windows in memory."""
    num, channels, height, width = value.shape

    def windows(feats: Tensor, *split: int) -> Tensor:
        columns = F.unfold(feats, KERNEL, padding=KERNEL // 2)
        return columns.view(len(feats), *split, KERNEL**2, height, width)

    inside = windows(torch.ones_like(key[:1, :1]), 1) > 0
    alike = -(query[:, :, None] - windows(key, groups)).square()
    logits = torch.where(inside, alike, -100) + prior.flatten(1)[..., None, None]
    mixed = logits.softmax(2)[:, :, None] * windows(value, groups, channels // groups)
    return mixed.sum(3).view(num, channels, height, width)


def relate(implementation: str, leaves: list[Tensor], groups: int) -> Tensor:
    """The result by an implementation of the operator or by `unfold`."""
    if implementation == "unfold":
        return unfolded(*leaves, groups)
    return local_relation(*leaves, KERNEL, groups, implementation=implementation)


def measure(implementation: str, args: argparse.Namespace) -> dict[str, float]:
    """Seconds of the processor and additional bytes of one forward and backward pass, and sums to compare."""
    device = torch.device(args.device)
    *leaves, grad = inputs(args.stage, args.images, args.device, torch.float32)
    groups = STAGES[args.stage][0]

    def step(images: int) -> tuple[float, float]:
        start = time.process_time()
        part = [each[:images] for each in leaves[:3]]
        out = relate(implementation, [*part, leaves[3]], groups)
        out.backward(grad[:images])
        return time.process_time() - start, float(out.detach().double().square().sum())

    step(1)  # libraries load
    for each in leaves:
        each.grad = None
    before = start_of_peak(device)
    seconds, total = step(args.images)
    memory = peak_bytes(device) - before
    norm = sum(float(each.grad.double().norm()) for each in leaves)
    seconds = min(seconds, *(step(args.images)[0] for _ in range(2)))
    return dict(seconds=seconds, bytes=memory, output=total, gradient=norm)


def milliseconds(run: Callable[[], object], repeats: int = 10) -> float:
    """Median time of a call on the GPU; memory that the caches hold is overwritten between calls."""
    flush = torch.empty(2**26, device="cuda")
    times = []
    for number in range(repeats + 2):
        flush.fill_(number)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times[2:])[repeats // 2]


def check(stage: int, name: str) -> None:
    """Stop unless the kernels agree with the formula on a few images."""
    *leaves, grad = inputs(stage, 2, "cuda", TYPES[name])
    groups = STAGES[stage][0]
    exact = [each.detach().float().requires_grad_() for each in leaves]
    found, expected = relate("triton", leaves, groups), relate("reference", exact, groups)
    ours = [found.detach(), *torch.autograd.grad(found, leaves, grad)]
    formula = [expected.detach(), *torch.autograd.grad(expected, exact, grad.float())]
    for one, other in zip(ours, formula, strict=True):
        gap = float((one.float() - other).abs().max() / other.abs().max())
        if not gap <= TOLERANCE[name]:
            raise SystemExit(
                f"stage {stage}, {name}: the kernels differ from the formula by {gap:.2g}."
            )


def copy_rate() -> float:
    """GB/s of a copy, read and written."""
    source = torch.empty(2**28, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.nbytes / milliseconds(lambda: target.copy_(source)) / 1e6


def kernel_row(stage: int, name: str, last: bool, images: int, copied: float) -> str:
    """A row of the table: times, rates, and memory beyond the gradients."""
    *leaves, grad = inputs(stage, images, "cuda", TYPES[name], last=last)
    groups = STAGES[stage][0]
    out = relate("triton", leaves, groups)

    def back() -> None:
        torch.autograd.grad(out, leaves, grad, retain_graph=True)

    times = milliseconds(lambda: relate("triton", leaves, groups)), milliseconds(back)
    before = start_of_peak(torch.device("cuda"))
    back()
    given = sum(each.nbytes for each in leaves)
    extra = peak_bytes(torch.device("cuda")) - before - given
    forward = given + out.nbytes + 4 * out[:, :groups].numel()  # log-sum-exp in float32
    moved = forward, forward + given + grad.nbytes
    rates = [count / spent / 1e6 for count, spent in zip(moved, times, strict=True)]
    cells = [
        f"{spent:10.3f} {rate:6.0f} {rate / copied:8.0%}"
        for spent, rate in zip(times, rates, strict=True)
    ]
    layout = "nhwc" if last else "nchw"
    return f"{stage:5d} {name:4s} {layout:6s} {cells[0]} | {cells[1]} | {extra / 1e6:.1f}"


def gpu_table(args: argparse.Namespace) -> None:
    """Print a row for each stage, type and layout."""
    copied = copy_rate()
    print(
        f"{torch.cuda.get_device_name()}: {copied:.0f} GB/s copied; {args.images} images, {KERNEL}x{KERNEL}"
    )
    print(
        "stage type layout forward ms   GB/s  of copy | backward ms  GB/s  of copy | MB beyond gradients"
    )
    for stage in [args.stage] if args.stage else STAGES:
        for name in args.types:
            check(stage, name)
            for last in (False, True):
                print(kernel_row(stage, name, last, args.images, copied), flush=True)
        print(compare_unfolded(stage, min(args.images, 16)), flush=True)


def compare_unfolded(stage: int, images: int) -> str:
    """How much faster and leaner the kernels are than `unfold`, forward and backward, in float32."""
    *leaves, grad = inputs(stage, images, "cuda", torch.float32)
    found = []
    for implementation in ("unfold", "triton"):

        def step(implementation: str = implementation) -> None:
            out = relate(implementation, leaves, STAGES[stage][0])
            torch.autograd.grad(out, leaves, grad)

        spent = milliseconds(step, 3)
        before = start_of_peak(torch.device("cuda"))
        step()
        found.append((spent, peak_bytes(torch.device("cuda")) - before))
    (slow, large), (fast, small) = found
    return (
        f"{stage:5d} fp32, {images} images: unfold {slow:.2f} ms {large / 1e6:.0f} MB, kernels {fast:.3f} ms "
        f"{small / 1e6:.0f} MB: {slow / fast:.1f} times faster, {large / small:.1f} times leaner"
    )


def main() -> None:
    args = parse_args()
    if args.device != "cpu":
        gpu_table(args)
        return
    for stage in [args.stage] if args.stage else STAGES:
        args.stage = stage
        groups, share, side = STAGES[stage]
        compare(
            __file__,
            IMPLEMENTATIONS,
            args,
            measure=lambda name: measure(name, args),
            arguments=["--stage", str(stage), "--images", str(args.images)],
            about=dict(stage=stage, images=args.images, channels=groups * share, side=side),
        )


if __name__ == "__main__":
    main()
