"""The part of `local_aggregation.py` that runs on a GPU."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import local_aggregation as benchmark
import torch
import triton
from naive_aggregation import naive_backward, naive_forward
from torch import Tensor

from mmssl.ops.local_aggregation import channel_kernels, kernels
from mmssl.ops.local_aggregation import triton as ours
from mmssl.ops.local_aggregation.operator import aggregate, aggregate_backward
from mmssl.ops.local_aggregation.reference import reference
from mmssl.ops.local_aggregation.window import Window

DTYPES = dict(fp32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)
# relative to the largest value, against the formula on the rounded inputs
TOLERANCES = dict(fp32=2e-5, bf16=1e-2, fp16=2e-3)


class Case(NamedTuple):
    """What is measured together."""

    name: str
    shape: tuple[int, int, int]
    dtype: str
    layout: str
    kernel: int

    @property
    def groups(self) -> int:
        """CoTNeXt has two blocks of channels."""
        return 2 if self.name.startswith("x ") else 1

    @property
    def window(self) -> Window:
        """A window that keeps the size."""
        side = (self.kernel, self.kernel)
        return Window(side, padding=(self.kernel // 2, self.kernel // 2))


class Tensors(NamedTuple):
    """Inputs and results of one call."""

    x: Tensor
    weight: Tensor
    grad: Tensor
    y: Tensor
    grad_x: Tensor
    grad_weight: Tensor

    def moved(self, fields: str) -> int:
        """Bytes of some of them, each read or written once."""
        return sum(getattr(self, field).nbytes for field in fields.split())


PASSES = (
    ("forward", ours.FORWARD, "x weight y"),
    ("grad_x", ours.GRAD_X, "grad_x weight grad"),
    ("grad_weight", ours.GRAD_WEIGHT, "x grad_weight grad"),
)
"""Name of a kernel, its job, and the tensors that it takes and has to move at least."""


def cases(args: argparse.Namespace) -> Iterator[Case]:
    """All that is asked for."""
    for dtype, layout, (name, shape) in product(args.dtypes, args.layouts, args.shapes.items()):
        yield Case(name, shape, dtype, layout, args.kernel)


def drawn(case: Case, images: int) -> Tensors:
    """Random inputs, in the layouts that CoTNet's layers give."""
    channels, height, width = case.shape
    if case.name == "200x336":
        images = min(images, 2)
    memory = torch.contiguous_format if case.layout == "nchw" else torch.channels_last
    shared = channels // benchmark.SHARES
    options = dict(device="cuda", dtype=DTYPES[case.dtype])
    maps = [
        torch.randn(images, channels, height, width, **options).to(memory_format=memory)
        for _ in range(2)
    ]
    weight = torch.randn(images, shared * case.kernel**2, height, width, **options)
    if case.layout == "channels_last":
        weight = weight.to(memory_format=memory)
    weight = weight.unflatten(1, (1, shared, -1))
    results = (torch.empty_like(each) for each in (maps[0], maps[0], weight))
    return Tensors(maps[0], weight, maps[1], *results)


def run(case: Case, each: Tensors, name: str, tile: ours.Tile | None = None) -> None:
    """One of the three passes."""
    job, fields = next(rest for known, *rest in PASSES if known == name)
    tensors = (getattr(each, field) for field in fields.split())
    ours.launch(job, *tensors, case.window, case.groups, tile)


def run_all(case: Case, each: Tensors) -> None:
    """All three passes."""
    for name, *_ in PASSES:
        run(case, each, name)


def check(case: Case, given: Tensors) -> float:
    """Largest error of some images against the formula, relative to the largest value."""
    run_all(case, given)
    some = [0, given.x.shape[0] - 1]
    x, weight = (each[some].float().requires_grad_() for each in (given.x, given.weight))
    y = reference(x, weight, case.window, case.groups)
    slopes = torch.autograd.grad(y, (x, weight), given.grad[some].float())
    found = (given.y, given.grad_x, given.grad_weight)
    error = max(
        float((ours_[some].float() - exact).abs().max() / exact.abs().max())
        for ours_, exact in zip(found, (y.detach(), *slopes), strict=True)
    )
    if not error < TOLERANCES[case.dtype]:
        raise SystemExit(f"{case}: differs from the formula by {error:.2g} of the largest value")
    return error


def more_than_cache(given: Tensors) -> int:
    """How many such sets of tensors have three times the size of the cache; at most 16."""
    cache = torch.cuda.get_device_properties(0).L2_cache_size
    return min(max(-(-3 * cache // given.moved("x weight y")), 1), 16)


def fastest(run: Callable[[], None], count: int, least: float) -> float:
    """Time of one of the `count` calls that `run` starts, the best of runs that take `least` seconds."""
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    best, spent = float("inf"), 0.0
    run()
    while spent < least:
        start.record()
        run()
        stop.record()
        stop.synchronize()
        elapsed = start.elapsed_time(stop) / 1e3
        best, spent = min(best, elapsed / count), spent + elapsed
    return best


def seconds(calls: list[Callable[[], object]], least: float = 0.01) -> float:
    """Time of one call, calls taking turns so that none finds its data in the cache."""
    for call in calls:
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    return fastest(graph.replay, len(calls), least)


def copy_speeds() -> dict[str, float]:
    """Bytes per second that copies read and write, by what copies and how many megabytes.

    The driver's copy is not the fastest on every device, least of all in a graph; a kernel of torch that
    reads and writes each value counts too.
    """
    found = {}
    for megabytes in (256, 1024):
        source = torch.rand(megabytes * 2**18, device="cuda")
        target = torch.empty_like(source)

        def driver(source: Tensor = source, target: Tensor = target) -> None:
            for _ in range(4):
                target.copy_(source)

        def kernel(source: Tensor = source, target: Tensor = target) -> None:
            for _ in range(4):
                torch.neg(source, out=target)

        for name, run in (("driver", driver), ("kernel", kernel)):
            times = dict(graph=seconds([run], 0.04) / 4, calls=fastest(run, 4, 0.04))
            for how, took in times.items():
                found[f"{name} {megabytes} MB {how}"] = 2 * source.nbytes / took
    return found


def memory_beyond_results(case: Case, given: Tensors) -> int:
    """Bytes that the operator asks for in addition to what it returns, in both passes."""
    options = (*(list(each) for each in case.window), case.groups, "triton")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_stats()["requested_bytes.all.current"]
    y = aggregate(given.x, given.weight, *options)
    slopes = aggregate_backward(given.grad, given.x, given.weight, *options, True, True)
    # what was asked for: the allocator hands out larger pieces
    peak = torch.cuda.memory_stats()["requested_bytes.all.peak"]
    return peak - before - sum(each.nbytes for each in (y, *slopes))


def others(case: Case, given: Tensors) -> dict[str, float]:
    """Times of unfolding and of the naive kernels, in the layout that they know."""
    found = {}
    if case.layout != "nchw" or case.groups > 1:
        return found
    found["naive_forward"] = seconds([lambda: naive_forward(given.x, given.weight, given.y)])
    found["naive_backward"] = seconds(
        [lambda: naive_backward(given.grad, given.x, given.weight, given.grad_x, given.grad_weight)]
    )
    x, weight = given.x.detach().requires_grad_(), given.weight.detach().requires_grad_()
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(3)]
    for _ in range(2):
        marks[0].record()
        y = benchmark.unfold(x, weight)
        marks[1].record()
        torch.autograd.grad(y, (x, weight), given.grad)
        marks[2].record()
        torch.cuda.synchronize()
        del y
    found["unfold_forward"] = marks[0].elapsed_time(marks[1]) / 1e3
    found["unfold_backward"] = marks[1].elapsed_time(marks[2]) / 1e3
    return found


def measure(case: Case, images: int, speed: float) -> dict[str, Any]:
    """All figures of a case."""
    given = drawn(case, images)
    found: dict[str, Any] = dict(case._asdict(), images=given.x.shape[0], error=check(case, given))
    found["beyond_results"] = memory_beyond_results(case, given)
    turns = [given, *(drawn(case, images) for _ in range(more_than_cache(given) - 1))]
    for name, _, fields in PASSES:
        calls = [lambda each=each, name=name: run(case, each, name) for each in turns]
        found[name], moved = seconds(calls), given.moved(fields)
        found[f"{name}_gbps"] = moved / found[name] / 1e9
        found[f"{name}_share"] = moved / found[name] / speed
    found["backward"] = found["grad_x"] + found["grad_weight"]
    return found | others(case, given)


def tiles(case: Case) -> list[ours.Tile]:
    """Sizes of tiles to try."""
    shared = triton.next_power_of_2(case.shape[0] // benchmark.SHARES // case.groups)
    if case.layout != "nchw":
        # one lane: neighbouring threads have neighbouring positions
        return [
            ours.Tile(1, min(c, shared), places * warps, warps, lanes=lanes, registers=registers)
            for c, places, lanes in (
                (8, 16, 1), (8, 8, 2), (8, 8, 4), (8, 4, 8), (8, 16, 4), (16, 4, 4), (16, 8, 2),
                (32, 4, 2), (32, 4, 1), (64, 4, 1),
            )
            for warps, registers in ((1, None), (4, None), (4, 128))
        ]  # fmt: skip
    return [
        ours.Tile(rows, min(c, shared), positions, columns=columns, registers=registers, shares=shares)
        for columns, rows in ((1, 2), (1, 4), (2, 1), (2, 2), (2, 4))
        for c, positions, registers, shares in (
            (1, 128, None, 8), (1, 128, 128, 8), (1, 128, 168, 8), (1, 128, None, 4), (8, 16, 128, 8),
        )
    ]  # fmt: skip


def tune(case: Case, images: int) -> Iterator[tuple[str, float, ours.Tile, float, ours.Tile]]:
    """For each pass its time with the tile in use, and with the best."""
    given = drawn(case, images)
    turns = [given, *(drawn(case, images) for _ in range(more_than_cache(given) - 1))]
    for name, *_ in PASSES:
        times = {}
        for tile in (None, *dict.fromkeys(tiles(case))):
            calls = [
                lambda each=each, name=name, tile=tile: run(case, each, name, tile)
                for each in turns
            ]
            times[tile] = seconds(calls, 0.003)
        usual = times.pop(None)
        best = min(times, key=lambda tile: times[tile])
        yield name, usual, times[best], best


def compile_only(args: argparse.Namespace) -> None:
    """Compile what the cases need, for the cache on disk."""
    for case in cases(args):
        given = drawn(case, 1)
        run_all(case, given)
        if args.tune:
            for _ in tune(case, 1):
                pass


def compile_in_processes(args: argparse.Namespace, script: str) -> None:
    """Compile for every dtype and layout at the same time, and for every stage where they have own tiles."""
    command = [
        sys.executable,
        script,
        "--device",
        "cuda",
        "--compile",
        "--kernel",
        str(args.kernel),
    ]
    command += ["--more"] * args.more + ["--tune"] * args.tune
    running = []
    for dtype, layout in product(args.dtypes, args.layouts):
        split = layout == "nchw" and not args.tune
        for stages in [[stage] for stage in args.stages] if split else [args.stages]:
            options = ["--dtypes", dtype, "--layouts", layout, "--stages", *stages]
            running.append(subprocess.Popen([*command, *options]))
    for process in running:
        process.wait()


def compiled() -> int:
    """Kernels of ours that this process has compiled or loaded."""
    names = ("forward_kernel", "grad_x_kernel", "grad_weight_kernel")
    found = [getattr(module, name) for module in (kernels, channel_kernels) for name in names]
    device = torch.cuda.current_device()
    return sum(len(kernel.device_caches[device][0]) for kernel in found)


def kernels_for_sizes(layout: str) -> int:
    """How many kernels 20 sizes of images need that the first two, of an even and an odd width, did not."""
    first = 0
    for step in range(20):
        case = Case("sizes", (64, 100 + 7 * step, 168 - 3 * step), "bf16", layout, 3)
        given = drawn(case, 1)
        run_all(case, given)
        first = compiled() if step < 2 else first
    return compiled() - first


def on_gpu(args: argparse.Namespace, script: str) -> None:
    """Measure and print a table."""
    compile_in_processes(args, script)
    copies = copy_speeds()
    speed = max(copies.values())
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, triton {triton.__version__}")
    print(f"a copy moves {speed / 1e9:.0f} GB/s, the best of", end=" ")
    print(", ".join(f"{name} {each / 1e9:.0f}" for name, each in copies.items()))
    if args.tune:
        for case in cases(args):
            for name, usual, best, tile in tune(case, args.images):
                print(
                    f"{case.name:8s} {case.dtype} {case.layout:13s} {name:11s} {usual * 1e6:8.1f} us, "
                    f"best {best * 1e6:8.1f} us with {tile}",
                    flush=True,
                )
        return
    head = "".join(f" {name:>11s} {'GB/s':>5s} {'copy':>5s}" for name, *_ in PASSES)
    print(
        f"{'map':8s} {'dtype':5s} {'layout':13s}{head} {'extra':>6s}  "
        "naive, unfold slower (forward, backward)"
    )
    table = []
    for case in cases(args):
        row = measure(case, args.images, speed)
        table.append(row)
        line = f"{case.name:8s} {case.dtype:5s} {case.layout:13s}"
        for name, *_ in PASSES:
            line += (
                f" {row[name] * 1e6:8.1f} us {row[f'{name}_gbps']:5.0f} {row[f'{name}_share']:5.0%}"
            )
        line += f" {row['beyond_results']:6d}"
        for name in ("naive", "unfold"):
            if f"{name}_forward" in row:
                ratios = (row[f"{name}_{part}"] / row[part] for part in ("forward", "backward"))
                line += f"  {name} " + ", ".join(f"{ratio:.1f}x" for ratio in ratios)
        print(line, flush=True)
    new = {layout: kernels_for_sizes(layout) for layout in args.layouts}
    print(f"kernels compiled for 18 more sizes of maps: {new}")
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            json.dump(
                dict(
                    device=torch.cuda.get_device_name(), copy_bytes_per_second=speed, copies=copies,
                    compiled_for_sizes=new, table=table,
                ),
                file, indent=1,
            )  # fmt: skip
