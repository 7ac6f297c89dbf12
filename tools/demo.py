#!/usr/bin/env python
"""The demo: unlabelled pictures in, a better classifier, detector and segmentor out.

Draws Shapes, pretrains BYOL and CARE on its unlabelled part, measures k-NN and linear accuracy of
random, BYOL and CARE backbones, fine-tunes a detector (mmdet) and a segmentor (mmseg) from random and
from CARE weights with few labels and equal budgets, and ends with a table and a report. Every step is
a command that is printed and can be run by hand. A second call goes on where the first one stopped.

    make demo
    make demo DEMO=quick (a smoke test, its figures mean little)
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PRETRAIN = {
    "BYOL": "configs/byol/byol_resnet18_1xb32-coslr-3e_shapes.py",
    "CARE": "configs/care/care_resnet18_1xb32-coslr-3e_shapes.py",
}
CLASSIFY = "configs/benchmarks/shapes_classification/resnet18_shapes.py"
DETECT = "configs/benchmarks/shapes_detection/faster_rcnn_r18_fpn_shapes.py"
SEGMENT = "configs/benchmarks/shapes_segmentation/fcn_r18_shapes.py"


@dataclass(frozen=True)
class Budget:
    """How much of everything a demo takes."""

    images: int
    epochs: int
    labels: int
    detect_iters: int
    segment_iters: int


BUDGETS = {
    "full": Budget(images=4000, epochs=3, labels=100, detect_iters=150, segment_iters=150),
    "quick": Budget(images=1000, epochs=1, labels=50, detect_iters=20, segment_iters=20),
}


@dataclass
class Step:
    """A command of the demo.

    Attributes:
        name: Of the step, its log file and its results.
        command: Words behind `python`.
        read: Finds the metrics once the command has ended.
    """

    name: str
    command: Sequence[str | Path]
    read: Callable[[], dict[str, float]] = dict


def fingerprint_of(data: Path, budget: Budget) -> str:
    """What the results of a demo depend on: code, configs, data folder, budget."""
    digest = hashlib.sha256(repr((str(data.resolve()), budget)).encode())
    for folder in ("mmssl", "configs", "tools"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


@dataclass
class Demo:
    """The work folder of a demo and the results of its steps.

    Attributes:
        folder: Where everything goes.
        data: The drawn images.
        budget: How much of everything.
        seed: Of all runs.
        results: Metrics by step, and `seconds` of each; kept in `results.json`. Those of other code,
            data or budget are moved aside, never mixed in.
    """

    folder: Path
    data: Path
    budget: Budget
    seed: int
    results: dict[str, dict[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.record = self.folder / "results.json"
        made_by = self.folder / "made_by.txt"
        fingerprint = fingerprint_of(self.data, self.budget)
        if made_by.exists() and made_by.read_text() == fingerprint:
            if self.record.exists():
                self.results = json.loads(self.record.read_text())
            return
        if any(self.folder.iterdir()):
            old = self.folder.with_name(
                f"{self.folder.name}_until_{time.strftime('%Y%m%d_%H%M%S')}"
            )
            self.folder.rename(old)
            print(f"The results there were of other code, data or budget: they are in {old} now.")
            self.folder.mkdir()
        made_by.write_text(fingerprint)

    def run(self, *steps: Step) -> None:
        """Run steps side by side, each on its share of the cores; skip those an earlier call finished.

        Raises:
            SystemExit: A step failed; the end of its output is shown.
        """
        start, told = time.monotonic(), 0.0
        open_steps = [step for step in steps if step.name not in self.results]
        threads = max(1, (os.cpu_count() or 1) // max(1, len(open_steps)))
        running = [(step, self._start(step, threads)) for step in open_steps]
        try:
            while any(process.poll() is None for _, process in running):
                time.sleep(1)
                lines = [
                    last_line(self._log(step), 56)
                    for step, process in running
                    if process.poll() is None
                ]
                passed = time.monotonic() - start
                if sys.stdout.isatty() or passed - told >= 30:
                    told = passed
                    end = "" if sys.stdout.isatty() else "\n"
                    print(f"\r  {passed:5.0f} s  " + " | ".join(lines), end=end, flush=True)
        finally:
            for _, process in running:
                process.terminate()
        if sys.stdout.isatty():
            print("\r" + " " * 132 + "\r", end="")
        for step, process in running:
            if process.returncode:
                print(self._log(step).read_text()[-3000:])
                sys.exit(
                    f"The step {step.name!r} failed; its whole output is in {self._log(step)}."
                )
            self.results[step.name] = {**step.read(), "seconds": round(time.monotonic() - start, 1)}
            found = ", ".join(
                f"{key} {value:.4g}" for key, value in self.results[step.name].items()
            )
            print(f"  {step.name}: {found}", flush=True)
            self.record.write_text(json.dumps(self.results, indent=2))

    def _log(self, step: Step) -> Path:
        return self.folder / f"{step.name.replace(' ', '_')}.log"

    def _start(self, step: Step, threads: int) -> subprocess.Popen:
        words = [str(word) for word in step.command]
        print(f"[{step.name}] python {shlex.join(words)}", flush=True)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])
            ),
            "PYTHONWARNINGS": "ignore",
            "OMP_NUM_THREADS": str(threads),
        }
        with open(self._log(step), "w") as file:
            return subprocess.Popen(
                [sys.executable, *words],
                cwd=ROOT,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
            )


def last_line(log: Path, width: int) -> str:
    """What a running step printed last, cut and padded to `width`."""
    lines = log.read_text(errors="replace").replace("\r", "\n").split("\n")
    text = next((line for line in reversed(lines) if line.strip()), "")
    # Of a log line the message alone: time and logger would fill the width.
    message = " ".join(text.rpartition(" - INFO - ")[2].split())
    return message[:width].ljust(width)


def newest(folder: Path) -> Path:
    """The checkpoint that a run ended with."""
    return Path((folder / "last_checkpoint").read_text().strip())


def last_scalars(folder: Path, *names: str) -> dict[str, float]:
    """The last value of each metric in the newest log of a run."""
    log = max(folder.glob("*/vis_data/scalars.json"), key=lambda path: path.stat().st_mtime)
    # A detector that finds no box at all gets no metric from the COCO evaluation: its AP is 0.
    found = dict.fromkeys(names, 0.0)
    for line in log.read_text().splitlines():
        record = json.loads(line)
        found.update({name: record[name] for name in names if name in record})
    return found


def draw(demo: Demo) -> Step:
    """Draw the images."""
    return Step(
        "draw", ["tools/make_shapes.py", demo.data, "--num-unlabelled", str(demo.budget.images)]
    )


def pretrain(demo: Demo, method: str) -> Step:
    """Pretrain a method without labels; an interrupted run is resumed."""
    folders = [
        f"custom_hooks.0.{part}.root={demo.data / 'classify' / part}" for part in ("train", "val")
    ]
    command = [
        "tools/train.py", PRETRAIN[method], "--work-dir", demo.folder / method, "--resume",
        "--cfg-options", f"train_dataloader.dataset.root={demo.data / 'unlabelled'}",
        f"train_cfg.max_epochs={demo.budget.epochs}", f"randomness.seed={demo.seed}", *folders,
    ]  # fmt: skip
    return Step(f"pretrain {method}", command)


def probe(demo: Demo, start: str) -> Step:
    """k-NN and linear accuracy of a backbone: random, BYOL or CARE."""
    out = demo.folder / f"probe_{start}.json"

    def read() -> dict[str, float]:
        results = json.loads(out.read_text())["results"]
        return dict(knn=results["knn"]["20"]["top1"], linear=results["linear"]["top1"])

    checkpoint = "none" if start == "random" else newest(demo.folder / start)
    command = [
        "tools/test.py", CLASSIFY, checkpoint, "--seed", str(demo.seed), "--out", out,
        "--train", demo.data / "classify/train", "--val", demo.data / "classify/val", "--size", "64",
    ]  # fmt: skip
    return Step(f"probe {start}", command, read)


def export(demo: Demo, library: str) -> Step:
    """Write the CARE backbone for mmdet or mmseg, with the proof that it is the same."""
    out = demo.folder / f"care_{library}.pth"
    command = ["tools/export_backbone.py", newest(demo.folder / "CARE"), out, "--to", library]
    return Step(f"export to {library}", command)


def detect(demo: Demo, start: str) -> Step:
    """Fine-tune a detector from random or CARE weights on few labelled images."""
    folder, data = demo.folder / f"detect_{start}", demo.data / "coco"
    changes = [
        f"{part}_evaluator.ann_file={data}/annotations/instances_val.json"
        for part in ("val", "test")
    ]
    command = [
        "tools/train.py", DETECT, "--work-dir", folder, "--cfg-options",
        *transfer_options(demo, start, "mmdet", data, demo.budget.detect_iters), *changes,
    ]  # fmt: skip
    return Step(
        f"detect from {start}",
        command,
        lambda: last_scalars(folder, "coco/bbox_mAP", "coco/bbox_mAP_50"),
    )


def segment(demo: Demo, start: str) -> Step:
    """Fine-tune a segmentor from random or CARE weights on few labelled images."""
    folder, data = demo.folder / f"segment_{start}", demo.data / "voc"
    command = [
        "tools/train.py", SEGMENT, "--work-dir", folder, "--cfg-options",
        *transfer_options(demo, start, "mmseg", data, demo.budget.segment_iters),
    ]  # fmt: skip
    return Step(f"segment from {start}", command, lambda: last_scalars(folder, "mIoU"))


def transfer_options(demo: Demo, start: str, library: str, data: Path, iters: int) -> list[str]:
    """What both kinds of transfer share: weights, data, number of labels, budget, seed."""
    weights = None if start == "random" else demo.folder / f"care_{library}.pth"
    return [
        f"load_from={weights}",
        f"train_cfg.max_iters={iters}",
        f"train_cfg.val_interval={iters}",
        f"randomness.seed={demo.seed}",
        f"train_dataloader.dataset.indices={demo.budget.labels}",
        *(f"{part}_dataloader.dataset.data_root={data}/" for part in ("train", "val", "test")),
    ]


def attention(demo: Demo) -> Step:
    """Where an untrained backbone, BYOL and CARE look, side by side."""
    command = [
        "tools/attention_maps.py", "--images", demo.data / "coco/val",
        "--checkpoint", newest(demo.folder / "BYOL"), newest(demo.folder / "CARE"),
        "--labels", "without CARE", "with CARE", "--untrained", "--size", "128",
        "--out", demo.folder / "attention.png",
    ]  # fmt: skip
    return Step("attention", command)


def table(results: dict) -> list[list]:
    """Rows of the final table: what was measured, from each start."""
    rows = [
        [title, *(results[f"probe {start}"][name] for start in ("random", *PRETRAIN))]
        for title, name in (
            ("k-NN accuracy, 24 classes (%)", "knn"),
            ("linear accuracy, 24 classes (%)", "linear"),
        )
    ]
    for title, task, name, factor in (
        ("detection, box AP (%)", "detect", "coco/bbox_mAP", 100),
        ("detection, box AP50 (%)", "detect", "coco/bbox_mAP_50", 100),
        ("segmentation, mIoU (%)", "segment", "mIoU", 1),
    ):
        random, care = (
            results[f"{task} from {start}"][name] * factor for start in ("random", "CARE")
        )
        rows.append([title, random, None, care])
    return rows


def show(rows: list[list]) -> None:
    """Print the table."""
    print(f"\n{'':34}{'random init':>12}{'BYOL':>10}{'CARE':>10}")
    for title, *values in rows:
        cells = ["-" if value is None else f"{value:.1f}" for value in values]
        print(f"{title:34}{cells[0]:>12}{cells[1]:>10}{cells[2]:>10}")


def write(demo: Demo, rows: list[list]) -> Path:
    """The report of the demo: table, attention maps, and the report of the CARE run."""
    from mmssl.visualization.report import ImageSection, Picture, TableSection, write_report
    from mmssl.visualization.run_card import read_card
    from mmssl.visualization.run_log import read_log
    from mmssl.visualization.run_report import run_sections

    run = demo.folder / "CARE"
    card = read_card(run)
    sections = [
        TableSection("What pretraining without labels changed", ["", "random init", "BYOL", "CARE"], rows),
        ImageSection("Where the backbones look", [Picture(demo.folder / "attention.png")]),
        TableSection(
            "Seconds per step", ["step", "seconds"],
            [[name, result["seconds"]] for name, result in demo.results.items()],
        ),
        *run_sections(run, card, read_log(run, card["iters_per_epoch"])),
    ]  # fmt: skip
    return write_report(
        demo.folder / "report.html", "CARE on Shapes", sections,
        subtitle=f"{demo.budget.images} unlabelled images, {demo.budget.epochs} epochs, "
        f"{demo.budget.labels} labelled images for transfer, seed {demo.seed}",
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", nargs="?", default="full", choices=BUDGETS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--work-dir", type=Path, help="work_dirs/demo/<mode>_seed<seed> if not given"
    )
    parser.add_argument(
        "--data", type=Path, help="where Shapes is drawn; data/shapes or data/shapes_quick"
    )
    args = parser.parse_args()
    quick = args.mode == "quick"
    demo = Demo(
        folder=(args.work_dir or ROOT / f"work_dirs/demo/{args.mode}_seed{args.seed}").resolve(),
        data=(args.data or ROOT / ("data/shapes_quick" if quick else "data/shapes")).resolve(),
        budget=BUDGETS[args.mode],
        seed=args.seed,
    )
    start = time.monotonic()
    demo.run(draw(demo))
    demo.run(*(pretrain(demo, method) for method in PRETRAIN))
    for name in ("random", *PRETRAIN):
        demo.run(probe(demo, name))
    demo.run(export(demo, "mmdet"), export(demo, "mmseg"))
    demo.run(detect(demo, "random"), detect(demo, "CARE"))
    demo.run(segment(demo, "random"), segment(demo, "CARE"))
    demo.run(attention(demo))
    rows = table(demo.results)
    report = write(demo, rows)
    show(rows)
    print(f"\n{(time.monotonic() - start) / 60:.1f} minutes. Report: {report}")


if __name__ == "__main__":
    main()
