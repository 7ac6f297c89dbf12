"""Claims and verdicts: what seeds can decide, and what they cannot."""

from __future__ import annotations

import math

import pytest
import torch

from mmssl.evaluation.claims import Claim, interval, judge

NAN = float("nan")


def claim(**options) -> Claim:
    return Claim("a is more than b", "an article", ("a", "knn"), ("b", "knn"), **options)


def figures(a: list[float], b: list[float]) -> dict:
    return dict(a=dict(knn=a), b=dict(knn=b))


@pytest.mark.parametrize(
    ("a", "b", "options", "word"),
    [
        ([12.0, 13.0, 12.5], [10.0, 11.1, 10.4], {}, "holds"),
        ([10.0, 11.1, 10.4], [12.0, 13.0, 12.5], {}, "contradicted"),
        ([12.0, 9.0, 12.5], [10.0, 11.0, 10.4], {}, "undecided"),
        ([12.0, 9.0, 12.5], [10.0, 11.0, 10.4], dict(margin=20.0), "holds"),
        ([12.0, 13.0, 12.5], [10.0, 11.1, 10.4], dict(margin=1.0), "contradicted"),
        ([12.0, 13.0, 12.5], [10.0, 11.1, 10.4], dict(margin=2.1), "undecided"),
        ([12.0, 13.0, 12.5], [10.0, 11.1, 10.4], dict(smaller_is_better=True), "contradicted"),
        ([12.0], [10.0], {}, "one seed decides nothing"),
        ([12.0], [12.0], dict(margin=3.0), "one seed decides nothing"),
        ([12.0, NAN, 12.4], [NAN, 10.0, 11.0], {}, "one seed decides nothing"),
        ([], [1.0], {}, "not measured"),
        ([NAN], [1.0], {}, "not measured"),
        ([5.0, 5.0], [5.0, 5.0], {}, "undecided"),
    ],
)
def test_values_verdicts(a, b, options, word) -> None:
    assert judge(claim(**options), figures(a, b)).word == word


def test_values_differences_are_paired() -> None:
    """Seeds that are good for both say nothing: what varies is the difference."""
    verdict = judge(claim(), figures([10.0, 30.0, 50.0], [9.0, 28.9, 49.0]))
    assert verdict.word == "holds" and verdict.mean == pytest.approx(1.0333, abs=1e-3)
    assert judge(claim(), {}).word == "not measured" and math.isnan(judge(claim(), {}).mean)


def test_values_interval_covers_the_mean_in_95_of_100() -> None:
    generator = torch.Generator().manual_seed(0)
    for size in (2, 3, 5, 12):
        samples = torch.randn(4000, size, generator=generator, dtype=torch.float64).tolist()
        above = sum(sum(sample) / size - interval(sample) < 0 for sample in samples)
        assert above / 4000 == pytest.approx(0.95, abs=0.015), size
    assert math.isnan(interval([1.0]))
