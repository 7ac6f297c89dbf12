"""Claims of articles as sentences that measured figures can hold up or contradict."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Figures = Mapping[str, Mapping[str, Sequence[float]]]
"""Figures by contestant and measure, one for each seed, in the order of the seeds."""

# One-sided 95 % quantiles of Student's t with 1, 2, ... degrees of freedom.
_T95 = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833)
_T95_OF_MORE = 1.812


@dataclass(frozen=True)
class Claim:
    """One figure is larger than another, or equal to it.

    Attributes:
        text: The claim in a sentence.
        source: Whose it is.
        better: Contestant and measure of the figure that is said to be larger.
        worse: The other one.
        margin: For a claim that both are equal: the largest difference that still counts as that.
        smaller_is_better: Whether the better figure is the smaller one.
    """

    text: str
    source: str
    better: tuple[str, str]
    worse: tuple[str, str]
    margin: float | None = None
    smaller_is_better: bool = False


@dataclass(frozen=True)
class Verdict:
    """What the figures say to a claim.

    Attributes:
        word: `holds`, `contradicted`, `undecided`, `one seed decides nothing` or `not measured`.
        differences: Better less worse for each seed that has both; turned round where smaller is better.
        half_width: Of the one-sided 95 % interval of their mean; NaN for fewer than two seeds.
    """

    word: Literal["holds", "contradicted", "undecided", "one seed decides nothing", "not measured"]
    differences: Sequence[float]
    half_width: float

    @property
    def mean(self) -> float:
        """Mean difference; NaN if nothing was measured."""
        return statistics.fmean(self.differences) if self.differences else math.nan


def interval(values: Sequence[float]) -> float:
    """How far the mean of a normal population may lie beside the mean of a sample, one-sided, at 95 %.

    t(0.95, n - 1) * s / sqrt(n)

    Args:
        values: The sample.

    Returns:
        NaN for fewer than two values.

    Example:
        >>> round(interval([1.0, 2.0, 3.0]), 3)
        1.686
    """
    freedom = len(values) - 1
    if freedom < 1:
        return math.nan
    quantile = _T95[freedom - 1] if freedom <= len(_T95) else _T95_OF_MORE
    return quantile * statistics.stdev(values) / math.sqrt(len(values))


def judge(claim: Claim, figures: Figures) -> Verdict:
    """Whether measured figures hold a claim up, with the seeds as the only source of chance.

    Differences are taken seed by seed. A claim of more holds if their mean is above 0 by more than
    `interval`, and is contradicted if it is below by as much. A claim of equality holds if the mean and the
    interval around it lie within the margin, and is contradicted if both lie outside. So each of the two
    wrong verdicts on a claim has a chance of 5 % at most; over several claims these add up. One seed decides
    nothing.

    Args:
        claim: The claim.
        figures: By contestant and measure; NaN where a seed has none.

    Example:
        >>> claim = Claim("a is more", "an article", ("a", "knn"), ("b", "knn"))
        >>> judge(claim, dict(a=dict(knn=[9.0, 9.5]), b=dict(knn=[5.0, 5.4]))).word
        'holds'
        >>> judge(claim, dict(a=dict(knn=[9.0]), b=dict(knn=[5.0]))).word
        'one seed decides nothing'
    """
    sides = [
        figures.get(name, {}).get(measure, ()) for name, measure in (claim.better, claim.worse)
    ]
    sign = -1.0 if claim.smaller_is_better else 1.0
    pairs = [
        (a, b) for a, b in zip(*sides, strict=False) if not math.isnan(a) and not math.isnan(b)
    ]
    differences = [sign * (a - b) for a, b in pairs]
    half = interval(differences)
    if not differences:
        return Verdict("not measured", differences, half)
    if math.isnan(half):
        return Verdict("one seed decides nothing", differences, half)
    mean = statistics.fmean(differences)
    if claim.margin is None:
        size, holds = abs(mean), mean > 0
        decided = size > half
    else:
        low, high = abs(mean) - half, abs(mean) + half
        holds = high <= claim.margin
        decided = holds or low > claim.margin
    if not decided:
        return Verdict("undecided", differences, half)
    return Verdict("holds" if holds else "contradicted", differences, half)
