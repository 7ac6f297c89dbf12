"""The page of a comparison, in HTML or Markdown: figures of all methods, verdicts on the claims, curves."""

from __future__ import annotations

from pathlib import Path

from mmssl.evaluation.comparison import MEASURES
from mmssl.visualization.charts import Chart, Series
from mmssl.visualization.comparison_record import CLAIM_HEADS, Record, method_rows
from mmssl.visualization.report import CurvesSection, Section, TableSection, write_report
from mmssl.visualization.side_by_side import markdown_table

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

_INTRODUCTION = """\
This page is written by `tools/compare.py --page` from what it measured; nothing in it is typed. Each method
pretrains a small network on Shapes, the images that [tools/make_shapes.py](tools.md#toolsmake_shapespy)
draws, with an equal budget; then its features are measured, and a detector and a segmentor are fine-tuned
from it with few labels. [What counts as equal](tools.md#toolscomparepy), and who takes part with what
changes: [the config](../configs/benchmarks/comparison/shapes.py). Such a comparison says how methods behave
on small drawn images in minutes of training, not how they rank on photographs; for that see the
[model zoo](model_zoo.md).

![Accuracy, box AP and mIoU of each method](images/comparison.png)"""


def accuracy_charts(record: Record) -> list[Chart]:
    """k-NN accuracy while pretraining, a few methods to a chart."""
    series = [Series(**curve) for curve in record["curves"]]
    groups = [
        series[start : start + _LINES_PER_CHART]
        for start in range(0, len(series), _LINES_PER_CHART)
    ]
    title = "k-NN accuracy, mean of the seeds"
    return [Chart(title, group, x_label="% of pretraining", y_label="%") for group in groups]


def table_sections(record: Record) -> list[TableSection]:
    """Figures, verdicts, budgets, and what failed."""
    seeds = ", ".join(map(str, record["seeds"]))
    sections = [
        TableSection(
            "Every method",
            ["", *MEASURES.values()],
            method_rows(record["figures"]),
            note=f"{_FIGURES.format(seeds)} {record['note']}".rstrip(),
        ),
        TableSection(
            "Claims",
            CLAIM_HEADS,
            [[claim[head] for head in CLAIM_HEADS] for claim in record["claims"]],
            note=_VERDICTS,
        ),
        TableSection(
            "Budget",
            ["", "epochs", "views of an image", "views in all", "minutes of pretraining"],
            record["budgets"],
            note=_BUDGETS,
        ),
    ]
    if record["failed"]:
        rows = [
            [name, text.strip().splitlines()[-1][:160]] for name, text in record["failed"].items()
        ]
        sections.append(TableSection("Failed", ["command", "last line"], rows))
    return sections


def summary(record: Record) -> str:
    """What everybody got, and what it took, in a line."""
    budget = record["budget"]
    amp = " in bfloat16" if budget["amp"] else ""
    return (
        f"{budget['epochs']} epochs of {budget['images']} images{amp}, {budget['labels']} labelled images, "
        f"{record['hours']:.1f} hours of commands on {record['cores']} cores"
    )


def write_comparison(record: Record, path: str | Path) -> Path:
    """Write the page in HTML, complete in one file.

    Args:
        record: From `comparison_record`.
        path: Of the page.
    """
    figures, *tables = table_sections(record)
    curves = CurvesSection("While pretraining", accuracy_charts(record))
    sections: list[Section] = [figures, *tables[:2], curves, *tables[2:]]
    return write_report(path, "Every method side by side", sections, subtitle=summary(record))


def comparison_markdown(record: Record) -> str:
    """The page in Markdown, as docs/comparison.md.

    Args:
        record: From `comparison_record`.
    """
    parts = ["# Every method on drawn images", _INTRODUCTION, f"{summary(record)}."]
    for section in table_sections(record):
        rows = [[section.text(cell) for cell in row] for row in section.rows]
        parts += [f"## {section.title}", markdown_table(section.columns, rows), section.note]
    return "\n\n".join(part for part in parts if part) + "\n"
