"""Contact sheets: images of a data set in titled rows, with frames and captions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from mmssl.datasets.image_dataset import ImageDataset
from mmssl.visualization.thumbnails import thumbnail

_MARGIN, _GAP, _FRAME, _LINE = 12, 8, 3, 15
_INK, _SOFT = (30, 34, 48), (102, 112, 133)


class SheetCell(NamedTuple):
    """A picture of a sheet.

    Attributes:
        image: Position in the data set.
        caption: Small print below it.
        colour: Of its frame; `None` for none.
    """

    image: int
    caption: str = ""
    colour: tuple[int, int, int] | None = None


class SheetLine(NamedTuple):
    """A titled row of pictures; more than fit go on in the next row.

    Attributes:
        title: Above the row.
        cells: The pictures.
    """

    title: str
    cells: Sequence[SheetCell]


def image_sheet(
    dataset: ImageDataset,
    title: str,
    lines: Sequence[SheetLine],
    *,
    cell: int = 96,
    columns: int = 8,
) -> Image.Image:
    """Draw rows of images with titles, frames and captions.

    Args:
        dataset: Has the images.
        title: Heading of the sheet.
        lines: The rows.
        cell: Side of a picture in pixels.
        columns: Pictures side by side, at most.
    """
    title_font, font = ImageFont.load_default(15), ImageFont.load_default(11)
    step = cell + 2 * _FRAME + _GAP
    used = max(1, *(min(len(line.cells), columns) for line in lines)) if lines else 1
    width = max(used * step - _GAP, 620) + 2 * _MARGIN
    # Per line the rows that it needs; captions have two lines of text.
    counts = [max(1, -(-len(line.cells) // columns)) for line in lines]
    row_height = cell + 2 * _FRAME + 2 * _LINE + _GAP
    height = 2 * _MARGIN + 24 + sum(_LINE + 6 + count * row_height for count in counts)
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN), _printable(title), _INK, title_font)
    top = _MARGIN + 24
    for line, count in zip(lines, counts, strict=True):
        draw.text((_MARGIN, top), _printable(line.title), _INK, font)
        top += _LINE + 6
        if not line.cells:
            draw.text((_MARGIN, top), "none", _SOFT, font)
        for number, item in enumerate(line.cells):
            row, column = divmod(number, columns)
            corner = _MARGIN + column * step, top + row * row_height
            _draw_cell(sheet, thumbnail(dataset, item.image, cell), item, corner)
        top += count * row_height
    return sheet


def _draw_cell(
    sheet: Image.Image, picture: Image.Image, cell: SheetCell, corner: tuple[int, int]
) -> None:
    """One picture with its frame and caption."""
    draw, (left, top) = ImageDraw.Draw(sheet), corner
    side = picture.width
    if cell.colour is not None:
        outer = side + 2 * _FRAME - 1
        draw.rectangle((left, top, left + outer, top + outer), fill=cell.colour)
    sheet.paste(picture, (left + _FRAME, top + _FRAME))
    below, font = (left + _FRAME, top + side + 2 * _FRAME + 1), ImageFont.load_default(10)
    text = "\n".join(_fitting(line, font, side) for line in _printable(cell.caption).split("\n"))
    draw.multiline_text(below, text, _SOFT, font, spacing=2)


def _fitting(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """A line cut to a width in pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def _printable(text: str) -> str:
    """Text without the halves of characters that names in a foreign encoding leave."""
    return text.encode("utf-8", "replace").decode("utf-8")
