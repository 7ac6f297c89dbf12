#!/usr/bin/env python
"""Cluster what a network has learnt as HCSC does, and compare with the classes.

    python tools/prototype_scores.py CONFIG work_dirs/hcsc/epoch_200.pth --labels classes.csv

For any method with embeddings: MoCo, PCL, HCSC. The config names images, view (ClusterHook's) and numbers of
prototypes; the network is the checkpoint's own. Prints the agreement (AMI) of each level of prototypes with
each level of the classes, and which share of the false negatives a selection by these prototypes removes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from mmssl.convert.checkpoint_file import file_sha256
from mmssl.convert.load_algorithm import load_algorithm
from mmssl.engine.config import load_config
from mmssl.engine.options import OptionAction
from mmssl.engine.user_errors import told_errors
from mmssl.evaluation.class_levels import OWN_LEVEL, class_levels
from mmssl.evaluation.clustering import check_cluster_options, check_cluster_sizes
from mmssl.evaluation.evaluate import write_record
from mmssl.evaluation.prototype_scores import keys_of_queue, score_prototypes
from mmssl.evaluation.provenance import provenance
from mmssl.ops.kmeans import build_clusterer
from mmssl.visualization.clustered_images import (
    cluster_hook,
    clustered_embeddings,
    load_clustered_images,
)


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="names images, view and numbers of prototypes")
    parser.add_argument("checkpoint", help="a checkpoint of tools/train.py")
    parser.add_argument("--data", metavar="FOLDER", help="other images (a folder or a list)")
    parser.add_argument(
        "--labels", metavar="FILE", help="a class per line, or a .csv of path and label"
    )
    parser.add_argument("--hierarchy", help="tree of the classes: shapes, or a JSON file")
    parser.add_argument(
        "--num-clusters", type=int, nargs="+", help="prototypes per level, the finest first"
    )
    parser.add_argument("--branch", choices=("online", "twin"), default="twin")
    parser.add_argument(
        "--num-keys",
        type=int,
        help="images that stand for the queue (default: 1024, at most half of all)",
    )
    parser.add_argument("--size", type=int, help="side of the evaluation crop")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of keys")
    parser.add_argument("--out", metavar="FILE.json", help="write the record")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--num-workers", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--cfg-options", nargs="+", action=OptionAction, metavar="KEY=VALUE")
    args = parser.parse_args()
    for name in ("num_clusters", "num_keys", "size", "batch_size"):
        value = getattr(args, name)
        for number in value if isinstance(value, list) else [value]:
            if number is not None and number < 1:
                parser.error(f"--{name.replace('_', '-')} must be at least 1, got {number}")
    return args


def choose_sizes(args: argparse.Namespace, config: Config, num_images: int) -> Sequence[int]:
    """Prototypes of every level, the finest first."""
    sizes = args.num_clusters or config.model.get("prototypes", {}).get("num_clusters")
    if sizes is None:
        raise ValueError(f"{args.config} has no model.prototypes: give --num-clusters.")
    try:
        check_cluster_options(tree=sizes)
        check_cluster_sizes(num_images, tree=sizes)
    except ValueError as error:
        raise ValueError(f"{error} They come from --num-clusters or the config.") from error
    return sizes


def score(args: argparse.Namespace) -> dict[str, Any]:
    """Everything that is printed and written."""
    config = load_config(args.config, args.cfg_options)
    hook = cluster_hook(config)
    images = load_clustered_images(config, hook, data=args.data, labels=args.labels, size=args.size)
    labels, classes = images.names.labels, images.names.classes
    if labels is None:
        raise ValueError("The images have no classes to compare with; name them with --labels.")
    num_images = len(images.dataset)
    sizes = choose_sizes(args, config, num_images)
    num_keys = keys_of_queue(num_images, args.num_keys)
    clusterer = hook.get("clusterer", dict(type="KMeans"))
    levels = {OWN_LEVEL: labels}
    if args.hierarchy is not None:
        groups = class_levels(args.hierarchy, classes)
        levels = {name: torch.where(labels < 0, -1, of[labels]) for name, of in groups.items()}
    model = load_algorithm(args.checkpoint).to(args.device).eval()
    if not hasattr(model, "project") or (args.branch == "twin" and model.twin is None):
        raise ValueError(
            f"{type(model).__name__} has no embeddings of the branch {args.branch!r} to cluster."
        )
    rows, unreadable = clustered_embeddings(
        model, images.dataset, args.branch, batch_size=args.batch_size, num_workers=args.num_workers
    )
    if unreadable:
        print(f"{unreadable} images cannot be read; they have the embeddings of others.")
    found = score_prototypes(
        rows,
        levels,
        sizes,
        clusterer=build_clusterer(clusterer),
        num_keys=num_keys,
        seed=args.seed,
        progress="k-means",
    )
    return dict(
        checkpoint=args.checkpoint,
        checkpoint_sha256=file_sha256(args.checkpoint),
        method=type(model).__name__,
        branch=args.branch,
        data=args.data or images.dataset.root,
        data_fingerprint=images.dataset.fingerprint(),
        labels=args.labels,
        num_images=num_images,
        hierarchy=args.hierarchy,
        clusterer=clusterer,
        num_clusters=list(sizes),
        num_keys=num_keys,
        seed=args.seed,
        scores=asdict(found),
        **provenance(config, [images.dataset.views]),
    )


def table(record: dict[str, Any]) -> str:
    """The record as text: a line per level of prototypes and level of classes."""
    tree, selection = record["scores"]["tree"], record["scores"]["selection"]
    lines = ["prototypes  classes      AMI  false negatives removed  true negatives removed"]
    for size, agreement, mining in zip(
        record["num_clusters"], tree["levels"], selection, strict=True
    ):
        for name, scores in agreement.items():
            recall, _, kept, _ = mining[name]
            lines.append(
                f"{size:10d}  {name:8s}  {scores['ami']:6.3f}  {100 * recall:21.1f} %"
                f"  {100 * (1 - kept):20.1f} %"
            )
    purity = ", ".join(f"{name} {value:.3f}" for name, value in tree["dendrogram_purity"].items())
    return "\n".join([*lines, f"dendrogram purity: {purity}"])


def main() -> None:
    """Score and print."""
    args = parse_args()
    MMLogger.get_current_instance().setLevel("WARNING")  # initialisation lists every tensor
    with told_errors(__file__):
        record = score(args)
        print(table(record))
        if args.out:
            write_record(record, args.out)
            print(f"Written to {args.out}.")


if __name__ == "__main__":
    main()
