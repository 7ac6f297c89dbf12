#!/usr/bin/env python
"""Draw how alike one cell of an image is to all others: before and after propagation, and to the twin.

    python tools/pixel_similarity.py work_dirs/pixpro/epoch_100.pth --images photos --out similarity.png

For checkpoints of every method: PixPro has all maps, PixContrast and DenseCL those without propagation,
others the features of the backbone alone. A checkpoint of tools/train.py says which network it is
for; of weights from elsewhere --config names the network, and the backbone is shown.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from mmengine.logging import MMLogger
from torch import nn

from mmssl.convert.checkpoint_file import load_weights_file
from mmssl.convert.load_algorithm import carried_config, load_algorithm
from mmssl.engine.config import load_config
from mmssl.engine.user_errors import told_errors
from mmssl.evaluation.evaluate import build_backbone
from mmssl.registry import MODELS, TRANSFORMS
from mmssl.visualization.correspondence_plot import plot_views
from mmssl.visualization.pixel_pairs import ViewPair, positive_pairs, read_pair
from mmssl.visualization.pixel_similarity import (
    distinct_cells,
    pixel_similarity,
    view_features,
)
from mmssl.visualization.pixel_similarity_sheet import ImageSimilarity, similarity_sheet
from mmssl.visualization.view_sheet import find_rows, find_views

# As released, for a network whose config names neither.
POS_RATIO, BOXES = 0.7, "unit"


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "checkpoint", help="weights file, or 'none' for a random start (with --config)"
    )
    parser.add_argument("--images", nargs="+", required=True, help="a folder, or files")
    parser.add_argument("--config", help="names the network of a checkpoint that carries none")
    parser.add_argument("--out", default="similarity.png", help="default: similarity.png")
    parser.add_argument("--num", type=int, default=2, help="images of a folder (default: 2)")
    parser.add_argument("--index", type=int, help="only the image at this position")
    parser.add_argument(
        "--query",
        type=int,
        nargs=2,
        action="append",
        metavar=("ROW", "COLUMN"),
        help="a cell to ask for, several times for several; default: some that are unlike",
    )
    parser.add_argument("--num-queries", type=int, default=3, help="cells per image (default: 3)")
    parser.add_argument("--level", type=int, default=-1, help="map of the network, -1 is the last")
    parser.add_argument("--size", type=int, default=224, help="side of the views (default: 224)")
    parser.add_argument("--seed", type=int, default=0, help="of the second view and random starts")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    for name in ("num", "num_queries", "size"):
        if getattr(args, name) < 1:
            parser.error(
                f"--{name.replace('_', '-')} must be at least 1, got {getattr(args, name)}"
            )
    return args


def load_network(args: argparse.Namespace) -> tuple[nn.Module, nn.Module, dict[str, Any]]:
    """An algorithm, or the backbone of weights from elsewhere; its preprocessor and its config."""
    if args.config is None and args.checkpoint == "none":
        raise ValueError("A random start needs --config, which names the network.")
    if args.config is None:
        model = load_algorithm(args.checkpoint)
        config = carried_config(load_weights_file(args.checkpoint), args.checkpoint)
        return model, model.data_preprocessor, config
    config = load_config(args.config, None)
    if args.checkpoint != "none":
        return *build_backbone(config, args.checkpoint, seed=args.seed)[:2], config
    torch.manual_seed(args.seed)
    model = MODELS.build(config.model)
    model.init_weights()
    return model, model.data_preprocessor, config


def box_space(config: dict[str, Any]) -> str:
    """The space in which the network's training measured how far cells are from each other."""
    try:
        return find_views(config).get("boxes") or BOXES
    except ValueError:  # a config of the network alone
        return BOXES


def read_pairs(args: argparse.Namespace, config: dict[str, Any]) -> list[ViewPair]:
    """Each image whole, and a jittered part of it."""
    views = TRANSFORMS.build(plot_views(args.size) | dict(boxes=box_space(config)))
    rows = find_rows(args.images, num=args.num, index=args.index)
    return [read_pair(views, row, seed=args.seed) for row in rows]


def maps_of(
    args: argparse.Namespace,
    network: nn.Module,
    preprocessor: nn.Module,
    pair: ViewPair,
    pos_ratio: float,
) -> ImageSimilarity:
    """The maps of one image."""
    found = [
        view_features(network, preprocessor, view, level=args.level).features for view in pair.views
    ]
    grids = found[0].shape[1:], found[1].shape[1:]
    mask = positive_pairs(pair, grids, pos_ratio)
    mask = mask.unflatten(0, grids[0]).unflatten(2, grids[1])
    queries = [(row, column) for row, column in args.query or ()]
    if not queries:
        queries = distinct_cells(found[0], mask.flatten(2).any(dim=2), args.num_queries)
    maps = pixel_similarity(network, preprocessor, pair.views, queries, level=args.level)
    partners = torch.stack([mask[query] for query in queries])
    return ImageSimilarity(pair.name, pair.views, queries, maps, partners)


def main() -> None:
    """Draw the sheet and say where it is."""
    args = parse_args()
    MMLogger.get_current_instance().setLevel("WARNING")  # initialisation lists every tensor
    with told_errors(__file__):
        network, preprocessor, config = load_network(args)
        network, preprocessor = network.to(args.device), preprocessor.to(args.device)
        # an algorithm knows its default; of a backbone only the config can tell
        pos_ratio = getattr(network, "pos_ratio", config["model"].get("pos_ratio", POS_RATIO))
        images = [
            maps_of(args, network, preprocessor, pair, pos_ratio)
            for pair in read_pairs(args, config)
        ]
        similarity_sheet(images).save(args.out)
    print(args.out)


if __name__ == "__main__":
    main()
