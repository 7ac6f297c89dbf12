#!/usr/bin/env python
"""The demo: unlabelled pictures in, a better classifier, detector and segmentor out.

Draws Shapes, pretrains BYOL and CARE on its unlabelled part, measures k-NN and linear accuracy of
random, BYOL and CARE backbones, fine-tunes a detector (mmdet) and a segmentor (mmseg) from random and
from CARE weights with few labels and equal budgets, and ends with a table and a report. Every step is
a command that is printed and can be run by hand. A second call goes on where the first one stopped.
It is the comparison of configs/benchmarks/comparison/demo.py, and pictures of where the backbones look.

    make demo
    make demo DEMO=quick (a smoke test, its figures mean little)
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config

from mmssl.engine.code_state import code_state
from mmssl.engine.command_plan import Command
from mmssl.engine.command_queue import CommandQueue, newest_checkpoint, usual_parallel
from mmssl.engine.user_errors import told_errors
from mmssl.evaluation.comparison import Comparison
from mmssl.evaluation.comparison_config import read_comparison
from mmssl.visualization.report import ImageSection, Picture, TableSection, write_report
from mmssl.visualization.run_card import read_card
from mmssl.visualization.run_log import read_log
from mmssl.visualization.run_report import run_sections

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs/benchmarks/comparison/demo.py"
TASKS = ("knn", "linear", "detect", "segment")
QUICK = dict(epochs=1, images=1000, labels=50, iters=20)
MEASURED = (
    ("k-NN accuracy, 24 classes (%)", "probe", "knn"),
    ("linear accuracy, 24 classes (%)", "probe", "linear"),
    ("detection, box AP (%)", "detect", "detect"),
    ("detection, box AP50 (%)", "detect", "detect50"),
    ("segmentation, mIoU (%)", "segment", "segment"),
)
Rows = list[list[str | float | None]]


def attention(job: Comparison, seed: int) -> Command:
    """Where an untrained backbone, BYOL and CARE look, side by side."""
    methods = ("BYOL", "CARE")
    out = job.folder / "attention.png"

    def words() -> list[str | Path]:
        checkpoints = [newest_checkpoint(job.run_folder(name, seed)) for name in methods]
        return [
            "tools/attention_maps.py", "--images", job.data / "coco/val",
            "--checkpoint", *checkpoints, "--labels", "without CARE", "with CARE",
            "--untrained", "--size", "128", "--out", out,
        ]  # fmt: skip

    after = [f"pretrain {name} s{seed}" for name in methods]
    return Command("attention", words, after=after, product=out)


def table(job: Comparison, results: Mapping[str, Mapping[str, float]], seed: int) -> Rows:
    """Rows of the final table: what was measured, from each start."""
    return [
        [title, *(results.get(f"{of} {name} s{seed}", {}).get(key) for name in job.contestants)]
        for title, of, key in MEASURED
    ]


def show(heads: list[str], rows: Rows) -> None:
    """Print the table."""
    print(f"\n{'':34}" + "".join(f"{head:>12}" for head in heads))
    for title, *values in rows:
        cells = ["-" if value is None else f"{value:.1f}" for value in values]
        print(f"{title:34}" + "".join(f"{cell:>12}" for cell in cells))


def write(
    job: Comparison, results: Mapping[str, Mapping[str, float]], rows: Rows, seed: int
) -> Path:
    """The report of the demo: table, attention maps, and the report of the CARE run."""
    run, budget = job.run_folder("CARE", seed), job.budget
    card = read_card(run)
    times = [[name, result["seconds"]] for name, result in results.items()]
    sections = [
        TableSection("What pretraining without labels changed", ["", *job.contestants], rows),
        ImageSection("Where the backbones look", [Picture(job.folder / "attention.png")]),
        TableSection("Seconds per step", ["step", "seconds"], times),
        *run_sections(run, card, read_log(run, card["iters_per_epoch"])),
    ]
    subtitle = (
        f"{budget.images} unlabelled images, {budget.epochs} epochs, {budget.labels} labelled images for "
        f"transfer, seed {seed}"
    )
    return write_report(job.folder / "report.html", "CARE on Shapes", sections, subtitle=subtitle)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", nargs="?", default="full", choices=("full", "quick"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--work-dir", type=Path, help="work_dirs/demo/<mode>_seed<seed> if not given"
    )
    parser.add_argument(
        "--data", type=Path, help="where Shapes is drawn; data/shapes or data/shapes_quick"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    seed, quick = args.seed, args.mode == "quick"
    folder = args.work_dir or ROOT / f"work_dirs/demo/{args.mode}_seed{seed}"
    data = args.data or ROOT / ("data/shapes_quick" if quick else "data/shapes")
    changes = (QUICK if quick else {}) | dict(data=data)
    start = time.monotonic()
    try:
        with told_errors(__file__):
            job = read_comparison(
                Config.fromfile(CONFIG), root=ROOT, folder=folder.resolve(), changes=changes
            )
            commands = job.commands(list(job.contestants), [seed], tasks=TASKS)
            commands.append(attention(job, seed))
            code = code_state(ROOT, ("mmssl", "tools"))
            queue = CommandQueue(job.folder, ROOT, usual_parallel(), code=code)
            queue.run(commands)
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command goes on.")
    for name, text in queue.failed.items():
        print(f"\n{name}:\n{text}")
    if queue.failed:
        sys.exit(f"Failed: {', '.join(queue.failed)}; whole outputs are in {job.folder}.")
    results = queue.current(commands)
    rows = table(job, results, seed)
    report = write(job, results, rows, seed)
    show(list(job.contestants), rows)
    print(f"\n{queue.mixed_code(results)}".rstrip())
    print(f"{(time.monotonic() - start) / 60:.1f} minutes. Report: {report}")


if __name__ == "__main__":
    main()
