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

from torch import nn

from mmssl.datasets.image_folder import ImageFolder
from mmssl.engine.user_errors import told_errors
from mmssl.evaluation.analysis_arguments import (
    add_analysis_arguments,
    analysed,
    parse_analysis,
)
from mmssl.evaluation.correspondence import (
    CorrespondenceResult,
    correspondence_views,
    measure_correspondence,
)
from mmssl.evaluation.evaluate import write_record
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
    parser.add_argument("--plot", metavar="FILE.png", help="draw matches, too")
    parser.add_argument("--num-plots", type=int, default=4, help="pairs to draw (default: 4)")
    parser.add_argument(
        "--other-image",
        action="store_true",
        help="pair each drawn image with the next, not with a part of itself",
    )
    add_analysis_arguments(parser, seed="jitter, drawn views, random start")
    return parse_analysis(parser, "num_plots")


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
    with told_errors(__file__):
        backbone, preprocessor, weights = analysed(args, args.checkpoint)
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
