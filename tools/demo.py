#!/usr/bin/env python
"""The demo: unlabelled pictures in, a better classifier, detector and segmentor out.

Draws Shapes, pretrains BYOL and CARE on its unlabelled part, measures k-NN and linear accuracy of
random, BYOL and CARE backbones, fine-tunes a detector (mmdet) and a segmentor (mmseg) from random and
from CARE weights with few labels and equal budgets, and ends with a table and a report. Every step is
a command that is printed and can be run by hand. A second call goes on where the first one stopped.

    make demo            (about 20 minutes on two cores)
    make demo DEMO=quick (about 5 minutes; a smoke test, its figures mean little)
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PRETRAIN = {
    "BYOL": "configs/byol/byol_resnet18_1xb64-coslr-10e_shapes.py",
    "CARE": "configs/care/care_resnet18_1xb64-coslr-10e_shapes.py",
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
    "full": Budget(images=4000, epochs=10, labels=100, detect_iters=250, segment_iters=200),
    "quick": Budget(images=1000, epochs=2, labels=50, detect_iters=30, segment_iters=30),
}


@dataclass
class Demo:
    """The work folder of a demo, its steps and their results.

    Attributes:
        folder: Where everything goes.
        data: The drawn images.
        budget: How much of everything.
        seed: Of all runs.
        results: Metrics by step, and `seconds` of each; kept in `results.json`.
    """

    folder: Path
    data: Path
    budget: Budget
    seed: int
    results: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.record = self.folder / "results.json"
        if self.record.exists():
            self.results = json.loads(self.record.read_text())

    def step(self, name: str, *command: str | Path, read: Callable[[], dict] = dict) -> None:
        """Run a command unless an earlier call of the demo did; show and keep what `read` finds.

        Raises:
            SystemExit: The command failed; the end of its output is shown.
        """
        words = [str(word) for word in command]
        if name in self.results:
            print(f"[done before] {name}")
            return
        print(f"\n[{name}] {shlex.join(words)}", flush=True)
        log, start = self.folder / f"{name}.log", time.monotonic()
        with open(log, "w") as file:
            process = subprocess.Popen(
                [sys.executable, *words],
                cwd=ROOT,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment(),
            )
            while process.poll() is None:
                time.sleep(0.5)
                print(
                    f"\r  {time.monotonic() - start:5.0f} s  {last_line(log)}", end="", flush=True
                )
        print("\r" + " " * 118 + "\r", end="")
        if process.returncode:
            print(log.read_text()[-3000:])
            sys.exit(
                f"The step {name!r} failed with status {process.returncode}; its output is in {log}."
            )
        seconds = time.monotonic() - start
        self.results[name] = {**read(), "seconds": round(seconds, 1)}
        shown = ", ".join(f"{key} {value:.4g}" for key, value in self.results[name].items())
        print(f"  {shown}", flush=True)
        self.record.write_text(json.dumps(self.results, indent=2))


def environment() -> dict[str, str]:
    """The environment of the steps: this checkout first, quiet libraries."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}


def last_line(log: Path, width: int = 100) -> str:
    """What a running step printed last, cut and padded to `width`."""
    lines = log.read_text(errors="replace").replace("\r", "\n").split("\n")
    text = next((line for line in reversed(lines) if line.strip()), "")
    return text.strip()[:width].ljust(width)


def newest(folder: Path) -> Path:
    """The checkpoint that a run ended with."""
    return Path((folder / "last_checkpoint").read_text().strip())


def last_scalars(folder: Path, *names: str) -> dict[str, float]:
    """The last value of each metric in the newest log of a run."""
    log = max(folder.glob("*/vis_data/scalars.json"), key=lambda path: path.stat().st_mtime)
    found: dict[str, float] = {}
    for line in log.read_text().splitlines():
        record = json.loads(line)
        found.update({name: record[name] for name in names if name in record})
    return found


def draw(demo: Demo) -> None:
    """Draw the images."""
    demo.step("draw", "tools/make_shapes.py", demo.data, "--num-unlabelled", demo.budget.images)


def pretrain(demo: Demo, method: str) -> None:
    """Pretrain a method without labels; an interrupted run is resumed."""
    demo.step(
        f"pretrain {method}", "tools/train.py", PRETRAIN[method],
        "--work-dir", demo.folder / method, "--resume", "--amp", "bf16",
        "--cfg-options",
        f"train_dataloader.dataset.root={demo.data / 'unlabelled'}",
        f"train_cfg.max_epochs={demo.budget.epochs}",
        f"randomness.seed={demo.seed}",
        *(f"custom_hooks.0.{part}.root={demo.data / 'classify' / part}" for part in ("train", "val")),
    )  # fmt: skip


def probe(demo: Demo, start: str) -> None:
    """k-NN and linear accuracy of a backbone: random, BYOL or CARE."""
    out = demo.folder / f"probe {start}.json"

    def read() -> dict:
        record = json.loads(out.read_text())["results"]
        return dict(knn=record["knn"]["top1"], linear=record["linear"]["top1"])

    checkpoint = "none" if start == "random" else newest(demo.folder / start)
    demo.step(
        f"probe {start}", "tools/test.py", CLASSIFY, checkpoint, "--seed", str(demo.seed), "--out", out,
        "--train", demo.data / "classify/train", "--val", demo.data / "classify/val",
        read=read,
    )  # fmt: skip


def fine_tune(demo: Demo, task: str, start: str) -> None:
    """Fine-tune a detector or a segmentor from random or CARE weights."""
    detect = task == "detect"
    weights = None
    if start != "random":
        weights = demo.folder / f"{start}_{task}.pth"
        library = "mmdet" if detect else "mmseg"
        demo.step(
            f"export {start} {library}", "tools/export_backbone.py", newest(demo.folder / start), weights,
            "--to", library,
        )  # fmt: skip
    data = demo.data / ("coco" if detect else "voc")
    iters = demo.budget.detect_iters if detect else demo.budget.segment_iters
    folder = demo.folder / f"{task}_{start}"
    names = ("coco/bbox_mAP", "coco/bbox_mAP_50") if detect else ("mIoU",)
    demo.step(
        f"{task} from {start}", "tools/train.py", DETECT if detect else SEGMENT, "--work-dir", folder,
        "--cfg-options",
        f"load_from={weights}",
        f"train_cfg.max_iters={iters}",
        f"train_cfg.val_interval={iters}",
        f"randomness.seed={demo.seed}",
        *(f"{part}_dataloader.dataset.data_root={data}/" for part in ("train", "val", "test")),
        f"train_dataloader.dataset.indices={demo.budget.labels}",
        *([f"{part}_evaluator.ann_file={data}/annotations/instances_val.json" for part in ("val", "test")] if detect else []),
        read=lambda: last_scalars(folder, *names),
    )  # fmt: skip


def attention(demo: Demo) -> Path:
    """Where BYOL and CARE look, side by side."""
    picture = demo.folder / "attention.png"
    demo.step(
        "attention", "tools/attention_maps.py", "--images", demo.data / "coco/val",
        "--checkpoint", newest(demo.folder / "BYOL"), newest(demo.folder / "CARE"),
        "--labels", "without CARE", "with CARE", "--size", "128", "--untrained", "--out", picture,
    )  # fmt: skip
    return picture


def table(results: dict) -> list[list]:
    """Rows of the final table: what was measured, from each start."""
    rows = [
        [
            "k-NN accuracy, 24 classes (%)",
            *(results[f"probe {s}"]["knn"] for s in ("random", "BYOL", "CARE")),
        ],
        [
            "linear accuracy, 24 classes (%)",
            *(results[f"probe {s}"]["linear"] for s in ("random", "BYOL", "CARE")),
        ],
    ]
    for title, task, name, factor in (
        ("detection, box AP (%)", "detect", "coco/bbox_mAP", 100),
        ("detection, box AP50 (%)", "detect", "coco/bbox_mAP_50", 100),
        ("segmentation, mIoU (%)", "segment", "mIoU", 1),
    ):
        values = [results[f"{task} from {s}"][name] * factor for s in ("random", "CARE")]
        rows.append([title, values[0], None, values[1]])
    return rows


def show(rows: list[list]) -> None:
    """Print the table."""
    print(f"\n{'':34}{'random init':>12}{'BYOL':>10}{'CARE':>10}")
    for title, *values in rows:
        print(
            f"{title:34}"
            + "".join(
                "-".rjust(w) if v is None else f"{v:{w}.1f}" for v, w in zip(values, (12, 10, 10))
            )
        )


def write(demo: Demo, rows: list[list], picture: Path) -> Path:
    """The report of the demo: table, attention maps, and the report of the CARE run."""
    from mmssl.visualization.report import ImageSection, Picture, TableSection, write_report
    from mmssl.visualization.run_report import run_sections

    minutes = sum(result["seconds"] for result in demo.results.values()) / 60
    sections = [
        TableSection("What pretraining without labels changed", ["", "random init", "BYOL", "CARE"], rows),
        ImageSection("Where the backbones look", [Picture(picture, "Energy of the last feature map.")]),
        TableSection(
            "Seconds per step", ["step", "seconds"],
            [[name, result["seconds"]] for name, result in demo.results.items()],
        ),
        *run_sections(demo.folder / "CARE"),
    ]  # fmt: skip
    return write_report(
        demo.folder / "report.html", "CARE on Shapes", sections,
        subtitle=f"{demo.budget.images} unlabelled images, {demo.budget.epochs} epochs, "
        f"{demo.budget.labels} labelled images for transfer, seed {demo.seed}, {minutes:.1f} minutes",
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
    draw(demo)
    for method in PRETRAIN:
        pretrain(demo, method)
    for start in ("random", *PRETRAIN):
        probe(demo, start)
    for task in ("detect", "segment"):
        for start in ("random", "CARE"):
            fine_tune(demo, task, start)
    rows = table(demo.results)
    report = write(demo, rows, attention(demo))
    show(rows)
    minutes = sum(result["seconds"] for result in demo.results.values()) / 60
    print(f"\n{minutes:.1f} minutes. Report: {report}")


if __name__ == "__main__":
    main()
