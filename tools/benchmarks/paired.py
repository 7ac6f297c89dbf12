"""What benchmarks share that compare two implementations: a process for each run, taking turns; a table."""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch


def peak_bytes(device: torch.device) -> int:
    """Most memory that this process had so far: resident on a CPU, allocated by torch on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def start_of_peak(device: torch.device) -> int:
    """The memory from which an increase of `peak_bytes` counts."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    return peak_bytes(device)


class AnonymousPeak:
    """Most anonymous memory of this process while inside, above that at the beginning, in bytes."""

    def __enter__(self) -> AnonymousPeak:
        self.before = self.peak = self.now()
        self.done = threading.Event()
        self.watch = threading.Thread(target=self.sample, daemon=True)
        self.watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.watch.join()

    @staticmethod
    def now() -> int:
        with open("/proc/self/status", encoding="ascii") as status:
            line = next(line for line in status if line.startswith("RssAnon"))
        return int(line.split()[1]) * 1024

    def sample(self) -> None:
        while not self.done.wait(0.002):
            self.peak = max(self.peak, self.now())

    @property
    def bytes(self) -> int:
        return self.peak - self.before


def compare(
    script: str,
    implementations: Sequence[str],
    args: argparse.Namespace,
    *,
    measure: Callable[[str], Mapping[str, float]],
    arguments: Sequence[str],
    about: Mapping[str, Any],
) -> None:
    """Measure both implementations and print and write a table; or be the process of one run.

    Args:
        script: File of the benchmark, which is started again for each run with `--run NAME`.
        implementations: Reference and ours.
        args: With `run`, `repeats`, `device` and `out`.
        measure: Seconds and additional bytes of one run, in the process of that run.
        arguments: Of the command line of a run.
        about: Sizes, for the table.
    """
    if args.run:
        print(json.dumps(measure(args.run)))
        return
    found: dict[str, list[dict[str, float]]] = {name: [] for name in implementations}
    for _ in range(args.repeats):
        for name in implementations:
            command = [sys.executable, script, "--run", name, *arguments]
            run = subprocess.run(command, check=True, capture_output=True, text=True)
            found[name].append(json.loads(run.stdout.splitlines()[-1]))
    table = {
        name: dict(
            seconds=min(run["seconds"] for run in runs),
            megabytes=statistics.median(run["bytes"] for run in runs) / 1e6,
        )
        for name, runs in found.items()
    }
    print(", ".join(f"{name} {value}" for name, value in about.items()) + f", on {args.device}")
    for name, row in table.items():
        print(f"{name:10s} {row['seconds']:8.3f} s {row['megabytes']:10.0f} MB")
    reference, ours = (table[name] for name in implementations)
    # small sizes may need no memory that can be measured
    ratios = {key: ours[key] / reference[key] if reference[key] else None for key in ours}
    title = f"{implementations[1]} / {implementations[0]}"
    told = {key: "-" if ratio is None else f"{ratio:.2f}" for key, ratio in ratios.items()}
    print(f"{title}: time {told['seconds']}, memory {told['megabytes']}")
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            json.dump(
                dict(about=dict(about), device=args.device, table=table, ratios=ratios, runs=found),
                file,
                indent=1,
            )
