#!/usr/bin/env python
"""Draw class-balanced, nested parts of a labelled folder, for semi-supervised evaluation.

python tools/make_split.py data/imagenet/train --shares 0.01 0.1 --out data/imagenet/splits
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np

from mmssl.datasets import ImageFolder
from mmssl.datasets.splits import split_order, split_size
from mmssl.engine.user_errors import told_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="labelled images: one folder per class")
    parser.add_argument(
        "--shares", type=float, nargs="+", default=[0.01, 0.1], help="of the images, e.g. 0.01 0.1"
    )
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where the lists go")
    parser.add_argument("--seed", type=int, default=0, help="of the draw; part of the names")
    parser.add_argument(
        "--force", action="store_true", help="replace lists of the same name with other images"
    )
    return parser.parse_args()


def split_files(shares: list[float], out: Path, seed: int) -> list[Path]:
    """The file of each share; the seed in their names keeps the official lists, which have none."""
    files = [out / f"{100 * share:g}percent_seed{seed}.txt" for share in shares]
    twice = next((file for file in files if files.count(file) > 1), None)
    if twice is not None:
        sys.exit(
            f"error: Several of the shares would be written to {twice}; leave all but one out."
        )
    return files


def write_splits(folder: str, shares: list[float], out: Path, seed: int, force: bool) -> None:
    """Write a list for each share, sorted by path, and say how many images it has."""
    files = split_files(shares, out, seed)
    images = ImageFolder(folder, labels=True)
    paths = [os.path.relpath(images.path(i), images.root) for i in range(len(images))]
    labels = np.asarray(images.labels)
    classes = images.classes or []
    sizes = [split_size(len(paths), share, len(classes)) for share in shares]
    order = split_order(paths, labels.tolist(), seed=seed)
    parts = [np.sort(order[:size]) for size in sizes]
    contents = [
        "".join(f"{Path(paths[i]).as_posix()}\n" for i in chosen).encode("utf-8", "surrogateescape")
        for chosen in parts
    ]
    for file, content in zip(files, contents, strict=True):
        if file.exists() and file.read_bytes() != content and not force:
            sys.exit(
                f"error: {file} exists and lists other images. Choose another --seed or --out; --force "
                "replaces it."
            )
    out.mkdir(parents=True, exist_ok=True)
    for file, content, chosen in zip(files, contents, parts, strict=True):
        file.write_bytes(content)
        counts = np.bincount(labels[chosen], minlength=len(classes))
        print(
            f"{file}: {len(chosen)} of {len(paths)} images, {counts.min()} to {counts.max()} of each of "
            f"{len(classes)} classes"
        )


def main() -> None:
    args = parse_args()
    with told_errors(__file__):
        write_splits(args.folder, args.shares, Path(args.out), args.seed, args.force)


if __name__ == "__main__":
    main()
