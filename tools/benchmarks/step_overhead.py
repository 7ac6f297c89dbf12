#!/usr/bin/env python
"""Cost of the framework: a CARE step in the runner, with all its hooks, against a plain loop.

Both train the same modules on the same batches, in turn, in one process, long enough that hooks with
an interval of 50 iterations (log, collapse doctor) have their turns: what counts is the mean. The
second table is the share of the momentum update in a ResNet-50 step.

    python tools/benchmarks/step_overhead.py --out overhead.json
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from mmengine.config import Config
from torch.utils.data import Dataset

from mmssl.engine.loops import EpochLoop
from mmssl.engine.runner import Runner
from mmssl.models.algorithms.care import CARE
from mmssl.registry import DATASETS, LOOPS
from mmssl.structures import Progress, ViewBatch


@DATASETS.register_module()
class RandomViews(Dataset):
    """Two random uint8 views per sample: no decoding, so that only the step is timed."""

    def __init__(self, length: int, size: int) -> None:
        self.images = torch.randint(0, 256, (2, length, 3, size, size), dtype=torch.uint8)
        self.metainfo: dict = {}

    def __len__(self) -> int:
        return self.images.shape[1]

    def __getitem__(self, key: tuple[int, int]) -> dict[str, ViewBatch]:
        index = key[1]
        views = list(self.images[:, index])
        return dict(inputs=ViewBatch(views, torch.tensor(index), [], torch.tensor(-1), []))


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds_of(function: Callable, *arguments: Any) -> float:
    """Wall seconds of a call, the GPU's work included."""
    synchronize()
    start = time.perf_counter()
    function(*arguments)
    synchronize()
    return time.perf_counter() - start


@LOOPS.register_module()
class PairedLoop(EpochLoop):
    """Runs every batch twice: as the runner does, and as a plain loop on a copy of the model."""

    seconds: list[tuple[float, float]]

    def run(self):
        """Time both kinds of step in turn."""
        runner, self.seconds = self.runner, []
        plain, optimizer = copy.deepcopy(runner.model), None
        plain_parameters = [p for p in plain.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(plain_parameters, lr=0.05, momentum=0.9, weight_decay=1e-4)
        runner.call_hook("before_train")
        runner.call_hook("before_train_epoch")
        runner.model.train()
        plain.train()
        for index, batch in enumerate(self.dataloader):
            runs = [
                lambda: seconds_of(self.run_iter, index, batch),  # noqa: B023 (called at once)
                lambda: seconds_of(plain_step, plain, optimizer, batch, index),  # noqa: B023
            ]
            # Whoever comes second finds warm caches, so they take turns.
            order = (0, 1) if index % 2 else (1, 0)
            times = {which: runs[which]() for which in order}
            self.seconds.append((times[0], times[1]))
        return runner.model


def plain_step(model: CARE, optimizer: torch.optim.Optimizer, batch: dict, index: int) -> None:
    """One iteration written out by hand."""
    model.progress = Progress(index, 1000, 0, 1)
    model.twin.update(model, index, 1000)
    losses = model(**model.data_preprocessor(batch, True), mode="loss")
    total = sum(value for name, value in losses.items() if "loss" in name)
    optimizer.zero_grad()
    total.backward()
    optimizer.step()


def care(depth: int, size: int) -> dict:
    """Model config of CARE at an image size."""
    return dict(
        type="CARE",
        backbone=dict(type="ResNet", depth=depth, out_indices=(2, 3)),
        t_stream=dict(type="AttentionStack", fmap_size=size // 16),
        projector=dict(hid_channels=4096, out_channels=256),
        predictor=dict(hid_channels=4096),
    )


def runner_overhead(depth: int, size: int, batch: int, iters: int) -> dict[str, float]:
    """Mean seconds of both steps, their ratio and its standard error, after 3 warm-up pairs."""
    config = Config.fromfile("configs/_base_/default_runtime.py")
    with tempfile.TemporaryDirectory() as folder:
        config.merge_from_dict(
            dict(
                model=care(depth, size),
                train_dataloader=dict(
                    batch_size=batch,
                    num_workers=0,
                    sampler=dict(type="CounterSampler", shuffle=False),
                    collate_fn=dict(type="default_collate"),
                    dataset=dict(type="RandomViews", length=batch * (iters + 3), size=size),
                ),
                train_cfg=dict(type="PairedLoop", max_epochs=1),
                optim_wrapper=dict(
                    type="OptimWrapper",
                    optimizer=dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=1e-4),
                ),
                work_dir=folder,
                log_level="WARNING",
            )
        )
        runner = Runner.from_cfg(config)
        runner.train()
    pairs = runner.train_loop.seconds[3:]
    runner_mean, plain_mean = (statistics.fmean(column) for column in zip(*pairs, strict=True))
    spread = statistics.stdev(ours - theirs for ours, theirs in pairs) / len(pairs) ** 0.5
    return dict(
        runner=runner_mean,
        plain=plain_mean,
        ratio=runner_mean / plain_mean,
        error=spread / plain_mean,
    )


def twin_share(size: int, batch: int, iters: int) -> dict[str, float]:
    """Median seconds of a CARE step with ResNet-50, and of one momentum update."""
    from mmssl.registry import MODELS

    model = MODELS.build(care(50, size)).train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    views = [torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8) for _ in range(2)]
    none = torch.full((batch,), -1)
    data = dict(inputs=ViewBatch(views, none, [], none, []))
    steps, updates = [], []
    for index in range(iters + 1):
        start = time.perf_counter()
        plain_step(model, optimizer, data, index)
        middle = time.perf_counter()
        model.twin.update(model, index, 1000)
        end = time.perf_counter()
        steps.append(middle - start)
        updates.append(end - middle)
    step, update = statistics.median(steps[1:]), statistics.median(updates[1:])
    return dict(step=step, update=update, share=update / step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=18)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--iters", type=int, default=100)
    parser.add_argument(
        "--twin-size", type=int, default=224, help="pixels in the ResNet-50 measurement"
    )
    parser.add_argument(
        "--twin-batch", type=int, default=32, help="images in the ResNet-50 measurement"
    )
    parser.add_argument("--twin-iters", type=int, default=4)
    parser.add_argument("--out", help="write the figures as JSON")
    args = parser.parse_args()
    torch.set_flush_denormal(True)
    overhead = runner_overhead(args.depth, args.size, args.batch, args.iters)
    print(
        f"CARE ResNet-{args.depth}, {args.size} px, batch {args.batch}, {torch.get_num_threads()} threads"
    )
    print(f"  in the runner  {overhead['runner'] * 1e3:8.1f} ms")
    print(f"  plain loop     {overhead['plain'] * 1e3:8.1f} ms")
    print(
        f"  ratio          {overhead['ratio']:8.4f}   (+- {overhead['error']:.4f}; target: below 1.03)"
    )
    twin = twin_share(args.twin_size, args.twin_batch, args.twin_iters)
    print(f"CARE ResNet-50, {args.twin_size} px, batch {args.twin_batch}")
    print(f"  step           {twin['step'] * 1e3:8.1f} ms")
    print(f"  twin update    {twin['update'] * 1e3:8.1f} ms")
    print(f"  share          {twin['share']:8.4f}   (target: below 0.01)")
    if args.out:
        with open(args.out, "w") as file:
            json.dump(dict(arguments=vars(args), overhead=overhead, twin=twin), file, indent=2)


if __name__ == "__main__":
    main()
