"""Draw the figures of the documentation as SVG: `python docs/figures/draw.py` from the checkout.

The descriptions are in `methods.py`. The same text gives the same bytes, so a test can compare.
"""

from __future__ import annotations

import argparse
import re
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from methods import METHODS, PAGES

IMAGES = Path(__file__).resolve().parent.parent / "images"
LETTER = 6.6  # mean width of a letter at the size of the text
LINE, ROW, GAP, MARGIN = 15, 66, 34, 14
# Of each kind of box, by its first sign: fill, edge, dashes.
STYLES = {
    "[": ("#dbe9f9", "#2f6fb3", ""),
    "{": ("#eeeeee", "#777777", ' stroke-dasharray="5 3"'),
    "(": ("#ffffff", "#aaaaaa", ""),
    "<": ("#f9dedb", "#b3392f", ""),
    "=": ("#dff2df", "#3a8a3a", ""),
}
LEGEND = {
    "[": "blue: trained",
    "{": "dashed: momentum copy",
    "=": "green: memory",
    "<": "red: loss",
}
CELL = re.compile(r"[\[{(<=].+[\]})>=]$")


class Box(NamedTuple):
    """A box of the grid: its key, column, and first and last row."""

    key: str
    column: int
    first: int
    last: int

    @property
    def lines(self) -> list[str]:
        """Its text."""
        return self.key[1:-1].partition("#")[0].split("/")


class Figure(NamedTuple):
    """A parsed description.

    Attributes:
        boxes: By their keys.
        chains: Of each row, the keys and columns of its boxes from left to right.
        links: Dashed arrows: from, to, why.
    """

    boxes: dict[str, Box]
    chains: list[list[tuple[str, int]]]
    links: list[tuple[str, str, str]]


def parse(text: str) -> Figure:
    """Read a description.

    Args:
        text: In the language of `methods.py`.

    Raises:
        ValueError: A cell without brackets, or a box in two columns.
    """
    boxes: dict[str, Box] = {}
    chains: list[list[tuple[str, int]]] = []
    links = []
    for line in filter(None, map(str.strip, text.splitlines())):
        if " ~> " in line:
            ends, _, why = line.partition(" :")
            start, end = ends.split(" ~> ")
            links.append((start.strip(), end.strip(), why.strip()))
            continue
        row, chain = len(chains), []
        for column, key in enumerate(map(str.strip, line.split(" > "))):
            if key == "*":
                continue
            if not CELL.match(key):
                raise ValueError(f"{key!r} in {line!r} is no box; put it in brackets.")
            known = boxes.get(key, Box(key, column, row, row))
            if known.column != column:
                raise ValueError(f"{key} stands in columns {known.column} and {column}.")
            boxes[key] = known._replace(last=row)
            chain.append((key, column))
        chains.append(chain)
    return Figure(boxes, chains, links)


class Place(NamedTuple):
    """Where a box is drawn."""

    left: float
    top: float
    right: float
    bottom: float


def places(figure: Figure) -> dict[str, Place]:
    """The rectangle of every box; a column is as wide as its widest text."""
    num_columns = 1 + max(box.column for box in figure.boxes.values())
    widths = [
        max(
            [len(t) for box in figure.boxes.values() if box.column == column for t in box.lines]
            or [0]
        )
        * LETTER
        + 16
        for column in range(num_columns)
    ]
    lefts = [MARGIN + sum(widths[:column]) + GAP * column for column in range(num_columns)]
    found = {}
    for key, box in figure.boxes.items():
        half = max(len(box.lines) * LINE + 12, 30) / 2
        top = MARGIN + (box.first + 0.5) * ROW - half
        bottom = MARGIN + (box.last + 0.5) * ROW + half
        found[key] = Place(lefts[box.column], top, lefts[box.column] + widths[box.column], bottom)
    return found


def arrow(x1: float, y1: float, x2: float, y2: float, *, dashed: bool = False) -> str:
    """A line with a head at its second end."""
    dashes = ' stroke-dasharray="4 3"' if dashed else ""
    return (
        f'<line x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}" stroke="#444444"{dashes} '
        'marker-end="url(#head)"/>'
    )


def drawn_box(box: Box, place: Place) -> list[str]:
    """Rectangle and text of a box."""
    fill, edge, dashes = STYLES[box.key[0]]
    radius = 12 if box.key[0] == "(" else 4
    lines = [
        f'<rect x="{place.left:.0f}" y="{place.top:.0f}" width="{place.right - place.left:.0f}" '
        f'height="{place.bottom - place.top:.0f}" rx="{radius}" fill="{fill}" stroke="{edge}"{dashes}/>'
    ]
    middle = (place.left + place.right) / 2
    first = (place.top + place.bottom) / 2 - (len(box.lines) - 1) * LINE / 2 + 4
    for number, text in enumerate(box.lines):
        y = first + number * LINE
        lines.append(f'<text x="{middle:.0f}" y="{y:.0f}">{escape(text)}</text>')
    return lines


def drawn_link(start: Place, end: Place, why: str) -> list[str]:
    """A dashed arrow from one box to another above or below it, and its reason beside it."""
    down = end.top >= start.bottom
    x1, x2 = (start.left + start.right) / 2, (end.left + end.right) / 2
    y1, y2 = (start.bottom, end.top) if down else (start.top, end.bottom)
    lines = [arrow(x1, y1, x2, y2, dashed=True)]
    if why:
        x, y = (x1 + x2) / 2 + 5, (y1 + y2) / 2 + 4
        lines.append(f'<text x="{x:.0f}" y="{y:.0f}" class="why">{escape(why)}</text>')
    return lines


def svg(text: str, title: str) -> str:
    """The picture of a description.

    Args:
        text: In the language of `methods.py`.
        title: Read aloud instead of the picture.
    """
    figure = parse(text)
    where = places(figure)
    width = max(place.right for place in where.values()) + MARGIN
    height = 2 * MARGIN + len(figure.chains) * ROW + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img">',
        f"<title>{escape(title)}</title>",
        "<style>text{font:12px sans-serif;text-anchor:middle;fill:#222222}"
        "text.why{font-style:italic;font-size:11px;text-anchor:start;fill:#555555;"
        "paint-order:stroke;stroke:#ffffff;stroke-width:3px}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#444444"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
    ]
    arrows = set()
    for row, chain in enumerate(figure.chains):
        y = MARGIN + (row + 0.5) * ROW
        for (left, _), (right, _) in pairwise(chain):
            arrows.add(arrow(where[left].right, y, where[right].left, y))
    parts += sorted(arrows)
    for key, box in figure.boxes.items():
        parts += drawn_box(box, where[key])
    for start, end, why in figure.links:
        parts += drawn_link(where[start], where[end], why)
    legend = "; ".join(LEGEND[sign] for sign in LEGEND if sign in {key[0] for key in figure.boxes})
    parts.append(f'<text x="{MARGIN}" y="{height - 6}" class="why">{legend}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def figures() -> dict[Path, str]:
    """Every file and its text."""
    made = {IMAGES / "methods" / f"{name}.svg": svg(text, name) for name, text in METHODS.items()}
    return made | {IMAGES / f"{name}.svg": svg(text, name) for name, text in PAGES.items()}


def main() -> None:
    """Write the files."""
    argparse.ArgumentParser(description="Draw the figures of the documentation.").parse_args()
    for path, text in figures().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
