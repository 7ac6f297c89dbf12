#!/usr/bin/env python
"""Every method side by side on Shapes, and what the articles claim, with a verdict.

    python tools/compare.py                                     everything, three seeds: hours on two cores
    python tools/compare.py --methods BYOL CARE --seeds 0       a part of it
    make claims

Each method pretrains a small network with an equal budget; then k-NN and linear accuracy, the box AP of a
detector and the mIoU of a segmentor with few labels are measured. A second call goes on where the first one
stopped, and measures anew what a changed config or budget touches; every command is printed and can be run by
hand. Table, verdicts, budgets and curves are in `<work-dir>/report.html`, figures and verdicts in
`comparison.json`. `--page` writes docs/comparison.md, its picture and its record as well.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmengine.config import Config

from mmssl.engine.code_state import code_state
from mmssl.engine.command_plan import Command
from mmssl.engine.command_queue import CommandQueue, usual_parallel
from mmssl.engine.user_errors import told_errors
from mmssl.evaluation.comparison import MEASURES, Comparison, figures_of
from mmssl.evaluation.comparison_config import read_comparison
from mmssl.evaluation.json_record import json_text
from mmssl.ops.atomic_file import write_text_atomically
from mmssl.visualization.comparison_page import Record, comparison_markdown, write_comparison
from mmssl.visualization.comparison_plot import plot_comparison
from mmssl.visualization.comparison_record import comparison_record, method_rows

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/comparison.md"
PICTURE = ROOT / "docs/images/comparison.png"
DEFAULT = "configs/benchmarks/comparison/shapes.py"
TASKS = ("knn", "linear", "detect", "segment")
SHOWN = 5  # measures in the printed table; the page has all


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", nargs="?", default=DEFAULT)
    parser.add_argument(
        "--methods",
        nargs="+",
        metavar="NAME",
        help="contestants; all but the slow ones if left out",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--epochs", type=int, help="of pretraining, in place of the config's")
    parser.add_argument(
        "--amp",
        action="store_true",
        default=None,
        help="pretrain in bfloat16: faster on most devices",
    )
    parser.add_argument("--labels", type=int, help="labelled images, in place of the config's")
    parser.add_argument("--iters", type=int, help="of fine-tuning, in place of the config's")
    parser.add_argument("--parallel", type=int, default=usual_parallel(), help="commands at a time")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "work_dirs/compare")
    parser.add_argument("--data", type=Path, help="where Shapes is drawn, in place of the config's")
    parser.add_argument(
        "--start-from",
        type=Path,
        metavar="RECORD.json",
        help="take results of another folder or machine over: its comparison.json, or docs/comparison.json",
    )
    parser.add_argument("--page", action="store_true", help="write docs/comparison.md as well")
    parser.add_argument("--list", action="store_true", help="print the commands' names and stop")
    args = parser.parse_args()
    if args.page and args.config != DEFAULT:
        parser.error("--page is for the comparison of the documentation, without another config")
    for name in ("epochs", "labels", "iters", "parallel"):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1, got {value}")
    return args


def read_job(args: argparse.Namespace) -> tuple[Comparison, list[str]]:
    """The comparison, and who takes part.

    Raises:
        ValueError: Nobody of a name, or a config that describes no comparison.
    """
    names = ("epochs", "amp", "labels", "iters", "data")
    changes = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    own = Path(args.config)  # of the caller's folder, or of the checkout
    config = Config.fromfile(own if own.is_file() else ROOT / own)
    job = read_comparison(config, root=ROOT, folder=args.work_dir.resolve(), changes=changes)
    chosen = args.methods or [name for name, one in job.contestants.items() if not one.slow]
    unknown = [name for name in chosen if name not in job.contestants]
    if unknown:
        raise ValueError(
            f"{', '.join(map(repr, unknown))} is no contestant; there are "
            f"{', '.join(map(repr, job.contestants))}."
        )
    return job, chosen


def found_by(
    queue: CommandQueue, job: Comparison, names: Sequence[str], seeds: Sequence[int]
) -> Record:
    """What was found so far of these contestants, by all tasks."""
    results = queue.current(job.commands(names, seeds, tasks=TASKS))
    return comparison_record(
        job,
        figures_of(results, names, seeds),
        seeds,
        results=results,
        commands=queue.kept(results),
        cores=os.cpu_count() or 1,
        code=queue.code,
        failed=queue.failed,
        note=" ".join(filter(None, [taken_over(queue, results), queue.mixed_code(results)])),
    )


def everybody(job: Comparison, queue: CommandQueue, seeds: Sequence[int]) -> list[str]:
    """All contestants, but slow ones that nobody has measured."""
    measured = queue.current(job.commands(list(job.contestants), seeds, tasks=TASKS))
    return [
        name
        for name, one in job.contestants.items()
        if not one.slow or any(f"probe {name} s{seed}" in measured for seed in seeds)
    ]


def show(record: Record) -> None:
    """Print the table and the verdicts."""
    titles = list(MEASURES.values())[:SHOWN]
    print(f"\n{'':22}" + "".join(f"{title:>20}" for title in titles))
    for name, *cells in method_rows(record["figures"]):
        print(f"{name:22}" + "".join(f"{cell or '-':>20}" for cell in cells[:SHOWN]))
    print()
    for claim in record["claims"]:
        source = f"{claim['source']}; {claim['measured']} {claim['difference'] or ''}"
        print(f"{claim['verdict']}: {claim['claim']}  [{source}]")


def write_page(record: Record) -> None:
    """Write docs/comparison.md with its picture, and the record that they are made of beside them."""
    plot_comparison(record, PICTURE)
    write_text_atomically(PAGE.with_suffix(".json"), json_text(record))
    write_text_atomically(PAGE, comparison_markdown(record))


def take_over(queue: CommandQueue, record: Path, commands: Sequence[Command]) -> None:
    """Take the results of a record over.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no record of a comparison.
    """
    try:
        kept = dict(json.loads(record.read_text(encoding="utf-8"))["commands"].items())
        names = queue.take_over(kept, commands)
    except (AttributeError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{record} is no record of a comparison: {error!r}.") from error
    print(
        f"{len(names)} of {len(kept)} results of {record} are taken over; there are others here, or other "
        "settings, for the rest."
    )


def taken_over(queue: CommandQueue, names: Iterable[str]) -> str:
    """A sentence if results are of another folder or machine, else nothing."""
    number = len(queue.foreign & set(names))
    return f"{number} results were taken over, with their times." if number else ""


def main() -> None:
    args = parse_args()
    try:
        with told_errors(__file__):
            job, names = read_job(args)
            todo = job.commands(names, args.seeds, tasks=args.tasks)
            if args.list:
                print("\n".join(command.name for command in todo))
                return
            start = time.monotonic()
            code = code_state(ROOT, ("mmssl", "tools"))
            queue = CommandQueue(job.folder, ROOT, args.parallel, code=code)
            known = job.commands(names, args.seeds, tasks=TASKS)
            if args.start_from:
                take_over(queue, args.start_from, known)
            queue.run(todo, known)
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on.", file=sys.stderr)
        sys.exit(130)
    # of tasks that were measured earlier, too, if nothing that they depend on has changed
    record = found_by(queue, job, names, args.seeds)
    write_text_atomically(job.folder / "comparison.json", json_text(record))
    page = write_comparison(record, job.folder / "report.html")
    show(record)
    print(record["note"])
    if args.page and not queue.failed:
        write_page(found_by(queue, job, everybody(job, queue, args.seeds), args.seeds))
    print(f"\n{(time.monotonic() - start) / 60:.1f} minutes. Report: {page}")
    if queue.failed:
        unwritten = f" {PAGE.name} is as before." if args.page else ""
        sys.exit(f"{len(queue.failed)} commands failed: {', '.join(queue.failed)}.{unwritten}")


if __name__ == "__main__":
    main()
