"""The page of a comparison: a table of all methods, the verdicts on the claims, the curves."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmssl.evaluation.claims import Claim, Figures, judge
from mmssl.evaluation.comparison import MEASURES, Comparison
from mmssl.visualization.charts import Chart, Series
from mmssl.visualization.report import CurvesSection, Section, TableSection, write_report
from mmssl.visualization.run_log import read_log

_LINES_PER_CHART = 6


def spread(values: Sequence[float]) -> str | None:
    """Mean and standard deviation of the seeds that have a figure; `None` for none.

    Example:
        >>> spread([1.0, 3.0, float("nan")]), spread([float("nan")])
        ('2.0 +- 1.4', None)
    """
    there = [value for value in values if not math.isnan(value)]
    if not there:
        return None
    deviation = f" +- {statistics.stdev(there):.1f}" if len(there) > 1 else ""
    return f"{statistics.fmean(there):.1f}{deviation}"


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
        width = "" if math.isnan(verdict.half_width) else f" (+- {verdict.half_width:.1f})"
        difference = f"{verdict.mean:+.1f}{width}" if verdict.differences else None
        sides = [claim.better[0], claim.worse[0]]
        if sides[0] == sides[1]:
            sides = [MEASURES[claim.better[1]], MEASURES[claim.worse[1]]]
            measured = f"{claim.better[0]}: {sides[0]} - {sides[1]}"
        else:
            measured = f"{MEASURES[claim.better[1]]}: {sides[0]} - {sides[1]}"
        rows.append([claim.text, claim.source, measured, difference, verdict.word])
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
    seconds: float,
    cores: int,
    failed: Mapping[str, str],
) -> Path:
    """Write `report.html` into the folder of the comparison.

    Args:
        job: The comparison.
        figures: By contestant and measure.
        seeds: Of the figures.
        seconds: Sum over all commands.
        cores: Of the machine.
        failed: Commands that failed and why.
    """
    budget = job.budget
    sections: list[Section] = [
        TableSection(
            "Every method",
            ["", *MEASURES.values()],
            method_rows(figures),
            note=f"Mean and standard deviation over seeds {', '.join(map(str, seeds))}.",
        ),
        TableSection(
            "Claims",
            ["claim", "source", "measured", "difference", "verdict"],
            claim_rows(job.claims, figures),
            note="Differences seed by seed: their mean and its one-sided 95 % interval.",
        ),
        CurvesSection("While pretraining", accuracy_charts(job, list(figures), seeds)),
    ]
    if failed:
        rows = [[name, text.strip().splitlines()[-1][:160]] for name, text in failed.items()]
        sections.append(TableSection("Failed", ["command", "last line"], rows))
    return write_report(
        job.folder / "report.html",
        "Every method side by side",
        sections,
        subtitle=f"{budget.epochs} epochs of {budget.images} images, {budget.labels} labelled images, "
        f"{seconds / 3600:.1f} hours of commands on {cores} cores",
    )
