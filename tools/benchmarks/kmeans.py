#!/usr/bin/env python
"""K-means against faiss-cpu on the same features with the same seeds; and the memory that an image takes.

    python tools/benchmarks/kmeans.py --threads 2                # 200k x 128; 3000, 2000, 1000 clusters
    python tools/benchmarks/kmeans.py --memory --iterations 1    # bytes per image, for 1.3M and 100M images

Features are unit rows around random centres. Each implementation runs in a process of its own and clusters
the features, then the unit centroids of each level, as HCSC does; they take turns, and the smaller of several
times counts. Memory is what the process needed more than its features (peak of anonymous pages; pages of a
mapped file are the operating system's to take back).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
from paired import AnonymousPeak
from torch.nn import functional as F

from mmssl.ops.cluster_levels import cluster_tree
from mmssl.ops.faiss_kmeans import FaissKMeans
from mmssl.ops.feature_store import FeatureStore
from mmssl.ops.kmeans import KMeans

IMPLEMENTATIONS = ("ours", "faiss")
STATED = {"1.3M": 1_281_167, "100M": 100_000_000}
BLOCK = 2048


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--clusters", type=int, nargs="+", default=[3000, 2000, 1000])
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--restarts", type=int, default=1)
    parser.add_argument("--spread", type=float, default=1.0, help="of a row about its centre")
    parser.add_argument("--threads", type=int, default=1, help="of torch and of faiss")
    parser.add_argument("--device", default="cpu", help="of ours; faiss-cpu stays where it is")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each implementation")
    parser.add_argument("--memory", action="store_true", help="measure bytes per image instead")
    parser.add_argument(
        "--folder", help="of the mapped files of --memory; default: a temporary one"
    )
    parser.add_argument("--out", metavar="FILE.json", help="write the figures")
    parser.add_argument(
        "--run", choices=(*IMPLEMENTATIONS, "memory", "file"), help=argparse.SUPPRESS
    )
    return parser.parse_args()


def fill(rows: torch.Tensor, spread: float) -> None:
    """Unit rows around as many centres as there are images per 67, written block by block."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(max(1, len(rows) // 67), rows.shape[1], generator=generator)
    for block in rows.split(BLOCK):
        chosen = torch.randint(len(centres), (len(block),), generator=generator)
        noise = torch.randn(block.shape, generator=generator)
        block.copy_(F.normalize(centres[chosen] + spread * noise))


def clusterer_of(name: str, args: argparse.Namespace) -> KMeans | FaissKMeans:
    sizes = dict(iterations=args.iterations, restarts=args.restarts)
    if name == "faiss":
        import faiss

        faiss.omp_set_num_threads(args.threads)
        return FaissKMeans(**sizes)
    return KMeans(**sizes, device=args.device)


def measure(name: str, args: argparse.Namespace) -> dict:
    """Seconds and sum of squared distances of each level, and bytes beyond the features."""
    clusterer = clusterer_of(name, args)
    rows = torch.empty(args.images, args.dim)
    fill(rows, args.spread)
    clusterer.fit(rows[:1000], 10, seed=0)  # libraries and kernels load
    seconds, inertia, iterations = [], [], []
    busy = time.process_time()
    with AnonymousPeak() as memory:
        for level, count in enumerate(args.clusters):
            start = time.perf_counter()
            found = clusterer.fit(rows, count, seed=level)
            rows = F.normalize(found.centroids).cpu()
            seconds.append(time.perf_counter() - start)
            inertia.append(float(found.distances.double().sum()))
            iterations.append(len(found.history))
    return dict(
        seconds=seconds,
        cpu_seconds=time.process_time() - busy,
        inertia=inertia,
        iterations=iterations,
        bytes=memory.bytes,
    )


def measure_memory(where: str, args: argparse.Namespace) -> dict:
    """Bytes of a whole clustering with its features, in memory or in a mapped file."""
    with AnonymousPeak() as memory:
        folder = args.folder if where == "file" else None
        with FeatureStore(args.images, args.dim, folder=folder) as store:
            fill(store.rows, args.spread)
            # small chunks: what a chunk takes would hide what an image takes
            clusterer = dataclasses.replace(clusterer_of("ours", args), chunk=2048)
            cluster_tree(store.rows, args.clusters, clusterer=clusterer, temperature=0.2)
    disk = args.images * args.dim * 4 if where == "file" else 0
    return dict(memory=memory.bytes, disk=disk)


def run(name: str, args: argparse.Namespace, **changes: object) -> dict:
    """`measure` or `measure_memory` in a process of its own."""
    command = [sys.executable, __file__, "--run", name]
    options = {**vars(args), **changes}
    for key, value in options.items():
        if key in ("run", "memory", "out", "repeats") or value is None:
            continue
        command += [f"--{key}", *map(str, value if isinstance(value, list) else [value])]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


def compare(args: argparse.Namespace) -> dict:
    runs: dict[str, list[dict]] = {name: [] for name in IMPLEMENTATIONS}
    for _ in range(args.repeats):
        for name in IMPLEMENTATIONS:
            runs[name].append(run(name, args))
    best = {name: min(each, key=lambda one: sum(one["seconds"])) for name, each in runs.items()}
    print(f"{args.images} x {args.dim}, {args.threads} thread(s), ours on {args.device}")
    for level, count in enumerate(args.clusters):
        for name, figures in best.items():
            print(
                f"k={count:<6d} {name:6s} {figures['seconds'][level]:9.2f} s  inertia "
                f"{figures['inertia'][level]:.8g}  {figures['iterations'][level]} iterations"
            )
    for name, figures in best.items():
        print(
            f"all      {name:6s} {sum(figures['seconds']):9.2f} s  ({figures['cpu_seconds']:.2f} s of "
            f"processors), beyond the features {figures['bytes'] / 1e6:.0f} MB"
        )
    ours, theirs = (best[name] for name in IMPLEMENTATIONS)
    ratios = dict(
        seconds=sum(ours["seconds"]) / sum(theirs["seconds"]),
        cpu_seconds=ours["cpu_seconds"] / theirs["cpu_seconds"],
        seconds_of_levels=[a / b for a, b in zip(ours["seconds"], theirs["seconds"], strict=True)],
        inertia=[a / b for a, b in zip(ours["inertia"], theirs["inertia"], strict=True)],
    )
    print(
        f"ours / faiss: time {ratios['seconds']:.3f}, of processors {ratios['cpu_seconds']:.3f}, inertia "
        + " ".join(f"{ratio:.7f}" for ratio in ratios["inertia"])
    )
    return dict(table=best, ratios=ratios)


def memory_law(args: argparse.Namespace) -> dict:
    """Bytes = constant + per image, fitted to one, two and four times `--images`."""
    sizes = [args.images, args.images * 2, args.images * 4]
    found: dict[str, dict] = {}
    for where in ("memory", "file"):
        points = [run(where, args, images=size) for size in sizes]
        for kind in ("memory", "disk"):
            measured = [point[kind] for point in points]
            slope, constant = np.polyfit(sizes, measured, 1)
            found[f"features in {where}: {kind}"] = dict(
                sizes=sizes, bytes=measured, per_image=slope, constant=constant
            )
    for name, law in found.items():
        stated = ", ".join(
            f"{count}: {(law['constant'] + law['per_image'] * images) / 1e9:.2f} GB"
            for count, images in STATED.items()
        )
        print(f"{name:28s} {law['per_image']:7.1f} bytes per image; {stated}")
    return found


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    if args.run:
        inner = measure if args.run in IMPLEMENTATIONS else measure_memory
        print(json.dumps(inner(args.run, args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        if args.memory:
            args.folder = args.folder or folder
        figures = memory_law(args) if args.memory else compare(args)
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            json.dump(dict(arguments=vars(args), figures=figures), file, indent=1)


if __name__ == "__main__":
    main()
