"""Accuracy over inference time: the curve on which a faster or better network lies above the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_COLOURS = ("#2f5d9b", "#c2512f", "#3f8f5f", "#7a5299", "#b08a1e", "#5b6470")
_MARKERS = "osD^vP"


class Point(NamedTuple):
    """One network under one condition.

    Attributes:
        name: Of the network, beside its point.
        family: Networks of one family share a colour and are joined by a line.
        milliseconds: For an image.
        accuracy: In percent.
    """

    name: str
    family: str
    milliseconds: float
    accuracy: float


def plot_time_accuracy(panels: dict[str, Sequence[Point]], path: str | Path) -> None:
    """Draw a panel for each condition side by side, accuracy over milliseconds, as a picture.

    Args:
        panels: Points by the title of their panel, at least one panel with a point.
        path: Of the picture; the suffix says the format.

    Raises:
        ValueError: No point.
    """
    filled = {title: points for title, points in panels.items() if points}
    if not filled:
        raise ValueError("There is no network with a time and an accuracy to draw.")
    figure = Figure(figsize=(4.6 * len(filled), 3.9), layout="constrained")
    FigureCanvasAgg(figure)
    families = list(dict.fromkeys(p.family for points in filled.values() for p in points))
    for axes, (title, points) in zip(
        figure.subplots(1, len(filled), squeeze=False, sharey=True)[0], filled.items(), strict=True
    ):
        for number, family in enumerate(families):
            members = sorted(
                (p for p in points if p.family == family), key=lambda p: p.milliseconds
            )
            axes.plot(
                [p.milliseconds for p in members],
                [p.accuracy for p in members],
                color=_COLOURS[number % len(_COLOURS)],
                marker=_MARKERS[number % len(_MARKERS)],
                label=family,
            )
            for p in members:
                axes.annotate(
                    p.name,
                    (p.milliseconds, p.accuracy),
                    (5, -11),
                    textcoords="offset points",
                    fontsize=7,
                )
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("ms per image")
        axes.set_xlim(0, 1.3 * max(p.milliseconds for p in points))  # room for the last name
        axes.margins(y=0.12)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    first = figure.axes[0]
    first.set_ylabel("ImageNet top-1 (%)")
    first.legend(fontsize=7, frameon=False, loc="lower right")
    figure.savefig(path, dpi=150)
