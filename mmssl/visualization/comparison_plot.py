"""The figures of a comparison as a picture: a row for each method, a panel for each measure."""

from __future__ import annotations

import statistics
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmssl.evaluation.comparison import MEASURES
from mmssl.visualization.comparison_record import Record

_PANELS = ("knn", "linear", "detect", "segment")
_COLOUR, _REFERENCE = "#2f5d9b", "#b0b6bd"


def plot_comparison(record: Record, path: str | Path) -> None:
    """Draw means over seeds as dots and single seeds as small ones; a line marks the untrained network.

    Methods and measures without a figure are left out.

    Args:
        record: From `comparison_record`.
        path: Of the picture; the suffix says the format.

    Raises:
        ValueError: Nothing was measured.
    """
    figures = record["figures"]
    panels = {
        measure: {
            name: [value for value in one[measure] if value is not None]
            for name, one in figures.items()
        }
        for measure in _PANELS
    }
    panels = {measure: rows for measure, rows in panels.items() if any(rows.values())}
    if not panels:
        raise ValueError("There is no figure to draw.")
    names = [name for name in figures if any(rows[name] for rows in panels.values())][::-1]
    figure = Figure(
        figsize=(1.6 + 2.3 * len(panels), 0.9 + 0.21 * len(names)), layout="constrained"
    )
    FigureCanvasAgg(figure)
    grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (measure, rows) in zip(grid, panels.items(), strict=True):
        if rows.get("untrained"):
            axes.axvline(statistics.fmean(rows["untrained"]), color=_REFERENCE, linewidth=1)
        for place, name in enumerate(names):
            values = rows[name]
            if values:
                axes.plot(
                    values, [place] * len(values), ".", color=_COLOUR, alpha=0.4, markersize=5
                )
                axes.plot(statistics.fmean(values), place, "o", color=_COLOUR, markersize=6)
        axes.set_title(MEASURES[measure], fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_yticks(range(len(names)), names)
    figure.axes[0].set_ylim(-0.6, len(names) - 0.4)
    figure.savefig(path, dpi=130)
