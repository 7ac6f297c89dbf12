"""ImageList: images named in a text, CSV or JSON-lines file, with labels if it has them."""

from __future__ import annotations

import csv
import json
import os
from typing import Any

from mmssl.datasets.image_dataset import NO_LABEL, ImageDataset
from mmssl.datasets.transforms import MultiView
from mmssl.registry import DATASETS

_PATH_NAMES = ("path", "image", "file", "filename", "file_name", "img_path")
_LABEL_NAMES = ("label", "class", "category", "gt_label", "target")

# (path, label as written or None)
Row = tuple[str, Any]


@DATASETS.register_module()
class ImageList(ImageDataset):
    """The images of a list file, in its order.

    - `.txt` (and any other ending): a path per line, optionally followed by white space and a whole
      number, its class.
    - `.csv`, `.tsv`: a path and optionally a label. The first line may be a header with columns such
      as `path` and `label`; otherwise the first two columns are taken. A `.csv` of which every line is
      `path label` with a space between, as Places205's, is read like a `.txt`.
    - `.jsonl`: an object per line with the same keys.

    Labels that are all whole numbers are taken as they are; others are names, numbered in sorted
    order. A missing label is -1.

    Args:
        file: The list.
        views: A `MultiView` or its config; None makes a dataset of `image(index)` only.
        root: Prepended to relative paths; default: the folder of the list.
        seed: Seed of the views; None: the sampler's (the runner's).
        max_bad_ratio: Largest share of unreadable files; above it the run stops and lists them.

    Attributes:
        numbered: The list gives numbers, not names: `classes` are "0" to the largest of them, and the
            largest class may be missing.

    Raises:
        FileNotFoundError: There is no such list.
        ValueError: The list is empty, or a line of it makes no sense.
    """

    def __init__(
        self,
        file: str,
        views: MultiView | dict[str, Any] | None = None,
        *,
        root: str = "",
        seed: int | None = None,
        max_bad_ratio: float = 0.05,
    ) -> None:
        file = os.path.expanduser(file)
        if not os.path.isfile(file):
            raise FileNotFoundError(
                f"The image list {file} does not exist (looked for it from {os.getcwd()})."
            )
        rows = _read_rows(file)
        if not rows:
            raise ValueError(f"The image list {file} names no image.")
        labels, classes, self.numbered = _number_labels([label for _, label in rows])
        super().__init__(
            os.path.expanduser(root) or os.path.dirname(file),
            [path for path, _ in rows],
            labels=labels,
            classes=classes,
            views=views,
            seed=seed,
            max_bad_ratio=max_bad_ratio,
        )


def _read_rows(file: str) -> list[Row]:
    ending = os.path.splitext(file)[1].lower()
    with open(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        if ending == ".jsonl":
            numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
            return [_json_row(line, number, file) for number, line in numbered]
        if ending in (".csv", ".tsv"):
            delimiter = "\t" if ending == ".tsv" else ","
            table = list(csv.reader(lines, delimiter=delimiter))
            spaced = _spaced_rows(table) if ending == ".csv" else []
            return spaced or _csv_rows(table, file)
        return [_text_row(line.strip()) for line in lines if line.strip()]


def _text_row(line: str) -> Row:
    # Only a whole number at the end is a label: paths may contain spaces.
    path, _, last = line.rpartition(" ") if " " in line else line.rpartition("\t")
    return (path.rstrip(), int(last)) if path and last.lstrip("-").isdigit() else (line, None)


def _json_row(line: str, number: int, file: str) -> Row:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"Line {number} of {file} is no JSON: {error}.") from error
    if isinstance(record, str):
        return record, None
    path = _pick(record, _PATH_NAMES) if isinstance(record, dict) else None
    if path is None:
        raise ValueError(f"Line {number} of {file} has none of the keys {', '.join(_PATH_NAMES)}.")
    return path, _pick(record, _LABEL_NAMES)


def _csv_rows(table: list[list[str]], file: str) -> list[Row]:
    table = [row for row in table if any(cell.strip() for cell in row)]
    header = [cell.strip().lower() for cell in table[0]] if table else []
    path_at, label_at = 0, 1 if len(header) > 1 else None
    named = _pick_position(header, _PATH_NAMES)
    if named is not None:
        path_at, label_at, table = named, _pick_position(header, _LABEL_NAMES), table[1:]
    rows = []
    for row in table:
        if len(row) <= path_at or not row[path_at].strip():
            raise ValueError(f"A row of {file} has no path in column {path_at + 1}: {row}.")
        label = row[label_at].strip() if label_at is not None and len(row) > label_at else ""
        rows.append((row[path_at].strip(), label or None))
    return rows


def _spaced_rows(table: list[list[str]]) -> list[Row]:
    """The rows of a table of one column whose cells all end with a class number; else none."""
    table = [row for row in table if any(cell.strip() for cell in row)]
    if any(len(row) != 1 for row in table):
        return []
    rows = [_text_row(row[0].strip()) for row in table]
    return [] if any(label is None for _, label in rows) else rows


def _pick(record: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((record[name] for name in names if name in record), None)


def _pick_position(header: list[str], names: tuple[str, ...]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _class_number(label: Any) -> int:
    """The integer that a label is; ValueError for names and for fractions, which are names too."""
    if isinstance(label, float) and not label.is_integer():
        raise ValueError(f"{label} is no class number.")
    return int(label)


def _number_labels(written: list[Any]) -> tuple[list[int] | None, list[str] | None, bool]:
    """Labels, names of the classes, and whether these are only numbers."""
    known = [label for label in written if label is not None]
    if not known:
        return None, None, False
    try:
        numbers = [NO_LABEL if label is None else _class_number(label) for label in written]
    except ValueError:
        classes = sorted({str(label) for label in known})
        number = {name: position for position, name in enumerate(classes)}
        labels = [NO_LABEL if label is None else number[str(label)] for label in written]
        return labels, classes, False
    return numbers, [str(label) for label in range(max(numbers) + 1)], True
