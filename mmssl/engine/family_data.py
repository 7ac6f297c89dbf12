"""Say which files of a transfer config's data are missing, before anything is built."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.config import Config


def check_family_data(config: Config, parts: Sequence[str] = ("train", "val")) -> None:
    """Look for the annotation files and image folders that a config of mmdet or mmseg names.

    The families notice a missing file in the middle of their start-up, with nothing but its name.

    Args:
        config: The whole config; one of scope `mmssl` is left to its own datasets.
        parts: Which loaders will be used: `train`, `val`, `test`.

    Raises:
        FileNotFoundError: Something is not there; the message names every path with its key.
    """
    if config.get("default_scope", "mmssl") == "mmssl":
        return
    missing: dict[str, str] = {}
    for part in parts:
        dataset = (config.get(f"{part}_dataloader") or {}).get("dataset")
        for key, path in _named_paths(dataset, f"{part}_dataloader.dataset"):
            if "://" not in path and not os.path.exists(path):
                missing.setdefault(path, key)
        evaluators = config.get(f"{part}_evaluator") or []
        for evaluator in [evaluators] if isinstance(evaluators, dict) else evaluators:
            annotations = evaluator.get("ann_file") or ""
            if annotations and "://" not in annotations and not os.path.exists(annotations):
                missing.setdefault(annotations, f"{part}_evaluator.ann_file")
    if missing:
        listed = "\n".join(f"  {path}   ({key})" for path, key in missing.items())
        raise FileNotFoundError(
            f"The data of this config is not there (looked from {os.getcwd()}):\n{listed}\n"
            "Link it to that place, or name another with --cfg-options KEY=PATH (the keys above, or "
            "`data_root` beside them). The images of the Shapes configs are drawn by: "
            "python tools/make_shapes.py data/shapes"
        )


def _named_paths(dataset: Any, key: str) -> Iterator[tuple[str, str]]:
    """(key, path) of what a dataset config reads, those of wrapped datasets included."""
    if isinstance(dataset, (list, tuple)):
        for number, part in enumerate(dataset):
            yield from _named_paths(part, f"{key}.{number}")
        return
    if not isinstance(dataset, dict):
        return
    root = dataset.get("data_root") or ""
    if isinstance(dataset.get("ann_file"), str) and dataset["ann_file"]:
        yield f"{key}.ann_file", os.path.join(root, dataset["ann_file"])
    for name, folder in (dataset.get("data_prefix") or {}).items():
        if isinstance(folder, str):
            yield f"{key}.data_prefix.{name}", os.path.join(root, folder)
    for inner in ("dataset", "datasets"):
        yield from _named_paths(dataset.get(inner), f"{key}.{inner}")
