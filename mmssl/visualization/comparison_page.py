"""The page of a comparison: a table of all methods, the verdicts on the claims, the curves."""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.config import DictAction

from mmssl.engine.config import load_config
from mmssl.evaluation.claims import Claim, Figures, judge
from mmssl.evaluation.comparison import MEASURES, Comparison
from mmssl.visualization.charts import Chart, Series
from mmssl.visualization.report import CurvesSection, Section, TableSection, write_report
from mmssl.visualization.run_log import read_log

_LINES_PER_CHART = 6
_FIGURES = (
    "Mean and standard deviation over seeds {}. A dash: not measured for this contestant (a small Swin is "
    "not the network of the detector and the segmentor; the last columns are asked of some methods only), "
    "not yet, or failed."
)
_VERDICTS = (
    "Differences seed by seed: their mean and its one-sided 95 % interval, for each claim by itself. Seeds "
    "are the only source of chance: images, labels and sizes are the same for all, so a verdict is one on "
    "this data and this budget."
)
_BUDGETS = (
    "Methods with one view of an image have twice the epochs, and so twice the steps. Small crops count as "
    "views. Minutes are of commands that ran side by side; of an interrupted one, of its last part."
)

Results = Mapping[str, Mapping[str, float]]
"""What the commands of a comparison found, by the name of the command."""


def spread(values: Sequence[float]) -> str | None:
    """Mean and standard deviation of the seeds that have a figure, and how many; `None` for none.

    Example:
        >>> spread([1.0, 3.0]), spread([1.0, 3.0, float("nan")]), spread([float("nan")])
        ('2.0 +- 1.4', '2.0 +- 1.4 (2 of 3)', None)
    """
    there = [value for value in values if not math.isnan(value)]
    if not there:
        return None
    deviation = f" +- {statistics.stdev(there):.1f}" if len(there) > 1 else ""
    of = f" ({len(there)} of {len(values)})" if len(there) < len(values) else ""
    return f"{statistics.fmean(there):.1f}{deviation}{of}"


def method_rows(figures: Figures) -> list[list[str | None]]:
    """A row for each contestant, a cell for each measure."""
    return [
        [name, *(spread(measures[measure]) for measure in MEASURES)]
        for name, measures in figures.items()
    ]


def claim_rows(claims: Sequence[Claim], figures: Figures) -> list[list[str | None]]:
    """A row for each claim: what it says, whose it is, what was measured, by how much, the verdict."""
    rows: list[list[str | None]] = []
    for claim in claims:
        verdict = judge(claim, figures)
        seeds = len(verdict.differences)
        width = f" +- {verdict.half_width:.1f} of {seeds} seeds" if seeds > 1 else " of one seed"
        difference = f"{verdict.mean:+.1f}{width}" if seeds else None
        sides = [claim.better[0], claim.worse[0]]
        if sides[0] == sides[1]:
            sides = [MEASURES[claim.better[1]], MEASURES[claim.worse[1]]]
            measured = f"{claim.better[0]}: {sides[0]} - {sides[1]}"
        else:
            measured = f"{MEASURES[claim.better[1]]}: {sides[0]} - {sides[1]}"
        rows.append([claim.text, claim.source, measured, difference, verdict.word])
    return rows


def views_of(job: Comparison, name: str) -> list[int] | None:
    """Views per image of each kind that a contestant trains on; None for the untrained network.

    Args:
        job: The comparison.
        name: Of the contestant.
    """
    contestant = job.contestants[name]
    if not contestant.config:
        return None
    parser = argparse.ArgumentParser()
    parser.add_argument("options", nargs="*", action=DictAction)
    changes = parser.parse_args(["--", *contestant.options]).options
    config = load_config(job.root / contestant.config, changes or None)
    return [view["num"] for view in config.train_dataloader.dataset.views.views]


def budget_rows(
    job: Comparison, names: Sequence[str], seeds: Sequence[int], results: Results
) -> list[list[str | float | None]]:
    """A row for each trained contestant: epochs, views per image, views in all, minutes of pretraining.

    Args:
        job: The comparison.
        names: Contestants.
        seeds: Whose minutes are averaged.
        results: By command, with its `seconds`.
    """
    rows: list[list[str | float | None]] = []
    for name in names:
        views = views_of(job, name)
        if views is None:
            continue
        epochs = job.budget.epochs * job.contestants[name].epochs
        commands = [results.get(f"pretrain {name} s{seed}") for seed in seeds]
        minutes = [command["seconds"] / 60 for command in commands if command]
        rows.append(
            [
                name,
                str(epochs),
                " + ".join(map(str, views)),
                str(epochs * sum(views) * job.budget.images),
                statistics.fmean(minutes) if minutes else None,
            ]
        )
    return rows


def accuracy_charts(job: Comparison, names: Sequence[str], seeds: Sequence[int]) -> list[Chart]:
    """k-NN accuracy over epochs, the mean of the seeds, a few methods to a chart."""
    series = []
    for name in names:
        folders = [job.run_folder(name, seed) for seed in seeds]
        logs = [read_log(run).curves.get("knn/top1", []) for run in folders if run.is_dir()]
        logs = [log for log in logs if log]
        if logs:
            length = min(map(len, logs))
            x = [logs[0][index][0] for index in range(length)]
            y = [statistics.fmean(log[index][1] for log in logs) for index in range(length)]
            series.append(Series(name, x, y))
    groups = [
        series[start : start + _LINES_PER_CHART]
        for start in range(0, len(series), _LINES_PER_CHART)
    ]
    return [Chart("k-NN accuracy, mean of the seeds", group, y_label="%") for group in groups]


def write_comparison(
    job: Comparison,
    figures: Figures,
    seeds: Sequence[int],
    *,
    results: Results,
    cores: int,
    failed: Mapping[str, str],
    note: str = "",
) -> Path:
    """Write `report.html` into the folder of the comparison.

    Args:
        job: The comparison.
        figures: By contestant and measure.
        seeds: Of the figures.
        results: By command, with its `seconds`.
        cores: Of the machine.
        failed: Commands that failed and why.
        note: What else a reader must know of the figures.
    """
    budget, names = job.budget, list(figures)
    sections: list[Section] = [
        TableSection(
            "Every method",
            ["", *MEASURES.values()],
            method_rows(figures),
            note=f"{_FIGURES.format(', '.join(map(str, seeds)))} {note}".rstrip(),
        ),
        TableSection(
            "Claims",
            ["claim", "source", "measured", "difference", "verdict"],
            claim_rows(job.claims, figures),
            note=_VERDICTS,
        ),
        TableSection(
            "Budget",
            ["", "epochs", "views of an image", "views in all", "minutes of pretraining"],
            budget_rows(job, names, seeds, results),
            note=_BUDGETS,
        ),
        CurvesSection("While pretraining", accuracy_charts(job, names, seeds)),
    ]
    if failed:
        rows = [[name, text.strip().splitlines()[-1][:160]] for name, text in failed.items()]
        sections.append(TableSection("Failed", ["command", "last line"], rows))
    hours = sum(result["seconds"] for result in results.values()) / 3600
    return write_report(
        job.folder / "report.html",
        "Every method side by side",
        sections,
        subtitle=f"{budget.epochs} epochs of {budget.images} images{' in bfloat16' if budget.amp else ''}, "
        f"{budget.labels} labelled images, "
        f"{hours:.1f} hours of commands on {cores} cores",
    )
