"""Recipes side by side: what a step of each consists of and costs, and every setting that differs.

    python tools/side_by_side.py configs/moco/mocov2_*200e_in1k.py configs/pcl/pcl-v2_*200e_in1k.py
    python tools/side_by_side.py --page

Views, layers, memories, parameters and costs are counted in one step of the built model on the CPU; settings
are those of the configs and the defaults of the code, so that a changed default changes the table.
`--page` writes docs/side_by_side.md and its Chinese twin for the recipes of
configs/benchmarks/comparison/recipes.py.
"""

from __future__ import annotations

import argparse
import gc
import sys
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import MMLogger
from rich.progress import track

from mmssl.engine.config import load_config
from mmssl.engine.recipe_settings import differing, recipe_settings
from mmssl.engine.user_errors import told_errors
from mmssl.evaluation.training_step import training_step
from mmssl.registry import load_plugins
from mmssl.visualization.side_by_side import (
    markdown_table,
    schedule_cells,
    step_cells,
    text_table,
)
from mmssl.visualization.side_by_side_languages import LANGUAGES, Language

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
RECIPES = ROOT / "configs/benchmarks/comparison/recipes.py"
_COSTS = ("backbone M", "trained M", "GFLOPs per image", "kept MB per image", "state MB")


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="*", help="pretraining configs")
    parser.add_argument("--all", action="store_true", help="settings that agree as well")
    parser.add_argument(
        "--settings-only", action="store_true", help="build nothing: settings, no costs"
    )
    parser.add_argument("--out", type=Path, help="write the tables here, in Markdown")
    parser.add_argument("--language", choices=LANGUAGES, default="en", help="of the headings")
    parser.add_argument("--page", action="store_true", help="write docs/side_by_side*.md")
    parser.add_argument("--check", action="store_true", help="with --page: fail if one differs")
    args = parser.parse_args()
    if args.page == bool(args.configs):
        parser.error("give configs, or --page")
    if args.check and not args.page:
        parser.error("--check goes with --page")
    return args


def read(path: str | Path) -> Config:
    """A pretraining config.

    Raises:
        ValueError: It has no views of training images.
    """
    config = load_config(path)
    if "views" not in config.get("train_dataloader", {}).get("dataset", {}):
        raise ValueError(f"{path} is no pretraining config: train_dataloader.dataset has no views.")
    return config


def counted(config: Config) -> dict[str, str]:
    """The cells of a recipe's step; its model, which refers to itself, is given back at once."""
    cells = step_cells(training_step(config))
    gc.collect()
    return cells


def compare(
    paths: list[str], language: Language, *, settings_only: bool, everything: bool
) -> list[list[list[str]]]:
    """Two tables of a heading and a column per config: steps (unless `settings_only`), and settings."""
    configs = [read(path) for path in paths]
    heads = [Path(path).stem for path in paths]
    tables = []
    if not settings_only:
        cells = [counted(config) for config in track(configs, "steps", transient=True)]
        rows = [
            [language.heading(name), *language.cells([one[name] for one in cells])]
            for name in cells[0]
        ]
        tables.append([[language.heading("a step"), *heads], *rows])
    settings = [recipe_settings(config) for config in configs]
    found = differing(settings, everything=everything or len(paths) == 1)
    rows = [[name, *values] for name, values in found.items()]
    tables.append([[language.heading("settings"), *heads], *rows])
    return tables


def page_rows(recipes: dict[str, str]) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Of each recipe the cells of the page's two tables."""
    steps, costs = [], []
    for name, path in track(list(recipes.items()), "recipes", transient=True):
        config = read(ROOT / path)
        cells = counted(config)
        first = {"method": f"[{name}](../{Path(path).parent.as_posix()}/README.md)"}
        steps.append(first | {key: cells[key] for key in cells if key not in _COSTS})
        costs.append(
            first
            | {key: cells[key] for key in _COSTS}
            | schedule_cells(recipe_settings(config))
            | {"recipe": f"[config](../{path})"}
        )
    return steps, costs


def page_text(language: Language, *tables: list[dict[str, str]]) -> str:
    """The whole page from the rows of its two tables."""
    steps, costs = (
        markdown_table(
            [language.heading(name) for name in rows[0]],
            [language.cells(list(row.values())) for row in rows],
        )
        for rows in tables
    )
    return "\n".join([language.steps, steps, "", language.costs, costs, ""])


def page_texts() -> dict[Path, str]:
    """The page in each language."""
    tables = page_rows(Config.fromfile(RECIPES)["recipes"])
    return {DOCS / each.page: page_text(each, *tables) for each in LANGUAGES.values()}


def main() -> None:
    """Print tables, or write the page."""
    args = parse_args()
    load_plugins()
    MMLogger.get_current_instance().setLevel("ERROR")  # initialisation lists every tensor
    with told_errors(__file__):
        if args.page:
            pages = page_texts()
        else:
            language = LANGUAGES[args.language]
            tables = compare(
                args.configs, language, settings_only=args.settings_only, everything=args.all
            )
    if args.page and args.check:
        old = [
            path.name
            for path, text in pages.items()
            if not path.is_file() or path.read_text(encoding="utf-8") != text
        ]
        if old:
            sys.exit(f"error: {', '.join(old)} in docs: not what the recipes are; run --page.")
    elif args.page:
        for path, text in pages.items():
            path.write_text(text, encoding="utf-8")
    elif args.out:
        texts = [markdown_table(table[0], table[1:]) for table in tables]
        args.out.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    else:
        print("\n\n".join(map(text_table, tables)))


if __name__ == "__main__":
    main()
