#!/usr/bin/env python
"""Time and memory of PIC's classifier: against all logits at once, and for growing data sets.

    python tools/benchmarks/instance_classifier.py --ours full           # the same numbers, block by block
    python tools/benchmarks/instance_classifier.py --ours sampled        # recent negatives, lazy rows
    python tools/benchmarks/instance_classifier.py --law --folder /tmp   # 10k, 100k, 1M and 10M images
    python tools/benchmarks/instance_classifier.py --law --ranks 2       # rows spread over two processes

The plain form multiplies with all rows, holds all logits and lets torch's SGD move all rows. A step is that
of the classifier alone: embeddings of a batch (one large and three small crops of 256 images) to their loss,
its gradients, and the step of the rows. Each implementation runs in a process of its own; they take turns,
and the smaller of several times counts. Memory is what a step needs beyond the weights: momenta, gradients,
logits.

With `--law` the sampled form runs on ever more images, in the state it has in the middle of a training: a
full list of recent images, and a cohort of idle rows for every batch of the rest. From `--mapped` images on
the rows lie in files in `--folder`. Memory is the most that the process had in the steps, above what it had
with its rows. On a CPU seconds are those of the processor, which others on the machine change little.
With `--ranks G` there are G processes, each with its batch and its share of the rows (gloo, or NCCL with as
many GPUs); the figures are those of the first.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import torch
import torch.distributed as dist
from paired import AnonymousPeak, compare, peak_bytes, start_of_peak
from torch import Tensor
from torch.nn import functional as F

from mmssl.losses import instance_softmax
from mmssl.models.heads import InstanceClassifier
from mmssl.ops.collectives import rank, world_size

IMPLEMENTATIONS = ("plain", "full", "sampled")
SGD = dict(momentum=0.9, weight_decay=1e-4)
LR, TEMPERATURE, CROPS, DIM = 0.03, 0.2, 4, 128
IMAGES = (10_000, 100_000, 1_000_000, 10_000_000)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", choices=IMPLEMENTATIONS[1:], default="full")
    parser.add_argument("--images", type=int, nargs="+", help="N; with --law several")
    parser.add_argument("--batch", type=int, default=256, help="images, four crops each")
    parser.add_argument("--negatives", type=int, default=65536, help="K of the sampled form")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each implementation")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--law", action="store_true", help="ever more images instead")
    parser.add_argument("--ranks", type=int, default=1, help="processes of --law")
    parser.add_argument("--steps", type=int, default=5, help="that are timed, of --law")
    parser.add_argument(
        "--mapped", type=int, default=5_000_000, help="images from which rows lie in files"
    )
    parser.add_argument("--folder", help="of these files; default: no files")
    parser.add_argument("--out", metavar="FILE.json", help="write the figures")
    parser.add_argument("--run", choices=(*IMPLEMENTATIONS, "law"), help=argparse.SUPPRESS)
    return parser.parse_args()


def batch_of(step: int, images: int, args: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Embeddings (4 * B, D), crop by crop, and images of this rank that are not on the recent list."""
    generator = torch.Generator().manual_seed(step * world_size() + rank())
    features = torch.randn(CROPS * args.batch, DIM, generator=generator)
    first, share = step * args.batch, images // world_size()
    index = (first + torch.arange(args.batch)) % share * world_size() + rank()
    device = torch.device(args.device)
    return features.to(device).requires_grad_(), index.to(device)


def plain_loss(weight: Tensor, features: Tensor, index: Tensor) -> Tensor:
    """The formula: every logit of every crop."""
    large, small = features[: len(index)], features[len(index) :]
    rows = F.normalize(weight, dim=1)
    logits = torch.cat(
        [F.linear(F.normalize(large), rows), F.linear(F.normalize(small), rows.detach())]
    )
    return F.cross_entropy(logits / TEMPERATURE, index.repeat(CROPS))


class Step:
    """One implementation and its rows.

    Args:
        name: Of `IMPLEMENTATIONS`.
        images: N.
        args: Of the command line.
    """

    def __init__(self, name: str, images: int, args: argparse.Namespace) -> None:
        torch.manual_seed(0)
        self.plain, self.device = name == "plain", torch.device(args.device)
        sampled = dict(num_negatives=args.negatives, init_recent="all") if name == "sampled" else {}
        in_files = name == "sampled" and args.law and images >= args.mapped and args.folder
        where = dict(storage="host", folder=args.folder) if in_files else {}
        shard = world_size() > 1
        self.head = InstanceClassifier(
            DIM, images, temperature=TEMPERATURE, shard=shard, **sampled, **where
        )
        self.head.to(args.device)
        self.optimizer = None
        if self.head.rows is None:
            self.optimizer = torch.optim.SGD(self.head.parameters(), lr=LR, **SGD)
        self.seconds: dict[str, float] = {}

    def __call__(self, features: Tensor, index: Tensor) -> Tensor:
        """Loss, gradients and step; `seconds` has what each part took."""
        head, large = self.head, features[: len(index)]
        start = self.clock()
        if self.plain:
            entered, loss = start, plain_loss(head.weight, features, index)
        else:
            classes = head(index)
            entered = self.clock()
            loss = instance_softmax(
                large,
                features[len(index) :],
                classes.weight,
                classes.target,
                temperature=TEMPERATURE,
                sharded=classes.sharded,
            ).loss
        loss.backward()
        learned = self.clock()
        if self.optimizer is None:
            head.rows.step(LR, **SGD)
        else:
            self.optimizer.step()
            self.optimizer.zero_grad()
        end = self.clock()
        self.seconds = dict(
            step=end - start, softmax=learned - entered, rows=end - start - learned + entered
        )
        return loss.detach()

    def clock(self) -> float:
        """Now, with nothing left to do on a GPU; on a CPU the time that this process has had."""
        if self.device.type != "cuda":
            return time.process_time()
        torch.cuda.synchronize(self.device)
        return time.perf_counter()


def measure(name: str, args: argparse.Namespace) -> dict[str, float]:
    """Seconds and additional bytes of a step, after one that loads kernels, and its loss."""
    torch.set_num_threads(args.threads)
    device, images = torch.device(args.device), args.images[0]
    few = argparse.Namespace(**{**vars(args), "batch": 8})
    Step(name, 100, few)(*batch_of(0, 100, few))
    step = Step(name, images, args)
    before = start_of_peak(device)
    total = float(step(*batch_of(0, images, args)))
    memory = peak_bytes(device) - before
    seconds = []
    for number in range(1, 3):
        step(*batch_of(number, images, args))
        seconds.append(step.seconds["step"])
    return dict(seconds=min(seconds), bytes=memory, total=total)


def settle(step: Step, args: argparse.Namespace) -> None:
    """The state in the middle of a training: every batch of idle rows has a cohort of its own."""
    rows = step.head.rows
    finished = len(rows.store) // args.batch + 1
    cohort = torch.arange(len(rows.store), device=rows.store.cohort.device) // args.batch
    rows.store.cohort.copy_(cohort)
    births = torch.arange(finished)
    operators = torch.eye(2, dtype=torch.float64).repeat(finished, 1, 1)
    rows.cohorts.load(births, operators, rows.store.cohort.long())
    rows.num_steps = finished


def measure_law(args: argparse.Namespace) -> dict[str, float]:
    """Median seconds of a step and of its parts, and bytes beyond the rows, for one number of images."""
    torch.set_num_threads(args.threads)
    if args.ranks > 1:
        on_gpus = torch.device(args.device).type == "cuda"
        if on_gpus:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if on_gpus else "gloo")
    device, images = torch.device(args.device), args.images[0]
    step = Step("sampled", images, args)
    settle(step, args)
    parts: list[dict[str, float]] = []
    start = time.perf_counter()
    allocated = start_of_peak(device)
    with AnonymousPeak() as memory:
        for number in range(args.steps + 1):
            if number == 1:  # all that loads or fills up is done
                start = time.perf_counter()
            step(*batch_of(number, images, args))
            parts.append(dict(step.seconds))
        wall = (time.perf_counter() - start) / args.steps
    used = memory.bytes if device.type == "cpu" else peak_bytes(device) - allocated
    store = step.head.rows.store
    found = {part: statistics.median(row[part] for row in parts[1:]) for part in parts[0]}
    held = (store.weight.nbytes + store.momentum.nbytes + store.cohort.nbytes) / 1e6
    return found | dict(
        wall=wall,
        megabytes=used / 1e6,
        rows_megabytes=held,
        cohorts=len(step.head.rows.cohorts.births),
        in_files=float(store.storage == "host"),
    )


def law(args: argparse.Namespace) -> None:
    """Print and write a row for each number of images, each measured in a process of its own."""
    table = {}
    print(
        f"batch {args.batch} x {CROPS} crops, K {args.negatives}, dim {DIM}, on {args.device}, "
        f"{args.ranks} processes"
    )
    print("    images    rows MB  where   cohorts  step MB   step s  softmax s   rows s")
    for images in args.images or IMAGES:
        launcher = [
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={args.ranks}",
            "--",
        ]
        command = [sys.executable, *(launcher if args.ranks > 1 else []), __file__]
        command += ["--run", "law", "--images", str(images), "--law", "--ranks", str(args.ranks)]
        command += [*shared_arguments(args), "--steps", str(args.steps)]
        command += ["--mapped", str(args.mapped)]
        command += ["--folder", args.folder] if args.folder else []
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        row = table[images] = json.loads(run.stdout.splitlines()[-1])
        where = "files" if row["in_files"] else args.device
        print(
            f"{images:10,d} {row['rows_megabytes']:10.0f}  {where:6s} {row['cohorts']:8.0f} "
            f"{row['megabytes']:8.0f} {row['step']:8.3f} {row['softmax']:10.3f} {row['rows']:8.4f}",
            flush=True,
        )
    if args.out:
        about = dict(
            batch=args.batch, crops=CROPS, negatives=args.negatives, dim=DIM, ranks=args.ranks
        )
        with open(args.out, "w", encoding="utf-8") as file:
            json.dump(dict(about=about, device=args.device, table=table), file, indent=1)


def shared_arguments(args: argparse.Namespace) -> list[str]:
    """The command line of a run."""
    return [
        *("--device", args.device, "--batch", str(args.batch)),
        *("--negatives", str(args.negatives), "--threads", str(args.threads)),
    ]


def main() -> None:
    args = parse_args()
    if args.run == "law":
        found = measure_law(args)
        if rank() == 0:
            print(json.dumps(found))
        if dist.is_initialized():
            dist.destroy_process_group()
        return
    if args.law:
        law(args)
        return
    args.images = args.images or [100_000]
    compare(
        __file__,
        ("plain", args.ours),
        args,
        measure=lambda name: measure(name, args),
        arguments=[*shared_arguments(args), "--images", str(args.images[0])],
        about=dict(images=args.images[0], batch=args.batch, crops=CROPS, negatives=args.negatives),
    )


if __name__ == "__main__":
    main()
