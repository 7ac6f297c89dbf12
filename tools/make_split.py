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
from mmssl.engine.user_errors import is_user_error


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="labelled images: one folder per class")
    parser.add_argument(
        "--shares", type=float, nargs="+", default=[0.01, 0.1], help="of the images, e.g. 0.01 0.1"
    )
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where the lists go")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def write_splits(folder: str, shares: list[float], out: Path, seed: int) -> None:
    """Write `<percent>percent.txt` for each share, sorted by path, and say how many images it has."""
    images = ImageFolder(folder, labels=True)
    paths = [os.path.relpath(images.path(i), images.root) for i in range(len(images))]
    labels = np.asarray(images.labels)
    classes = images.classes or []
    sizes = [split_size(len(paths), share, len(classes)) for share in shares]
    order = split_order(paths, labels.tolist(), seed=seed)
    out.mkdir(parents=True, exist_ok=True)
    for share, size in zip(shares, sizes, strict=True):
        chosen = np.sort(order[:size])
        file = out / f"{100 * share:g}percent.txt"
        lines = "".join(f"{Path(paths[i]).as_posix()}\n" for i in chosen)
        file.write_text(lines, encoding="utf-8", errors="surrogateescape")
        counts = np.bincount(labels[chosen], minlength=len(classes))
        print(
            f"{file}: {size} of {len(paths)} images, {counts.min()} to {counts.max()} of each of "
            f"{len(classes)} classes"
        )


def main() -> None:
    args = parse_args()
    try:
        write_splits(args.folder, args.shares, Path(args.out), args.seed)
    except (OSError, ValueError) as error:
        if not is_user_error(error):
            raise
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
