"""Line charts as inline SVG: crisp at every size, a few kilobytes each, readable without scripts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

WIDTH, HEIGHT = 440, 250
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 10, 34
MAX_POINTS = 300
LOG_SPAN = 100.0
MOST_DOTS = 40


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        name: What the legend says.
        x: Positions, increasing.
        y: One value per position; non-finite values leave a gap in the line.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ValueError(
                f"Series {self.name!r} has {len(self.x)} positions but {len(self.y)} values."
            )


@dataclass(frozen=True)
class Chart:
    """Lines that share their axes.

    Attributes:
        title: Heading above the chart.
        series: The lines, at least one.
        x_label: Name of the horizontal axis.
        y_label: Name of the vertical axis; may be empty.
        note: A sentence below the chart; may be empty.
    """

    title: str
    series: Sequence[Series]
    x_label: str = "epoch"
    y_label: str = ""
    note: str = ""


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers that cover [low, high].

    Example:
        >>> ticks(0, 10)
        [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    if not high > low:
        return [low]
    rough = (high - low) / count
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def thin_out(
    x: Sequence[float], y: Sequence[float], limit: int = MAX_POINTS
) -> tuple[list[float], list[float]]:
    """At most `limit` points: the mean of each of `limit` equal stretches of the line.

    A stretch with a non-finite value becomes non-finite, so a gap never disappears.

    Example:
        >>> thin_out([0, 1, 2, 3], [1, 3, 5, 7], limit=2)
        ([0.5, 2.5], [2.0, 6.0])
    """
    if len(x) <= limit:
        return list(x), list(y)
    edges = [round(index * len(x) / limit) for index in range(limit + 1)]
    return (
        [sum(x[start:stop]) / (stop - start) for start, stop in pairwise(edges)],
        [sum(y[start:stop]) / (stop - start) for start, stop in pairwise(edges)],
    )


def short(value: float) -> str:
    """A number in at most about six characters.

    Example:
        >>> short(0.123456), short(51200), short(3e-05), short(2.0)
        ('0.1235', '51.2k', '3e-05', '2')
    """
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:.4g}M"
    if size >= 1e4:
        return f"{value / 1e3:.4g}k"
    return f"{value:.4g}"


def _vertical_scale(values: list[float]) -> tuple[float, float, bool, list[float]]:
    """Lower end, upper end, whether the axis is logarithmic, and its ticks."""
    low, high = min(values), max(values)
    if low > 0 and high / low > LOG_SPAN:
        bottom, top = math.floor(math.log10(low)), math.ceil(math.log10(high))
        every = max(1, math.ceil((top - bottom) / 6))
        return bottom, top, True, [10.0**power for power in range(bottom, top + 1, every)]
    if 0 <= low < 0.5 * high:
        low = 0.0
    margin = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    low, high = (low if low == 0.0 else low - margin), high + margin
    return low, high, False, ticks(low, high)


def _segments(points: list[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """Runs of points without a non-finite value."""
    runs: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if math.isfinite(point[1]):
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _line(name: str, index: int, points: list[tuple[float, float, float, float]]) -> str:
    """A line through (pixel x, pixel y, x, y), with gaps where y is not finite; dots if there are few."""
    shape = []
    for run in _segments([(left, down) for left, down, _, _ in points]):
        dots = [f"{left:.1f},{down:.1f}" for left, down in run]
        shape.append(f"M{dots[0]}h.01" if len(run) == 1 else "M" + "L".join(dots))
    finite = [point for point in points if math.isfinite(point[3])]
    values = " ".join(f"{left:.1f},{down:.1f},{x:.6g},{y:.6g}" for left, down, x, y in finite)
    label, colour = escape(name), f"var(--line-{index % 6})"
    path = (
        f'<path class="line" style="stroke:{colour}" d="{"".join(shape)}" data-name="{label}" '
        f'data-values="{values}"><title>{label}</title></path>'
    )
    if len(finite) > MOST_DOTS:
        return path
    return path + "".join(
        f'<circle r="2.4" cx="{left:.1f}" cy="{down:.1f}" style="fill:{colour}"/>'
        for left, down, _, _ in finite
    )


def line_chart(chart: Chart) -> str:
    """`chart` as an HTML figure with an inline SVG.

    The axis of the values is logarithmic when they are positive and span more than two decades.
    Colours come from the CSS variables `--line-0` .. `--line-5` of the page.

    Raises:
        ValueError: No line has a finite value.
    """
    thinned = [(series.name, *thin_out(series.x, series.y)) for series in chart.series]
    finite_y = [value for _, _, ys in thinned for value in ys if math.isfinite(value)]
    if not finite_y:
        raise ValueError(f"Chart {chart.title!r} has no finite value to draw.")
    all_x = [value for _, xs, _ in thinned for value in xs]
    x_low, x_high = min(all_x), max(all_x)
    if x_low == x_high:
        x_low, x_high = x_low - 0.5, x_high + 0.5
    y_low, y_high, is_log, y_ticks = _vertical_scale(finite_y)

    def to_x(value: float) -> float:
        return LEFT + (value - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def to_y(value: float) -> float:
        scaled = math.log10(value) if is_log else value
        return HEIGHT - BOTTOM - (scaled - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.title)}" '
        f'data-xlabel="{escape(chart.x_label)}">'
    ]
    for tick in y_ticks:
        y = to_y(tick)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{LEFT - 7}" y="{y + 3.5:.1f}" text-anchor="end">{short(tick)}</text>'
        )
    base = HEIGHT - BOTTOM
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    for tick in ticks(x_low, x_high, 6):
        parts.append(
            f'<line class="axis" x1="{to_x(tick):.1f}" x2="{to_x(tick):.1f}" y1="{base}" '
            f'y2="{base + 4}"/><text class="tick" x="{to_x(tick):.1f}" y="{base + 16}" '
            f'text-anchor="middle">{short(tick)}</text>'
        )
    parts.append(
        f'<text class="tick" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">'
        f"{escape(chart.x_label)}</text>"
    )
    for index, (name, xs, ys) in enumerate(thinned):
        points = [
            (to_x(x), to_y(y) if math.isfinite(y) else y, x, y) for x, y in zip(xs, ys, strict=True)
        ]
        parts.append(_line(name, index, points))
    parts.append("</svg>")
    legend = "".join(
        f'<span><i style="background:var(--line-{index % 6})"></i>{escape(name)} '
        f"<b>{short(_last_finite(ys))}</b></span>"
        for index, (name, _, ys) in enumerate(thinned)
    )
    unit = f" <small>{escape(chart.y_label)}</small>" if chart.y_label else ""
    scale = " <small>log scale</small>" if is_log else ""
    note = f'<p class="note">{escape(chart.note)}</p>' if chart.note else ""
    return (
        f'<figure class="chart"><figcaption>{escape(chart.title)}{unit}{scale}</figcaption>'
        f'{"".join(parts)}<div class="legend">{legend}</div>{note}</figure>'
    )


def _last_finite(values: Sequence[float]) -> float:
    return next((value for value in reversed(values) if math.isfinite(value)), math.nan)
