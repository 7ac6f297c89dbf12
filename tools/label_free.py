#!/usr/bin/env python
"""Compare checkpoints without labels: ranks and spreads of their features on a folder of images.

    python tools/label_free.py work_dirs/run/epoch_50.pth work_dirs/run/epoch_100.pth --images photos

A checkpoint of tools/train.py says which network it is for; weights from elsewhere need --config. Larger
ranks go with better features among checkpoints of one method and network, not between methods.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from mmssl.engine.user_errors import told_errors
from mmssl.evaluation.analysis_arguments import (
    add_analysis_arguments,
    analysed,
    parse_analysis,
)
from mmssl.evaluation.evaluate import write_record
from mmssl.evaluation.label_free import LabelFreeMeasures, measure_label_free

COLUMNS = dict(
    effective_rank="RankMe",
    lidar="LiDAR",
    alpha_req="alpha-ReQ",
    feature_std="std x sqrt(D)",
    uniformity="uniformity",
    alignment="alignment",
)
LARGER_IS_BETTER = ("effective_rank", "lidar")


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "checkpoints", nargs="+", help="weights files, or 'none' for a random start (with --config)"
    )
    parser.add_argument(
        "--num-views", type=int, default=10, help="augmented views of an image (default: 10)"
    )
    parser.add_argument(
        "--num-view-images", type=int, default=1000, help="images that have some (default: 1000)"
    )
    add_analysis_arguments(parser, seed="views and a random start")
    return parse_analysis(parser, "num_views", "num_view_images")


def measure(args: argparse.Namespace, checkpoint: str) -> tuple[LabelFreeMeasures, dict[str, Any]]:
    """The measures of one checkpoint, and where its weights come from."""
    backbone, preprocessor, weights = analysed(args, checkpoint)
    found = measure_label_free(
        backbone,
        args.images,
        size=args.size,
        num_images=args.num_images,
        num_view_images=args.num_view_images,
        num_views=args.num_views,
        preprocessor=preprocessor,
        seed=args.seed,
        batch_size=args.batch_size,
        num_workers=args.num_workers,
        progress=checkpoint,
    )
    return found, weights


def table(found: dict[str, LabelFreeMeasures]) -> str:
    """A line for each checkpoint; a star marks the largest rank."""
    width = max(map(len, [*found, "checkpoint"]))
    lines = ["  ".join([f"{'checkpoint':<{width}}", *(f"{n:>14}" for n in COLUMNS.values())])]
    most = {name: max(getattr(each, name) for each in found.values()) for name in LARGER_IS_BETTER}
    for checkpoint, measures in found.items():
        cells = []
        for name in COLUMNS:
            value = getattr(measures, name)
            star = "*" if len(found) > 1 and value == most.get(name) else " "
            cells.append(f"{'-' if value is None else f'{value:.4g}':>13}{star}")
        lines.append("  ".join([f"{checkpoint:<{width}}", *cells]).rstrip())
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    args = parse_args()
    with told_errors(__file__):
        found, weights = {}, {}
        for checkpoint in dict.fromkeys(args.checkpoints):
            found[checkpoint], weights[checkpoint] = measure(args, checkpoint)
        first = next(iter(found.values()))
        print(
            f"{first.num_images} central crops, {first.num_views} views of {first.num_view_images} "
            f"images, {args.size} px"
        )
        print(table(found))
        dim = max(each.dim for each in found.values())
        for name, images, option in (
            ("RankMe", first.num_images, "--num-images"),
            ("LiDAR", first.num_view_images, "--num-view-images"),
        ):
            if images <= dim:
                print(
                    f"{name} is bounded by the {images} images: it needs more than {dim} ({option})."
                )
        if args.out:
            record = dict(
                protocol="label-free",
                results={name: asdict(each) for name, each in found.items()},
                weights=weights,
                config=args.config,
                images=args.images,
                size=args.size,
                seed=args.seed,
            )
            write_record(record, args.out)
            print(f"Written to {args.out}.")


if __name__ == "__main__":
    main()
