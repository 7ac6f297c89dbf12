"""Write docs/model_zoo.md, every recipe with its published figures, and the training settings of the READMEs.

    python tools/model_zoo.py
    python tools/model_zoo.py --check

Recipes are the leaf configs of configs/<method>/; file names tell data, network, epochs and batch. Figures
are those of the tables in the folders' README.md in whose rows a recipe is named; a recipe that no table
names is described by its own header. Nothing is typed into the page; change a figure where it is quoted.
Optimizer, learning rate, decay and schedule of each recipe stand at the end of its README.md, between
two marks, as the configs have them.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from mmssl.engine.config import load_config
from mmssl.visualization.recipe_table import COLUMNS, recipe_rows

ROOT = Path(__file__).resolve().parents[1]
_MARKS = ("<!-- settings: written by tools/model_zoo.py -->", "<!-- /settings -->")
_SETTINGS = re.compile(rf"{_MARKS[0]}\n.*?{_MARKS[1]}", re.S)
PAGE = ROOT / "docs/model_zoo.md"
_NAME = re.compile(
    r"(?P<what>.+)_(?P<gpus>\d+)xb(?P<images>\d+)-.+-(?P<epochs>\d+)e_(?P<data>[a-z0-9]+)"
    r"(?:[-_](?P<variant>.+))?\.py"
)
_DATA = dict(
    in1k="ImageNet-1k",
    in22k="ImageNet-22k",
    coco="COCO train2017",
    stl10="STL-10",
    cifar10="CIFAR-10",
    openimages="OpenImages v4",
    webvision="WebVision v1",
    shapes="Shapes",
    folder="a folder of images",
)
_SIZES = dict(tiny="T", small="S", base="B")
_NETWORKS = (
    (r"wide-resnet(\d+)-2", "ResNet-{0} (2x)"),
    (r"resnet(\d+)", "ResNet-{0}"),
    (r"resnet(\d+)-w(\d)", "ResNet-{0}, {1} times as wide"),
    (r"resnet(\d+)-d16", "ResNet-{0}, maps of stride 16"),
    (r"resnet(\d+)-(\w+)", "ResNet-{0}, {1}"),
    (r"se-cotnetd(\d+)", "SE-CoTNetD-{0}"),
    (r"cotnext(\d+)", "CoTNeXt-{0}"),
    (r"cotnet(\d+)", "CoTNet-{0}"),
    (r"cotnet(\d+)-(\w+)", "CoTNet-{0}, {1}"),
    (r"lrnet(\d+)", "LR-Net-{0}"),
    (r"swin-(tiny|small|base)-w(\d+)", "Swin-{0}, window {1}"),
    (r"swin-shapes", "a small Swin"),
    (r"deit-(tiny|small|base)-p(\d+)", "DeiT-{0}/{1}"),
    (r"vit-(tiny|small|base)-p(\d+)", "ViT-{0}/{1}"),
    (r"vit-conv-(tiny|small|base)", "ViT-{0}, convolutional stem"),
    (r"vil", "ViL"),
    (r"cvt", "CvT-T"),
)
_OWN_COLUMNS = ("config", "data", "network", "epochs", "batch")
_IN_TABLE = "in its table"
_EPOCHS_OF_COLUMN = re.compile(r"(?:.*,\s*)?(\d+)(?:\s+epochs)?")
# by the number and the name of the column
Figures = dict[tuple[int, str], str]
_INTRODUCTION = """# Model zoo

This page is written by `tools/model_zoo.py` from the names and headers of the configs and from the tables of
their READMEs; edit those. Batch is GPUs x images. Figures are the authors', as each README quotes them with
its source and its reservations; runs of ours stand under *measured here*. No weights are distributed: what
the authors released is [converted](tools.md#toolsconvert_checkpointpy), the rest is trained by
`tools/train.py`. Transfer and evaluation: [configs/benchmarks](../configs/benchmarks/README.md).
"""


@dataclass(frozen=True)
class Recipe:
    """A leaf config, by its file name.

    Attributes:
        path: Of the file.
        data: Name of the data set.
        network: Name of the backbone.
        epochs: Passes over the images.
        batch: GPUs x images.
    """

    path: Path
    data: str
    network: str
    epochs: int
    batch: str

    @property
    def header(self) -> str:
        """The first paragraph of the file's docstring, on one line."""
        text = ast.get_docstring(ast.parse(self.path.read_text(encoding="utf-8"))) or ""
        return " ".join(text.split("\n\n")[0].split())


@dataclass
class Table:
    """A table of a README.

    Attributes:
        caption: The paragraph before it.
        section: The heading above it, empty before the first.
        columns: Its head.
        rows: Cells by row.
    """

    caption: str
    section: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)


def network_of(name: str) -> str:
    """The network in the first part of a file name, such as `pixpro_resnet50_instance`.

    Raises:
        ValueError: There is none that is known.
    """
    for part in name.split("_"):
        for pattern, text in _NETWORKS:
            found = re.fullmatch(pattern, part)
            if found:
                return text.format(*(_SIZES.get(group, group) for group in found.groups()))
    raise ValueError(
        f"{name} names no network that tools/model_zoo.py knows; add it to _NETWORKS there."
    )


def read_recipe(path: Path) -> Recipe:
    """What the name of a leaf config tells.

    Raises:
        ValueError: The name is none of `{method}_{backbone}_{gpus}xb{batch}-{schedule}-{epochs}e_{data}.py`,
            or its data set or network is unknown.
    """
    found = _NAME.fullmatch(path.name)
    if found is None or found["data"] not in _DATA:
        raise ValueError(
            f"{path.name} is not named {{method}}_{{backbone}}_{{gpus}}xb{{batch}}-{{schedule}}-{{epochs}}e_"
            f"{{data}}.py with data one of {', '.join(_DATA)}."
        )
    return Recipe(
        path=path,
        data=_DATA[found["data"]],
        network=network_of(found["what"]),
        epochs=int(found["epochs"]),
        batch=f"{found['gpus']} x {found['images']}",
    )


def read_tables(text: str) -> list[Table]:
    """The tables of a README in Markdown."""
    tables: list[Table] = []
    section = before = current = ""
    for line in text.splitlines():
        if line.startswith("|"):
            if tables and current == "|":
                tables[-1].rows.append(_cells(line))
            else:
                tables.append(Table(before or current, section, _cells(line)))
            before, current = "", "|"
        elif line.startswith("#"):
            section = line.lstrip("# ") if line.startswith("##") else ""
            before = current = ""
        elif not line.strip() or line.startswith("    "):
            before, current = (current, "") if current.strip("|") else (before, "")
        else:
            current = f"{current} {line.strip()}".strip()
    for table in tables:
        del table.rows[0]  # the rule below the head
    return tables


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _named(table: Table, column: int, cell: str, leaves: list[Recipe]) -> Iterator[Recipe]:
    """The recipes that a cell names in backticks.

    A name may have wildcards, may lack the ending that the column's head has in backticks (`...-x.py`), and
    `..._suffix` is a variant of the name before it.
    """
    ending = re.search(r"`\.\.\.(.+?)`", table.columns[column])
    first = ""
    for token in re.findall(r"`([^`]+)`", cell):
        name = token
        if token.startswith("..."):
            name = first.removesuffix(".py") + token.removeprefix("...") + ".py"
        elif ending and not token.endswith(".py"):
            name = first = token + ending[1]
        yield from (leaf for leaf in leaves if fnmatchcase(leaf.path.name, name))


def _exact(table: Table) -> set[str]:
    return {
        token for row in table.rows for cell in row for token in re.findall(r"`([^`*]+)`", cell)
    }


def _figures(table: Table, row: list[str], recipe: Recipe, configs: set[int]) -> Figures:
    """The cells of a row that are no names of configs, as far as they are of this recipe.

    Where the columns are numbers of epochs, it is the recipe's column alone.
    """
    by_epochs = {
        column: int(found[1])
        for column, name in enumerate(table.columns)
        if column not in configs and (found := _EPOCHS_OF_COLUMN.fullmatch(name))
    }
    spread = any("epochs" in table.columns[column] for column in by_epochs)
    figures: Figures = {}
    for column, (name, cell) in enumerate(zip(table.columns, row, strict=True)):
        if column in configs or name in ("epochs", "batch"):
            continue
        if not (spread and column in by_epochs):
            figures[column, name] = cell
        elif by_epochs[column] == recipe.epochs:
            figures[min(by_epochs), "published"] = cell
    return figures


def rows_of(table: Table, leaves: list[Recipe]) -> list[tuple[Recipe, Figures]]:
    """Every recipe that the rows of a table name, with the cells of its row."""
    named = [
        (row, column, recipe)
        for row in table.rows
        for column, cell in enumerate(row)
        for recipe in _named(table, column, cell, leaves)
    ]
    configs = {column for _, column, _ in named}
    exact = _exact(table)
    rows = []
    for row, column, recipe in named:
        # a wildcard does not speak for what has a row of its own
        if recipe.path.name in exact and f"`{recipe.path.name}`" not in row[column]:
            continue
        rows.append((recipe, _figures(table, row, recipe, configs)))
    return rows


def _linked(text: str, folder: Path) -> str:
    """Links of a README, as they are from docs/."""
    return re.sub(
        r"\]\((?!https?:|#)([^)]+)\)",
        lambda found: f"](../{(folder / found[1]).resolve().relative_to(ROOT).as_posix()})",
        text,
    )


def _table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _own_cells(recipe: Recipe) -> list[str]:
    link = f"../{recipe.path.relative_to(ROOT).as_posix()}"
    return [
        f"[{recipe.path.stem}]({link})",
        recipe.data,
        recipe.network,
        str(recipe.epochs),
        recipe.batch,
    ]


def _figure_table(table: Table, rows: list[tuple[Recipe, Figures]], folder: Path) -> str:
    columns = sorted({column for _, figures in rows for column in figures})
    networks = [column for column in columns if column[1] in ("network", "backbone")]
    if all(figures[column] == recipe.network for column in networks for recipe, figures in rows):
        columns = [column for column in columns if column not in networks]
    heads = [_IN_TABLE if column in networks else column[1] for column in columns]
    lines = [
        _own_cells(recipe) + [_linked(figures.get(column, "-"), folder) for column in columns]
        for recipe, figures in rows
    ]
    caption = f"{_linked(table.caption, folder)}\n\n" if table.section else ""
    return caption + _table([*_OWN_COLUMNS, *heads], lines)


def with_settings(folder: Path) -> str:
    """The README of a folder with the training settings of its recipes as the configs have them.

    Raises:
        ValueError: It has no place for them, or a schedule that `recipe_rows` does not know.
    """
    text = (folder / "README.md").read_text(encoding="utf-8")
    if not _SETTINGS.search(text):
        raise ValueError(f"{folder}/README.md has no {_MARKS[0]} ... {_MARKS[1]} for its settings.")
    ours_last = sorted(folder.glob("*.py"), key=lambda path: ("shapes" in path.stem, path.stem))
    leaves = {path.stem: load_config(path) for path in ours_last}
    table = _table(COLUMNS, recipe_rows(leaves))
    return _SETTINGS.sub(lambda _: f"{_MARKS[0]}\n{table}{_MARKS[1]}", text)


def method_section(folder: Path) -> str:
    """The part of the page on one folder of configs.

    Raises:
        ValueError: A file name that `read_recipe` does not know.
    """
    readme = _SETTINGS.sub("", (folder / "README.md").read_text(encoding="utf-8"))
    leaves = [read_recipe(path) for path in sorted(folder.glob("*.py"))]
    title, paper = readme.removeprefix("# ").split("\n\n")[:2]
    paper = re.sub(":$", ".", " ".join(paper.split()))
    parts = [
        f"## {title}\n",
        f"{_linked(paper, folder)} [README](../{folder.relative_to(ROOT).as_posix()}/README.md)\n",
    ]
    told, measured = set(), []
    for table in read_tables(readme):
        if table.section == "On Shapes":
            measured.append(table)
            continue
        rows = rows_of(table, leaves)
        if rows:
            parts.append(_figure_table(table, rows, folder))
            told |= {recipe.path for recipe, _ in rows}
    others = [recipe for recipe in leaves if recipe.path not in told]
    if others:
        lines = [[*_own_cells(recipe), recipe.header] for recipe in others]
        parts.append("Without a figure in the tables:\n")
        parts.append(_table([*_OWN_COLUMNS, "what it is"], lines))
    for table in measured:
        parts.append(f"*Measured here, on Shapes.* {_linked(table.caption, folder)}\n")
        parts.append(
            _table(table.columns, [[_linked(c, folder) for c in row] for row in table.rows])
        )
    return "\n".join(parts)


def method_folders() -> list[Path]:
    """Folders of recipes."""
    readmes = sorted((ROOT / "configs").glob("*/README.md"))
    return [readme.parent for readme in readmes if readme.parent.name != "benchmarks"]


def write_page() -> str:
    """The whole page.

    Raises:
        ValueError: A file name that `read_recipe` does not know.
    """
    return "\n".join([_INTRODUCTION, *map(method_section, method_folders())])


def main() -> None:
    """Write page and READMEs, or compare them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail if it differs")
    arguments = parser.parse_args()
    try:
        pages = {PAGE: write_page()}
        pages |= {folder / "README.md": with_settings(folder) for folder in method_folders()}
    except ValueError as error:
        sys.exit(f"error: {error}")
    for path, text in pages.items():
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        if arguments.check:
            name = f"{path.parent.name}/{path.name}"
            sys.exit(f"error: {name} is not what configs and READMEs say; run tools/model_zoo.py.")
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
