"""What a comparison found, as one record: its page, its pictures and quotations are made from that."""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mmssl.engine.config import load_config
from mmssl.engine.options import OptionAction
from mmssl.evaluation.claims import Claim, Figures, judge
from mmssl.evaluation.comparison import CURVE, MEASURES, Comparison
from mmssl.evaluation.json_record import plain

Results = Mapping[str, Mapping[str, float]]
"""What the commands of a comparison found, by the name of the command."""

Record = Mapping[str, Any]
"""Of `comparison_record`, or read from its JSON."""

CLAIM_HEADS = ("claim", "source", "measured", "difference", "verdict")


def spread(values: Sequence[float | None]) -> str | None:
    """Mean and standard deviation of the seeds that have a figure (not NaN or None), and how many.

    Returns:
        `None` if there is no figure.

    Example:
        >>> spread([1.0, 3.0]), spread([1.0, 3.0, float("nan")]), spread([float("nan")])
        ('2.0 +- 1.4', '2.0 +- 1.4 (2 of 3)', None)
    """
    there = [value for value in values if value is not None and not math.isnan(value)]
    if not there:
        return None
    deviation = f" +- {statistics.stdev(there):.1f}" if len(there) > 1 else ""
    of = f" ({len(there)} of {len(values)})" if len(there) < len(values) else ""
    return f"{statistics.fmean(there):.1f}{deviation}{of}"


def method_rows(
    figures: Mapping[str, Mapping[str, Sequence[float | None]]],
) -> list[list[str | None]]:
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
    """Views per image of each kind that a contestant trains on; None for an untrained network.

    Args:
        job: The comparison.
        name: Of the contestant.
    """
    contestant = job.contestants[name]
    if not contestant.trains:
        return None
    parser = argparse.ArgumentParser()
    parser.add_argument("options", nargs="*", action=OptionAction)
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


def accuracy_curves(
    names: Sequence[str], seeds: Sequence[int], results: Results
) -> list[dict[str, Any]]:
    """k-NN accuracy over the share of pretraining, in percent both, the mean of the seeds.

    Args:
        names: Contestants.
        seeds: To average.
        results: By command.

    Returns:
        `name`, `x` and `y` of each contestant with a curve.
    """
    curves = []
    for name in names:
        found = [results.get(f"pretrain {name} s{seed}", {}) for seed in seeds]
        points = [
            {float(key[len(CURVE) : -2]): y for key, y in one.items() if key.startswith(CURVE)}
            for one in found
        ]
        points = [one for one in points if one]
        if points:
            x = sorted(set.intersection(*map(set, points)))
            y = [statistics.fmean(one[each] for one in points) for each in x]
            curves.append(dict(name=name, x=x, y=y))
    return curves


def comparison_record(
    job: Comparison,
    figures: Figures,
    seeds: Sequence[int],
    *,
    results: Results,
    commands: Mapping[str, Mapping[str, Any]],
    cores: int,
    code: str,
    failed: Mapping[str, str],
    note: str = "",
) -> dict[str, Any]:
    """Everything that was found, and what it is of, in types of JSON.

    Args:
        job: The comparison.
        figures: By contestant and measure.
        seeds: Of the figures.
        results: By command, with its `seconds`.
        commands: The same with keys and states of the code, from `CommandQueue.kept`.
        cores: Of the machine.
        code: State of the code.
        failed: Commands that failed and why.
        note: What else a reader must know of the figures.

    Returns:
        `budget`, `seeds`, `cores`, `hours` (of all commands), `code`, `note`, `figures` (by
        contestant and measure, None for what was not measured), `claims` (with the `verdict` and the
        `differences` of the seeds), `budgets` (a row for each contestant), `curves`, `failed` and `commands`.
    """
    names = list(figures)
    claims = [
        dict(zip(CLAIM_HEADS, row, strict=True), differences=judge(claim, figures).differences)
        for claim, row in zip(job.claims, claim_rows(job.claims, figures), strict=True)
    ]
    record = dict(
        budget=asdict(job.budget),
        seeds=list(seeds),
        cores=cores,
        hours=sum(result["seconds"] for result in results.values()) / 3600,
        code=code,
        note=note,
        figures=figures,
        claims=claims,
        budgets=budget_rows(job, names, seeds, results),
        curves=accuracy_curves(names, seeds, results),
        failed=failed,
        commands=commands,
    )
    return plain(record)
