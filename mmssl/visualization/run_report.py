"""The report of one run, built from the files of its work directory and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmssl.visualization.report import (
    BarsSection,
    CodeSection,
    CurvesSection,
    ImageSection,
    Picture,
    Section,
    TableSection,
    TextSection,
    Tile,
    TilesSection,
    Tone,
    write_report,
)
from mmssl.visualization.run_card import read_card
from mmssl.visualization.run_log import RunLog, charts_of, read_log

REPORT_NAME = "report.html"
PICTURES = "report_pictures"
# File name -> (section title, caption). ReportHook draws them.
PICTURE_ROLES = {
    "views.png": (
        "What the network sees",
        "Originals on the left, then the views that the augmentations made of them.",
    ),
    "attention.png": (
        "Where the network looks",
        "Energy of the last feature map of the backbone, before and after training (blue: low, red: "
        "high; each image on its own scale).",
    ),
}
# Above this share the loader, not the network, sets the pace.
BUSY_DATA_WAIT = 20.0
# Name of a validation result in the log -> (title, factor that makes it per cent).
TRANSFER_RESULTS = {
    "coco/bbox_mAP": ("box AP", 100.0),
    "coco/segm_mAP": ("mask AP", 100.0),
    "pascal_voc/mAP": ("VOC AP", 100.0),
    "mIoU": ("mIoU", 1.0),
}
PHASE_ORDER = (
    "step", "data", "iteration hooks", "evaluation", "checkpoints", "epoch hooks", "start", "finish",
)  # fmt: skip
PHASE_TITLES = {
    "step": "training steps",
    "data": "waiting for data",
    "iteration hooks": "logging and schedulers",
    "evaluation": "evaluation at epoch ends",
    "checkpoints": "checkpoints and this report",
    "epoch hooks": "start of epochs",
    "start": "start-up",
    "finish": "end of the run",
}


def write_run_report(
    work_dir: str | Path, out: str | Path | None = None, extra: Sequence[Section] = ()
) -> Path:
    """Write the report of the run in `work_dir`.

    Args:
        work_dir: The directory of a run (of `tools/train.py`).
        out: Where the page goes; default `work_dir/report.html`.
        extra: Further sections, put behind the curves: a transfer table, for instance.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: `work_dir` holds neither a run card nor logs.
    """
    work_dir = Path(work_dir)
    card = read_card(work_dir)
    log = read_log(work_dir, card.get("iters_per_epoch") if card.get("by_epoch", True) else None)
    if not card and not log.curves:
        raise FileNotFoundError(
            f"{work_dir} has neither run_card.json nor */vis_data/scalars.json; give the work "
            "directory of a run of tools/train.py (its LocalVisBackend writes the logs)."
        )
    verdict, tone = verdict_of(card, log)
    return write_report(
        out or work_dir / REPORT_NAME,
        card.get("name", work_dir.name),
        run_sections(work_dir, card, log, extra),
        verdict=verdict,
        tone=tone,
        subtitle=_subtitle(card),
    )


def run_sections(
    work_dir: Path, card: dict[str, Any], log: RunLog, extra: Sequence[Section] = ()
) -> list[Section]:
    """The sections of a run's report, without those that there is nothing to fill with."""
    sections: list[Section] = [TilesSection("At a glance", _tiles(card, log))]
    if card.get("alarms"):
        texts = [
            f"Since iteration {alarm['since']}: {alarm['fault']}: {alarm['detail']}"
            for alarm in card["alarms"]
        ]
        sections.append(TextSection("Alarms", texts, tone="bad"))
    elif card.get("watched"):
        sections.append(
            TextSection("Alarms", [f"None. The collapse doctor watched {card['watched']}."], "good")
        )
    charts = charts_of(log)
    if charts:
        sections.append(CurvesSection("Curves", charts))
    sections.extend(extra)
    for name, (title, caption) in PICTURE_ROLES.items():
        path = work_dir / PICTURES / name
        if path.is_file():
            sections.append(ImageSection(title, [Picture(path, caption)]))
    if card.get("sessions"):
        sections.append(_time_section(card))
    if card.get("checkpoints"):
        sections.append(
            TableSection(
                "Checkpoints",
                ["file", "MB", "SHA-256"],
                [[row["file"], row["bytes"] / 1e6, row["sha256"]] for row in card["checkpoints"]],
            )
        )
    if card.get("settings"):
        rows = [[key, str(value)] for key, value in card["settings"].items()]
        sections.append(TableSection("Settings", ["", ""], rows))
    if card.get("environment"):
        sections.append(_environment_section(card["environment"]))
    config = _config_of(work_dir)
    if config is not None:
        sections.append(
            CodeSection("Config", config.read_text(encoding="utf-8"), "The exact, resolved config")
        )
    return sections


def verdict_of(card: dict[str, Any], log: RunLog) -> tuple[str, Tone]:
    """The sentence that says how the run went, and its colour."""
    parts = [_state(card)]
    tones: dict[str, Tone] = {"finished": "good", "interrupted": "warning"}
    tone: Tone = tones.get(card.get("state", ""), "plain")
    for title, points in _results(log):
        first, last = points[0][1], points[-1][1]
        if len(points) > 1:
            parts.append(f"{title} went from {first:.1f} to {last:.1f} %.")
        else:
            parts.append(f"{title} is {last:.1f} %.")
    wait = card.get("data_wait")
    if wait is not None and wait > BUSY_DATA_WAIT:
        tone = "warning"
        parts.append(f"{wait:.0f} % of the loop waited for data: the loader sets the pace.")
    if any(not math.isfinite(value) for _, value in log.curves.get("loss", [])):
        tone = "bad"
        parts.append("The loss was not finite at times.")
    if card.get("state") == "stopped":
        tone = "warning"
    alarms = card.get("alarms", [])
    if alarms:
        tone = "bad"
        names = ", ".join(dict.fromkeys(alarm["fault"] for alarm in alarms))
        parts.append(f"{len(alarms)} alarm{'s' if len(alarms) > 1 else ''}: {names}.")
    return " ".join(part for part in parts if part), tone


def duration(seconds: float) -> str:
    """Seconds for people.

    Example:
        >>> duration(12.34), duration(75), duration(7322)
        ('12.3 s', '1 min 15 s', '2 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 10:
        return f"{minutes} min {rest} s"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def total_seconds(card: dict[str, Any]) -> dict[str, float]:
    """Seconds per phase, added up over the sessions of a run."""
    totals: dict[str, float] = {}
    for session in card.get("sessions", []):
        for phase, seconds in session["seconds"].items():
            totals[phase] = totals.get(phase, 0.0) + seconds
    return totals


def _state(card: dict[str, Any]) -> str:
    if not card:
        return ""
    if card.get("by_epoch", True):
        unit = card.get("epochs_are", "epochs")
        done, whole = card["epoch"], card["max_epochs"]
    else:
        unit, done, whole = "iterations", card["iter"], card["max_iters"]
    spent = sum(total_seconds(card).values())
    # A run that was killed cannot say so: its card is that of a run under way.
    words = {
        "finished": "Finished",
        "stopped": "Stopped early",
        "interrupted": f"Ended by {card.get('ended_by', 'an error')}",
        "running": "Not finished",
    }
    time = f" in {duration(spent)}" if spent else ""
    return f"{words[card['state']]}: {done} of {whole} {unit}{time}."


def _subtitle(card: dict[str, Any]) -> str:
    if not card.get("sessions"):
        return ""
    first = card["sessions"][0]
    resumes = len(card["sessions"]) - 1
    again = f", resumed {resumes} time{'s' if resumes > 1 else ''}" if resumes else ""
    return f"{card['method']}, started {first['started']}{again}"


def _results(log: RunLog) -> list[tuple[str, list[tuple[float, float]]]]:
    """What a run is judged by: (title, finite points in per cent) of each result it logged."""
    found = []
    for name, curve in log.curves.items():
        title, scale = TRANSFER_RESULTS.get(name, ("", 1.0))
        if name.startswith("knn") and name.endswith("top1"):
            title = name.replace("knn/", "k-NN ").replace("_", " ").replace("top1", "top-1")
        if name.startswith("correspondence") and name.endswith("accuracy"):
            title = name.replace("/", " ").replace("_", " ").capitalize()
            scale = 100.0
        points = [(position, scale * value) for position, value in curve if math.isfinite(value)]
        if title and points:
            found.append((title, points))
    return found


def _tiles(card: dict[str, Any], log: RunLog) -> list[Tile]:
    tiles = []
    for title, points in _results(log)[:2]:
        best = max(points, key=lambda point: point[1])
        where = f"best {best[1]:.1f} at {log.x_label} {best[0]:g}"
        tiles.append(Tile(title, f"{points[-1][1]:.1f} %", where))
    loss = log.last("loss")
    if loss is not None:
        start = next((v for _, v in log.curves["loss"] if math.isfinite(v)), loss)
        tiles.append(Tile("loss", f"{loss:.4g}", f"started at {start:.4g}"))
    if card:
        spent = sum(total_seconds(card).values())
        left = ""
        if card["state"] == "running" and card["iter"]:
            left = f"{duration(spent / card['iter'] * (card['max_iters'] - card['iter']))} to go"
        tiles.append(Tile("time", duration(spent), left))
        if card.get("images_per_second"):
            tiles.append(Tile("speed", f"{card['images_per_second']:.1f}", "images per second"))
        wait = card.get("data_wait")
        if wait is not None:
            tone: Tone = "warning" if wait > BUSY_DATA_WAIT else "plain"
            tiles.append(Tile("waiting for data", f"{wait:.1f} %", "of the training loop", tone))
        if card.get("watched") or card.get("alarms"):
            alarms = len(card.get("alarms", []))
            tiles.append(Tile("alarms", str(alarms), "", "bad" if alarms else "good"))
    return tiles


def _time_section(card: dict[str, Any]) -> Section:
    totals = total_seconds(card)
    names = [name for name in PHASE_ORDER if totals.get(name, 0.0) > 0]
    wait = card.get("data_wait")
    note = "" if wait is None else (
        f"{wait:.1f} % of the training loop (steps, data, logging) was spent waiting for data."
    )  # fmt: skip
    if wait is not None and wait > BUSY_DATA_WAIT:
        note += (
            " More loader workers, smaller source files, or the photometric half of the views on the "
            "training device help."
        )
    return BarsSection("Time", [(PHASE_TITLES[name], totals[name]) for name in names], note=note)


def _environment_section(environment: dict[str, Any]) -> Section:
    versions = ", ".join(f"{name} {number}" for name, number in environment["versions"].items())
    accelerators = ", ".join(environment["accelerators"]) or "none"
    processor = (
        f"{environment['processor']}, {environment['cpu_count']} CPUs, "
        f"{environment['threads']} threads"
    )
    return TableSection(
        "Environment",
        ["", ""],
        [
            ["versions", versions],
            ["processor", processor],
            ["accelerators", accelerators],
            ["platform", environment["platform"]],
            ["command", " ".join(environment["command"])],
        ],
    )


def _config_of(work_dir: Path) -> Path | None:
    """The config that the newest session dumped beside its scalars."""
    return next(iter(sorted(work_dir.glob("*/vis_data/config.py"), reverse=True)), None)
