#!/usr/bin/env python
"""Correspondence benchmark: does a network find regions again in a mirrored, grey, jittered copy?

    python tools/correspondence.py work_dirs/run/epoch_100.pth --images photos --plot matches.png

A checkpoint of tools/train.py says which network it is for; weights from elsewhere need --config. The
numbers are EsViT's: of the ten most certain regions of each image, the share whose partner is exactly
the mirrored one, and how many pixels away it is on average.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

import torch
from mmengine.config import DictAction
from mmengine.logging import MMLogger
from torch import nn

from mmssl.datasets.image_folder import ImageFolder
from mmssl.engine.config import load_config
from mmssl.engine.user_errors import told_errors
from mmssl.evaluation.correspondence import (
    CorrespondenceResult,
    correspondence_views,
    measure_correspondence,
)
from mmssl.evaluation.evaluate import build_backbone, write_record
from mmssl.evaluation.features import evaluation_loader
from mmssl.visualization.correspondence_plot import (
    correspondence_plot,
    match_pair,
    plot_views,
    stacked,
)


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "checkpoint", help="weights file, or 'none' for a random start (with --config)"
    )
    parser.add_argument(
        "--images", required=True, metavar="FOLDER", help="images; no labels needed"
    )
    parser.add_argument("--config", help="names the network of a checkpoint that carries none")
    parser.add_argument(
        "--branch", choices=["auto", "online", "twin"], default="auto", help="whose backbone"
    )
    parser.add_argument("--size", type=int, default=224, help="side of the crop (default: 224)")
    parser.add_argument(
        "--num-images", type=int, help="use this many, always the same random ones; default: all"
    )
    parser.add_argument("--plot", metavar="FILE.png", help="draw matches, too")
    parser.add_argument("--num-plots", type=int, default=4, help="pairs to draw (default: 4)")
    parser.add_argument(
        "--other-image",
        action="store_true",
        help="pair each drawn image with the next, not with a part of itself",
    )
    parser.add_argument("--seed", type=int, default=0, help="of jitter, drawn views, random start")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--num-workers", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", metavar="FILE.json", help="write the result and its origin")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE")
    args = parser.parse_args()
    if args.cfg_options and not args.config:
        parser.error("--cfg-options changes the config of --config")
    for name in ("size", "num_images", "num_plots", "batch_size"):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    return args


def measure(
    args: argparse.Namespace, backbone: nn.Module, preprocessor: nn.Module
) -> CorrespondenceResult:
    """The benchmark on the folder."""
    dataset = ImageFolder(args.images, correspondence_views(args.size), seed=args.seed)
    loader = evaluation_loader(
        dataset,
        batch_size=args.batch_size,
        num_workers=args.num_workers,
        limit=args.num_images,
    )
    return measure_correspondence(
        backbone, loader, preprocessor=preprocessor, progress="Correspondence"
    )


def draw(args: argparse.Namespace, backbone: nn.Module, preprocessor: nn.Module) -> None:
    """Write the sheet of pairs, of images spread over the folder."""
    dataset = ImageFolder(args.images, plot_views(args.size), seed=args.seed)
    count = min(args.num_plots, len(dataset))
    views = [
        [
            view.permute(1, 2, 0).numpy()
            for view in dataset[number * len(dataset) // count]["inputs"].images
        ]
        for number in range(count)
    ]
    plots = []
    for number, (first, second) in enumerate(views):
        if args.other_image:
            second = views[(number + 1) % count][1]
        matches = match_pair(backbone, preprocessor, first, second)
        plots.append(correspondence_plot(first, second, matches))
    stacked(plots).save(args.plot)


def record_of(
    args: argparse.Namespace, result: CorrespondenceResult, weights: dict[str, Any]
) -> dict[str, Any]:
    """The result and what a figure must not be shown without."""
    return dict(
        protocol="correspondence-esvit",
        result=asdict(result),
        weights=weights,
        config=args.config,
        images=args.images,
        seed=args.seed,
    )


def main() -> None:
    """Measure, print, draw."""
    args = parse_args()
    MMLogger.get_current_instance().setLevel("WARNING")  # initialisation lists every tensor
    with told_errors(__file__):
        config = load_config(args.config, args.cfg_options) if args.config else None
        checkpoint = None if args.checkpoint == "none" else args.checkpoint
        backbone, preprocessor, weights = build_backbone(
            config, checkpoint, branch=args.branch, seed=args.seed
        )
        backbone, preprocessor = backbone.to(args.device), preprocessor.to(args.device)
        result = measure(args, backbone, preprocessor)
        rows, columns = result.grid
        height, width = result.cell_size
        print(
            f"Correspondence, {result.num_images} images of {result.image_size[1]} x "
            f"{result.image_size[0]} px, {columns} x {rows} regions of {width:g} x {height:g} px"
        )
        print(f"  accuracy                       {result.accuracy:8.4f}")
        print(f"  error                          {result.error:8.2f} px")
        print(f"  cosine of the 11th best match  {result.next_similarity:8.4f}")
        if args.plot:
            draw(args, backbone, preprocessor)
            print(f"Drawn to {args.plot}.")
        if args.out:
            write_record(record_of(args, result, weights), args.out)
            print(f"Written to {args.out}.")


if __name__ == "__main__":
    main()
