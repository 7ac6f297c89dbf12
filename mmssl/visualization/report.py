"""Reports as one HTML file that needs nothing else: no network, no other file, no script to be readable."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import Literal, Protocol

from PIL import Image

from mmssl.ops.atomic_file import write_text_atomically
from mmssl.visualization.charts import Chart, line_chart
from mmssl.visualization.page_style import PAGE_SCRIPT, PAGE_STYLE

Tone = Literal["plain", "good", "warning", "bad"]
Cell = str | int | float | None


class Section(Protocol):
    """A titled part of a report; anything with these two members can be given to `write_report`."""

    @property
    def title(self) -> str:
        """Heading of the section."""

    def body(self) -> str:
        """The section's content as HTML."""


@dataclass(frozen=True)
class Tile:
    """A headline number: `value` large, `label` above and `detail` below it."""

    label: str
    value: str
    detail: str = ""
    tone: Tone = "plain"


@dataclass(frozen=True)
class Picture:
    """An image of a report.

    Attributes:
        image: A file, or an image in memory. JPEG and PNG files are embedded as they are.
        caption: A sentence below it.
    """

    image: str | Path | Image.Image
    caption: str = ""


@dataclass(frozen=True)
class TilesSection:
    """Headline numbers side by side."""

    title: str
    tiles: Sequence[Tile]

    def body(self) -> str:
        """The tiles as HTML."""
        return (
            '<div class="tiles">'
            + "".join(
                f'<div class="tile {tile.tone}"><span>{escape(tile.label)}</span>'
                f"<strong>{escape(tile.value)}</strong><small>{escape(tile.detail)}</small></div>"
                for tile in self.tiles
            )
            + "</div>"
        )


@dataclass(frozen=True)
class TextSection:
    """Paragraphs of plain text, framed when `tone` is not plain."""

    title: str
    paragraphs: Sequence[str]
    tone: Tone = "plain"

    def body(self) -> str:
        """The paragraphs as HTML."""
        text = "".join(f"<p>{escape(paragraph)}</p>" for paragraph in self.paragraphs)
        return f'<div class="text {self.tone}">{text}</div>'


@dataclass(frozen=True)
class CodeSection:
    """Text in a fixed-width font, folded away unless `folded` is false."""

    title: str
    code: str
    caption: str = ""
    folded: bool = True

    def body(self) -> str:
        """The text as HTML."""
        block = f"<pre><code>{escape(self.code)}</code></pre>"
        if not self.folded:
            return block
        lines = self.code.count("\n") + 1
        caption = escape(self.caption) if self.caption else "show"
        return (
            f"<details><summary>{caption} <small>{lines} lines</small></summary>{block}</details>"
        )


@dataclass(frozen=True)
class TableSection:
    """A table; numbers are right-aligned.

    Attributes:
        title: Heading.
        columns: Column names; all empty for a table without a head row.
        rows: One cell per column; `None` is shown as a dash.
        best: Per column `"max"` or `"min"` to print the best number bold, or `None`.
        digits: Digits after the point of floats.
        note: A sentence below.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    best: Sequence[Literal["max", "min"] | None] = ()
    digits: int = 1
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"Table {self.title!r} has {len(self.columns)} columns, but a row has "
                    f"{len(row)} cells: {list(row)}."
                )
        if self.best and len(self.best) != len(self.columns):
            raise ValueError(
                f"Table {self.title!r}: `best` needs one entry per column ({len(self.columns)}), "
                f"got {len(self.best)}."
            )

    def body(self) -> str:
        """The table as HTML."""
        goals = self.best or [None] * len(self.columns)
        winners = [
            _best_of([row[index] for row in self.rows], goal) for index, goal in enumerate(goals)
        ]
        is_number = [
            any(isinstance(row[i], int | float) for row in self.rows)
            for i in range(len(self.columns))
        ]
        head = "".join(
            f"<th{_number_class(number)}>{escape(name)}</th>"
            for name, number in zip(self.columns, is_number, strict=True)
        )
        head = f"<thead><tr>{head}</tr></thead>" if any(self.columns) else ""
        lines = []
        for row in self.rows:
            cells = []
            for cell, winner, number in zip(row, winners, is_number, strict=True):
                text = escape(self.text(cell))
                if winner is not None and cell == winner:
                    text = f"<strong>{text}</strong>"
                cells.append(f"<td{_number_class(number)}>{text}</td>")
            lines.append(f"<tr>{''.join(cells)}</tr>")
        note = f'<p class="note">{escape(self.note)}</p>' if self.note else ""
        return (
            f'<div class="scroll"><table>{head}<tbody>{"".join(lines)}</tbody></table></div>{note}'
        )

    def text(self, cell: Cell) -> str:
        """A cell as it is shown."""
        if cell is None or (isinstance(cell, float) and math.isnan(cell)):
            return "-"
        return f"{cell:.{self.digits}f}" if isinstance(cell, float) else str(cell)


@dataclass(frozen=True)
class ImageSection:
    """Pictures below each other, embedded in the page."""

    title: str
    pictures: Sequence[Picture]

    def body(self) -> str:
        """The pictures as HTML."""
        return "".join(
            f'<figure class="picture"><img alt="{escape(picture.caption or self.title)}" '
            f'src="{embed_image(picture.image)}">'
            f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
            for picture in self.pictures
        )


@dataclass(frozen=True)
class CurvesSection:
    """Line charts in a grid."""

    title: str
    charts: Sequence[Chart]
    note: str = ""

    def body(self) -> str:
        """The charts as HTML."""
        note = f'<p class="note">{escape(self.note)}</p>' if self.note else ""
        return f'<div class="charts">{"".join(map(line_chart, self.charts))}</div>{note}'


@dataclass(frozen=True)
class BarsSection:
    """Horizontal shares of a whole, such as seconds per phase.

    Attributes:
        title: Heading.
        amounts: (name, amount), in the order of drawing.
        unit: What the amounts count.
        note: A sentence below.
    """

    title: str
    amounts: Sequence[tuple[str, float]]
    unit: str = "s"
    note: str = ""

    def body(self) -> str:
        """The bars as HTML."""
        whole = sum(amount for _, amount in self.amounts) or 1.0
        rows = "".join(
            f'<div class="bar"><span>{escape(name)}</span>'
            f'<div><i style="width:{100 * amount / whole:.2f}%"></i></div>'
            f"<b>{amount:,.1f} {escape(self.unit)}</b><em>{100 * amount / whole:.1f} %</em></div>"
            for name, amount in self.amounts
        )
        note = f'<p class="note">{escape(self.note)}</p>' if self.note else ""
        return f'<div class="bars">{rows}</div>{note}'


def embed_image(image: str | Path | Image.Image) -> str:
    """A `data:` address that holds the whole image.

    Raises:
        ValueError: A file that is neither JPEG nor PNG.
    """
    if isinstance(image, Image.Image):
        buffer = io.BytesIO()
        image.save(buffer, "PNG", optimize=True)
        kind, data = "png", buffer.getvalue()
    else:
        data = Path(image).read_bytes()
        kinds = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg"}
        kind = next((name for magic, name in kinds.items() if data.startswith(magic)), "")
        if not kind:
            raise ValueError(f"A report embeds JPEG and PNG files; {image} is neither.")
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def render_report(
    title: str,
    sections: Sequence[Section],
    *,
    verdict: str = "",
    tone: Tone = "plain",
    subtitle: str = "",
    style: str = "",
    script: str = "",
) -> str:
    """The page as text.

    Args:
        title: Heading of the page.
        sections: Its parts, in order.
        verdict: The one sentence that somebody in a hurry reads.
        tone: Colour of the verdict.
        subtitle: Small print below the title, such as when and where.
        style: Rules behind those that all pages have.
        script: What runs behind the script that all pages have.
    """
    anchors = [f"s{index}" for index in range(len(sections))]
    menu = "".join(
        f'<a href="#{anchor}">{escape(section.title)}</a>'
        for anchor, section in zip(anchors, sections, strict=True)
    )
    parts = "".join(
        f'<section id="{anchor}"><h2>{escape(section.title)}</h2>{section.body()}</section>'
        for anchor, section in zip(anchors, sections, strict=True)
    )
    line = f'<p class="verdict {tone}">{escape(verdict)}</p>' if verdict else ""
    written = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{PAGE_STYLE}{style}</style></head><body>"
        f"<header><h1>{escape(title)}</h1><p>{escape(subtitle)}</p>{line}</header>"
        f"<nav>{menu}</nav><main>{parts}</main>"
        f"<footer>Written by mmssl on {written}. This page is complete in itself.</footer>"
        f"<script>{PAGE_SCRIPT}{script}</script></body></html>\n"
    )


def write_report(
    path: str | Path,
    title: str,
    sections: Sequence[Section],
    *,
    verdict: str = "",
    tone: Tone = "plain",
    subtitle: str = "",
    style: str = "",
    script: str = "",
) -> Path:
    """Write `render_report(...)` to `path`; a reader never sees half a page.

    Returns:
        The path that was written.
    """
    page = render_report(
        title,
        sections,
        verdict=verdict,
        tone=tone,
        subtitle=subtitle,
        style=style,
        script=script,
    )
    return write_text_atomically(path, page)


def _best_of(cells: Sequence[Cell], goal: Literal["max", "min"] | None) -> float | None:
    numbers = [cell for cell in cells if isinstance(cell, int | float) and not math.isnan(cell)]
    if goal is None or len(numbers) < 2:
        return None
    return max(numbers) if goal == "max" else min(numbers)


def _number_class(is_number: bool) -> str:
    return ' class="number"' if is_number else ""
