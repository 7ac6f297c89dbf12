#!/usr/bin/env python
"""Show what HCSC or PCL has found: its prototypes as a page, paths of images, removed negatives.

    python tools/cluster_tree.py CONFIG work_dirs/hcsc/epoch_200.pth --query 12 345

Writes into --out: clusters.html (browse it; it is complete in itself), its numbers as clusters.json and, for
the images of --query, path_*.png and removed_*.png with paths.json and removed_negatives.json. The
embeddings are those of the momentum network, the clustering is the one that the checkpoint holds.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger
from torch import Tensor

from mmssl.convert.load_algorithm import load_algorithm
from mmssl.engine.config import load_config
from mmssl.engine.options import OptionAction
from mmssl.engine.user_errors import told_errors
from mmssl.losses.prototype import MOST_KEPT
from mmssl.models.algorithms import HCSC, PCL
from mmssl.ops.atomic_file import write_text_atomically
from mmssl.visualization.cluster_page import ClusterPage, page_data, write_cluster_page
from mmssl.visualization.cluster_summary import ClusterSummary, summarise_clusters
from mmssl.visualization.clustered_images import (
    ClusteredImages,
    cluster_hook,
    clustered_embeddings,
    load_clustered_images,
)
from mmssl.visualization.prototype_sheet import prototype_sheet
from mmssl.visualization.removed_negatives import (
    RemovedOnLevel,
    draw_masks,
    removed_negatives,
    removed_record,
    removed_sheet,
)
from mmssl.visualization.semantic_path import path_record, path_sheet, semantic_path

DEFAULT_QUERIES = 4


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="the config of the run: names images and evaluation view")
    parser.add_argument("checkpoint", help="a checkpoint of tools/train.py of HCSC or PCL")
    parser.add_argument(
        "--data",
        metavar="FOLDER",
        help="the images (a folder or a list), if they lie elsewhere now",
    )
    parser.add_argument("--out", help="folder to write; default: CHECKPOINT's name + _clusters")
    parser.add_argument(
        "--query", type=int, nargs="+", metavar="INDEX", help="images to show; default: 4 of them"
    )
    parser.add_argument(
        "--prototype",
        nargs="+",
        default=[],
        metavar="LEVEL/NUMBER",
        help="draw it and its children",
    )
    parser.add_argument(
        "--labels", metavar="FILE", help="a class per line, or a .csv of path and label"
    )
    parser.add_argument(
        "--size", type=int, help="side of the evaluation crop; default: ClusterHook's"
    )
    parser.add_argument("--nearest", type=int, default=8, help="images per prototype (default: 8)")
    parser.add_argument(
        "--members", type=int, default=12, help="members listed per finest prototype (default: 12)"
    )
    parser.add_argument(
        "--keys", type=int, default=16, help="removed keys shown per level (default: 16)"
    )
    parser.add_argument(
        "--max-thumbnails", type=int, default=12000, help="limits the page's size (default: 12000)"
    )
    parser.add_argument("--thumbnail-size", type=int, default=64, help="pixels (default: 64)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of removed keys")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--num-workers", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--cfg-options", nargs="+", action=OptionAction, metavar="KEY=VALUE")
    args = parser.parse_args()
    for name in ("size", "nearest", "members", "keys", "thumbnail_size", "batch_size"):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    for address in args.prototype:
        if not re.fullmatch(r"\d+/\d+", address):
            parser.error(f"--prototype {address}: a level and a number are expected, such as 2/17")
    return args


def load_clustered(checkpoint: str, hook: dict[str, Any]) -> HCSC | PCL:
    """The algorithm of a checkpoint that holds a clustering."""
    model = load_algorithm(checkpoint)
    if not isinstance(model, HCSC | PCL):
        raise ValueError(
            f"{checkpoint} holds a {type(model).__name__}, which has no prototypes. Give a checkpoint of "
            "HCSC or PCL."
        )
    if not model.prototypes.is_ready:
        when = hook.get("begin_epoch")
        raise ValueError(
            f"{checkpoint} holds no clustering yet: the run was still in its warm-up"
            + ("" if when is None else f", which lasts {when} epochs (begin_epoch of ClusterHook)")
            + ". Give a later checkpoint of it, or let it go on with tools/train.py --resume."
        )
    return model.eval()


def choose_queries(given: Sequence[int] | None, num_images: int) -> list[int]:
    """The images asked for, or some that are spread over the set."""
    if given is None:
        count = min(DEFAULT_QUERIES, num_images)
        return [(2 * number + 1) * num_images // (2 * count) for number in range(count)]
    for index in given:
        if not 0 <= index < num_images:
            raise ValueError(f"--query {index}: there are images 0 to {num_images - 1}.")
    return list(dict.fromkeys(given))


def choose_prototypes(given: Sequence[str], sizes: Sequence[int]) -> list[tuple[int, int]]:
    """The prototypes asked for, level and number each; `sizes` are the prototypes of every level."""
    chosen = []
    for address in given:
        level, number = map(int, address.split("/"))
        if not (level < len(sizes) and number < sizes[level]):
            raise ValueError(
                f"--prototype {address}: there is no prototype {address}; the levels have "
                f"{', '.join(map(str, sizes))}, the finest is level 0."
            )
        chosen.append((level, number))
    return list(dict.fromkeys(chosen))


def removed_by_query(
    model: HCSC | PCL, queries: Sequence[int], labels: Tensor | None, args: argparse.Namespace
) -> tuple[dict[int, list[RemovedOnLevel]], str]:
    """What the selection removes for each query, and a sentence about it."""
    if not isinstance(model, HCSC):
        return {}, f"{type(model).__name__} selects no negatives, so none were removed."
    if not model.instance_selection:
        return {}, "The run did not select among the keys (instance_selection=False)."
    index = torch.tensor(queries, device=model.queue.features.device)
    with torch.no_grad():
        keep = model.keep_keys(model.prototypes.assign(index)).clamp(0, MOST_KEPT).cpu()
    found = {
        query: removed_negatives(
            keep[:, number],
            draw_masks(keep[:, number], torch.Generator().manual_seed(args.seed)),
            query=query,
            key_index=model.queue.index.cpu(),
            labels=labels,
            limit=args.keys,
        )
        for number, query in enumerate(queries)
    }
    return found, (
        f"One draw (seed {args.seed}) from the probabilities p with which each level removes a key of the "
        "checkpoint's queue from the negatives of an image, the most probable first. A green frame is for "
        "the image's own class, a red one for another."
    )


def write_queries(
    out: Path, images: ClusteredImages, summary: ClusterSummary, removed: dict[int, list[RemovedOnLevel]],
    queries: Sequence[int],
) -> list[Path]:  # fmt: skip
    """Sheets and records of the chosen images."""
    written, paths, records = [], [], []
    for query in queries:
        path = semantic_path(summary, query)
        paths.append(path_record(query, path, images.names))
        written.append(out / f"path_{query}.png")
        path_sheet(images.dataset, query, path, images.names).save(written[-1])
        if query in removed:
            records.append(removed_record(query, removed[query], images.names))
            written.append(out / f"removed_{query}.png")
            sheet = removed_sheet(images.dataset, query, removed[query], images.names)
            sheet.save(written[-1])
    for name, content in (("paths.json", paths), ("removed_negatives.json", records)):
        if content:
            written.append(write_text_atomically(out / name, json.dumps(content, indent=1)))
    return written


def write_prototypes(
    out: Path, images: ClusteredImages, summary: ClusterSummary, chosen: Sequence[tuple[int, int]]
) -> list[Path]:
    """A sheet for each prototype that was asked for."""
    written = []
    for level, number in chosen:
        sheet = prototype_sheet(images.dataset, level, number, summary, images.names)
        written.append(out / f"prototype_{level}_{number}.png")
        sheet.save(written[-1])
    return written


def without_pictures(data: dict[str, Any]) -> dict[str, Any]:
    """The numbers of a page."""
    images = {key: rows for key, rows in data["images"].items() if not key.startswith("jpeg")}
    return {**data, "images": images}


def draw(args: argparse.Namespace) -> list[Path]:
    """Everything, and the files that were written."""
    config = load_config(args.config, args.cfg_options)
    hook = cluster_hook(config)
    model = load_clustered(args.checkpoint, hook).to(args.device)
    images = load_clustered_images(config, hook, data=args.data, labels=args.labels, size=args.size)
    prototypes, names = model.prototypes, images.names
    clustered, present = prototypes.assignment.shape[1], len(images.dataset)
    if clustered != present:
        place = images.dataset.root or args.config
        raise ValueError(
            f"The checkpoint's clustering is one of {clustered} images, but {place} has {present}. "
            "Give the images that the run was trained on with --data, all of them."
        )
    queries = choose_queries(args.query, present)
    clustering = prototypes.clustering()
    chosen = choose_prototypes(args.prototype, [len(rows) for rows in clustering.centroids])
    branch = hook.get("features", "twin")
    features, unreadable = clustered_embeddings(
        model, images.dataset, branch, batch_size=args.batch_size, num_workers=args.num_workers
    )
    if unreadable:
        print(f"{unreadable} images cannot be read; they have the embeddings of others.")
    summary = summarise_clusters(
        clustering,
        features.to(args.device),
        names.labels,
        num_nearest=args.nearest,
        num_members=args.members,
        progress="Nearest images",
    )
    removed, note = removed_by_query(model, queries, names.labels, args)
    out = Path(args.out or f"{Path(args.checkpoint).with_suffix('')}_clusters")
    out.mkdir(parents=True, exist_ok=True)
    page = ClusterPage(
        title=f"Clusters of {Path(args.checkpoint).resolve().parent.name}",
        subtitle=f"{type(model).__name__}, {Path(args.checkpoint).name}; clustered at the beginning of epoch "
        f"{int(prototypes.epoch) + 1}.",
        summary=summary,
        names=names,
        queries=queries,
        removed=removed,
        note=note,
    )
    data = page_data(
        page,
        images.dataset,
        max_thumbnails=args.max_thumbnails,
        side=args.thumbnail_size,
        num_threads=max(1, args.num_workers),
        progress="Thumbnails",
    )
    return [
        write_cluster_page(out / "clusters.html", page, data),
        write_text_atomically(out / "clusters.json", json.dumps(without_pictures(data))),
        *write_prototypes(out, images, summary, chosen),
        *write_queries(out, images, summary, removed, queries),
    ]


def main() -> None:
    """Draw and say where."""
    args = parse_args()
    MMLogger.get_current_instance().setLevel("WARNING")  # initialisation lists every tensor
    with told_errors(__file__):
        for path in draw(args):
            print(path)


if __name__ == "__main__":
    main()
