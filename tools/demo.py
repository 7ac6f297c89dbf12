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
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from mmssl.engine.code_state import code_state
from mmssl.engine.command_plan import Command
from mmssl.engine.command_queue import CommandQueue, last_scalars, newest_checkpoint

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


def fingerprint_of(data: Path, budget: Budget) -> str:
    """What the results of a demo depend on: code, configs, data folder, budget."""
    code = code_state(ROOT, ("mmssl", "configs", "tools"))
    return hashlib.sha256(repr((str(data.resolve()), budget, code)).encode()).hexdigest()


@dataclass(frozen=True)
class Demo:
    """What the commands of a demo have in common.

    Attributes:
        folder: Where everything goes.
        data: The drawn images.
        budget: How much of everything.
        seed: Of all runs.
    """

    folder: Path
    data: Path
    budget: Budget
    seed: int


def make_folder(demo: Demo) -> None:
    """Move results of other code, data or budget aside: they are never mixed in."""
    made_by = demo.folder / "made_by.txt"
    fingerprint = fingerprint_of(demo.data, demo.budget)
    if made_by.exists() and made_by.read_text() == fingerprint:
        return
    if demo.folder.is_dir() and any(demo.folder.iterdir()):
        now = time.strftime("%Y%m%d_%H%M%S")
        old = demo.folder.with_name(f"{demo.folder.name}_until_{now}")
        demo.folder.rename(old)
        print(f"The results there were of other code, data or budget: they are in {old} now.")
    demo.folder.mkdir(parents=True, exist_ok=True)
    made_by.write_text(fingerprint)


def draw(demo: Demo) -> Command:
    """Draw the images."""
    number = str(demo.budget.images)
    words = ["tools/make_shapes.py", demo.data, "--num-unlabelled", number]
    return Command("draw", lambda: words, always=True)


def pretrain(demo: Demo, method: str) -> Command:
    """Pretrain a method without labels; an interrupted run is resumed."""
    folders = [
        f"custom_hooks.0.{part}.root={demo.data / 'classify' / part}" for part in ("train", "val")
    ]
    command = [
        "tools/train.py", PRETRAIN[method], "--work-dir", demo.folder / method, "--resume",
        "--cfg-options", f"train_dataloader.dataset.root={demo.data / 'unlabelled'}",
        f"train_cfg.max_epochs={demo.budget.epochs}", f"randomness.seed={demo.seed}", *folders,
    ]  # fmt: skip
    return Command(f"pretrain {method}", lambda: command, after=["draw"])


def probe(demo: Demo, start: str) -> Command:
    """k-NN and linear accuracy of a backbone: random, BYOL or CARE."""
    out = demo.folder / f"probe_{start}.json"

    def read() -> dict[str, float]:
        results = json.loads(out.read_text())["results"]
        return dict(knn=results["knn"]["20"]["top1"], linear=results["linear"]["top1"])

    def words() -> list[str | Path]:
        checkpoint = "none" if start == "random" else newest_checkpoint(demo.folder / start)
        return [
            "tools/test.py", CLASSIFY, checkpoint, "--seed", str(demo.seed), "--out", out, "--size", "64",
            "--train", demo.data / "classify/train", "--val", demo.data / "classify/val",
        ]  # fmt: skip

    return Command(
        f"probe {start}", words, read, after=["draw" if start == "random" else f"pretrain {start}"]
    )


def export(demo: Demo, library: str) -> Command:
    """Write the CARE backbone for mmdet or mmseg, with the proof that it is the same."""
    out = demo.folder / f"care_{library}.pth"

    def words() -> list[str | Path]:
        checkpoint = newest_checkpoint(demo.folder / "CARE")
        return ["tools/export_backbone.py", checkpoint, out, "--to", library]

    return Command(f"export to {library}", words, after=["pretrain CARE"])


def detect(demo: Demo, start: str) -> Command:
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
    return Command(
        f"detect from {start}",
        lambda: command,
        lambda: last_scalars(folder, {"coco/bbox_mAP": 1.0, "coco/bbox_mAP_50": 1.0}, absent=0.0),
        after=["draw" if start == "random" else "export to mmdet"],
    )


def segment(demo: Demo, start: str) -> Command:
    """Fine-tune a segmentor from random or CARE weights on few labelled images."""
    folder, data = demo.folder / f"segment_{start}", demo.data / "voc"
    command = [
        "tools/train.py", SEGMENT, "--work-dir", folder, "--cfg-options",
        *transfer_options(demo, start, "mmseg", data, demo.budget.segment_iters),
    ]  # fmt: skip
    return Command(
        f"segment from {start}",
        lambda: command,
        lambda: last_scalars(folder, {"mIoU": 1.0}),
        after=["draw" if start == "random" else "export to mmseg"],
    )


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


def attention(demo: Demo) -> Command:
    """Where an untrained backbone, BYOL and CARE look, side by side."""

    def words() -> list[str | Path]:
        checkpoints = [newest_checkpoint(demo.folder / method) for method in ("BYOL", "CARE")]
        return [
            "tools/attention_maps.py", "--images", demo.data / "coco/val",
            "--checkpoint", *checkpoints, "--labels", "without CARE", "with CARE",
            "--untrained", "--size", "128", "--out", demo.folder / "attention.png",
        ]  # fmt: skip

    return Command("attention", words, after=[f"pretrain {method}" for method in PRETRAIN])


def commands(demo: Demo) -> list[Command]:
    """Everything, in an order in which neighbours may run side by side."""
    return [
        draw(demo),
        *(pretrain(demo, method) for method in PRETRAIN),
        *(probe(demo, start) for start in ("random", *PRETRAIN)),
        *(export(demo, library) for library in ("mmdet", "mmseg")),
        *(detect(demo, start) for start in ("random", "CARE")),
        *(segment(demo, start) for start in ("random", "CARE")),
        attention(demo),
    ]


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


def write(demo: Demo, results: dict, rows: list[list]) -> Path:
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
            [[name, result["seconds"]] for name, result in results.items()],
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
    try:
        make_folder(demo)
        queue = CommandQueue(demo.folder, ROOT, os.cpu_count() or 1)
        queue.run(commands(demo))
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command goes on.")
    except OSError as error:
        sys.exit(f"error: {error}")
    for name, text in queue.failed.items():
        print(f"\n{name}:\n{text}")
    if queue.failed:
        sys.exit(f"Failed: {', '.join(queue.failed)}; whole outputs are in {demo.folder}.")
    rows = table(queue.results)
    report = write(demo, queue.results, rows)
    show(rows)
    print(f"\n{(time.monotonic() - start) / 60:.1f} minutes. Report: {report}")


if __name__ == "__main__":
    main()
