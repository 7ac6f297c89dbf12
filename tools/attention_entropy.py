#!/usr/bin/env python
"""Entropy of each attention head of the last block, and pictures of where the heads look.

    python tools/attention_entropy.py work_dirs/run/epoch_100.pth --images photos --masks masks.png

For networks whose last block attends (Swin, vision transformers). A checkpoint of tools/train.py says
which network it is for; weights from elsewhere need --config.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

import numpy as np
from torch import nn

from mmssl.datasets.image_folder import ImageFolder
from mmssl.engine.user_errors import told_errors
from mmssl.evaluation.analysis_arguments import (
    add_analysis_arguments,
    analysed,
    parse_analysis,
)
from mmssl.evaluation.attention_entropy import (
    MASS,
    HeadEntropies,
    measure_attention_entropy,
)
from mmssl.evaluation.evaluate import center_views, write_record
from mmssl.evaluation.features import evaluation_loader
from mmssl.visualization.attention_masks import head_masks, mask_sheet


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "checkpoint", help="weights file, or 'none' for a random start (with --config)"
    )
    parser.add_argument("--masks", metavar="FILE.png", help="draw where the heads look, too")
    parser.add_argument("--num-masks", type=int, default=3, help="images to draw (default: 3)")
    parser.add_argument(
        "--query",
        type=int,
        nargs=2,
        metavar=("ROW", "COLUMN"),
        help="the region that looks; default: the class token, or the region in the middle",
    )
    parser.add_argument(
        "--mass", type=float, default=MASS, help=f"share of attention in a mask (default: {MASS})"
    )
    add_analysis_arguments(parser, seed="a random start")
    return parse_analysis(parser, "num_masks")


def table(result: HeadEntropies) -> str:
    """One line per head, from the most to the least spread."""
    order = sorted(range(len(result.entropy)), key=lambda head: -result.entropy[head])
    lines = [f"  head {head:3d}  {result.entropy[head]:7.3f}" for head in order]
    mean = sum(result.entropy) / len(result.entropy)
    return "\n".join([*lines, f"  mean      {mean:7.3f}   (all alike: {result.largest:.3f})"])


def draw(
    args: argparse.Namespace, dataset: ImageFolder, backbone: nn.Module, preprocessor: nn.Module
) -> None:
    """Write the sheet of masks, of images spread over the folder."""
    count = min(args.num_masks, len(dataset))
    pictures: list[np.ndarray] = [
        dataset[number * len(dataset) // count]["inputs"].images[0].permute(1, 2, 0).numpy()
        for number in range(count)
    ]
    query = None if args.query is None else (args.query[0], args.query[1])
    masks = [
        head_masks(backbone, preprocessor, picture, query=query, mass=args.mass)
        for picture in pictures
    ]
    mask_sheet(pictures, masks).save(args.masks)


def main() -> None:
    """Measure, print, draw."""
    args = parse_args()
    with told_errors(__file__):
        backbone, preprocessor, weights = analysed(args, args.checkpoint)
        dataset = ImageFolder(args.images, center_views(args.size, "bicubic"), seed=args.seed)
        loader = evaluation_loader(
            dataset,
            batch_size=args.batch_size,
            num_workers=args.num_workers,
            limit=args.num_images,
        )
        result = measure_attention_entropy(
            backbone, loader, preprocessor=preprocessor, progress="Attention"
        )
        print(f"Bits of attention per head of the last block, {result.num_images} images:")
        print(table(result))
        if args.masks:
            draw(args, dataset, backbone, preprocessor)
            print(f"Drawn to {args.masks}.")
        if args.out:
            record = dict(
                protocol="attention-entropy-esvit",
                result=asdict(result),
                weights=weights,
                config=args.config,
                images=args.images,
                size=args.size,
            )
            write_record(record, args.out)
            print(f"Written to {args.out}.")


if __name__ == "__main__":
    main()
