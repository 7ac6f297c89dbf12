#!/usr/bin/env python
"""Draw the positive pairs of PixPro and PixContrast: cells of two views that show the same place.

    python tools/pixel_pairs.py configs/_base_/views/pixpro.py --images photos --out pairs.png

The views are those of the run with this seed, the pairs those of the loss.
"""

from __future__ import annotations

import argparse

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmssl.engine.user_errors import told_errors
from mmssl.models.necks import DetectorPyramid
from mmssl.registry import MODELS, TRANSFORMS, load_plugins
from mmssl.visualization.correspondence_plot import stacked
from mmssl.visualization.pixel_pair_plot import pair_plot
from mmssl.visualization.pixel_pairs import (
    NUM_LINES,
    ViewPair,
    cell_grid,
    positive_pairs,
    read_pair,
)
from mmssl.visualization.view_sheet import find_rows, find_views

# As published: a map of 7 x 7 cells of a view of 224 pixels.
STRIDE, POS_RATIO = 32, 0.7


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a training config or a file of configs/_base_/views")
    parser.add_argument(
        "--images", nargs="+", help="a folder, or files; default: the config's training images"
    )
    parser.add_argument("--out", default="pairs.png", help="the picture (default: pairs.png)")
    parser.add_argument("--num", type=int, default=4, help="number of images (default: 4)")
    parser.add_argument("--index", type=int, help="only the image at this position of the dataset")
    parser.add_argument("--epoch", type=int, default=0, help="epoch of the views (default: 0)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the run (default: 0)")
    parser.add_argument(
        "--stride",
        type=int,
        help="pixels of a view per cell; default: the config's (of a pyramid the finest), else 32",
    )
    parser.add_argument(
        "--pos-ratio",
        type=float,
        help="largest distance of a pair in cell diagonals; default: the config's, else 0.7",
    )
    parser.add_argument(
        "--lines",
        type=int,
        default=NUM_LINES,
        help=f"lines per image at most (default: {NUM_LINES}); all pairs of some cells",
    )
    args = parser.parse_args()
    for name in ("num", "stride", "lines", "pos_ratio"):
        value = getattr(args, name)
        if value is not None and value <= 0:
            parser.error(f"--{name.replace('_', '-')} must be greater than 0, got {value}")
    return args


def stride_of(config: Config) -> tuple[int, str]:
    """Pixels per cell of the map whose cells are paired, and which map that is.

    Of a pyramid the finest level; of a backbone the last map; as published without one.
    """
    model = config.get("model", {})
    if model.get("backbone") is None:
        return STRIDE, "as published"
    with torch.device("meta"):  # shapes only: no time, no memory, no weights to look for
        strides = MODELS.build(model["backbone"]).strides
        pyramid = model.get("pyramid") and MODELS.build(model["pyramid"])
    if not pyramid:
        return strides[-1], "the backbone's last map"
    if not isinstance(pyramid, DetectorPyramid):
        return strides[-1], "the backbone's last map; give --stride for a level of the pyramid"
    levels = pyramid.strides(strides)
    others = ", ".join(
        f"P{level} {stride}" for level, stride in zip(pyramid.levels, levels, strict=True)
    )
    return levels[0], f"the finest level; --stride draws another of {others}"


def read_pairs(args: argparse.Namespace, config: Config) -> list[ViewPair]:
    """The two views of the images asked for."""
    views = TRANSFORMS.build(find_views(config))
    rows = find_rows(args.images, num=args.num, index=args.index, config=config)
    return [read_pair(views, row, seed=args.seed, epoch=args.epoch) for row in rows]


def main() -> None:
    """Draw the sheet and say how many pairs there are."""
    args = parse_args()
    with told_errors(__file__):
        config = Config.fromfile(args.config)
        load_plugins()
        init_default_scope(config.get("default_scope", "mmssl"))
        stride, which = (args.stride, "as asked") if args.stride else stride_of(config)
        radius = args.pos_ratio or config.get("model", {}).get("pos_ratio", POS_RATIO)
        plots, counts = [], []
        for pair in read_pairs(args, config):
            grids = cell_grid(pair.views[0], stride), cell_grid(pair.views[1], stride)
            mask = positive_pairs(pair, grids, radius)
            plots.append(pair_plot(pair, mask, grids, num_lines=args.lines))
            counts.append(int(mask.sum()))
        stacked(plots).save(args.out)
    without = sum(count == 0 for count in counts)
    print(
        f"{len(counts)} images, {sum(counts) / len(counts):.1f} positive pairs each, {without} without "
        f"any (cells of {stride} px: {which}; pos_ratio {radius:g}): {args.out}"
    )


if __name__ == "__main__":
    main()
