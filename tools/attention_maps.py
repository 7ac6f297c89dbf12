#!/usr/bin/env python
"""Draw where networks look: images beside the attention maps of one or more checkpoints.

    python tools/attention_maps.py --images a.jpg b.jpg \\
        --checkpoint work_dirs/byol/epoch_100.pth work_dirs/care/epoch_100.pth \\
        --labels "without CARE" "with CARE" --out maps.png

Modes: `energy`, the mean over channels of the backbone's last map, needs no labels and works for
every network and image size (default); `grad-cam`, what speaks for a class of a linear classifier
(--classifier, a file with `weight` and `bias` as torch.save writes them); `stream`, how much each
position is attended in each block of CARE's attention stream, mean over heads unless --head is given.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mmssl.convert.checkpoint_file import load_weights_file
from mmssl.convert.load_algorithm import load_algorithm
from mmssl.datasets.decode import read_image
from mmssl.datasets.image_folder import ImageFolder
from mmssl.engine.user_errors import told_errors
from mmssl.models.algorithms.base import BaseAlgorithm
from mmssl.visualization.attention_maps import (
    attention_sheet,
    central_crop,
    energy_of,
    grad_cam,
    stream_attention,
    unit_range,
    whole_image,
)


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", nargs="+", required=True, help="image files or folders")
    parser.add_argument(
        "--checkpoint", nargs="+", required=True, help="checkpoints of tools/train.py"
    )
    parser.add_argument(
        "--labels", nargs="+", help="a name per checkpoint; file names if not given"
    )
    parser.add_argument("--out", required=True, help="picture to write (.png or .jpg)")
    parser.add_argument("--mode", default="energy", choices=("energy", "grad-cam", "stream"))
    parser.add_argument(
        "--untrained", action="store_true", help="first show the first network untrained"
    )
    parser.add_argument("--branch", default="auto", choices=("auto", "online", "twin"))
    parser.add_argument("--size", type=int, default=224, help="side of the crop, or shorter side")
    parser.add_argument(
        "--whole", action="store_true", help="whole images instead of central crops"
    )
    parser.add_argument("--stage", type=int, default=-1, help="map of the backbone, -1 is the last")
    parser.add_argument(
        "--norm", action="store_true", help="energy: L2 norm over channels, not mean"
    )
    parser.add_argument(
        "--classifier", nargs="+", help="grad-cam: a linear classifier per checkpoint"
    )
    parser.add_argument("--head", type=int, help="stream: this head only")
    parser.add_argument("--alpha", type=float, default=0.5, help="share of the colours")
    parser.add_argument("--max-images", type=int, default=8)
    args = parser.parse_args()
    args.labels = args.labels or default_labels(args.checkpoint)
    if len(args.labels) != len(args.checkpoint):
        parser.error(f"{len(args.labels)} labels for {len(args.checkpoint)} checkpoints")
    if len(set(args.labels)) < len(args.labels):
        parser.error(f"every network needs a label of its own, got {', '.join(args.labels)}")
    if args.mode == "grad-cam" and len(args.classifier or []) != len(args.checkpoint):
        parser.error("--mode grad-cam needs --classifier with one file per checkpoint")
    if args.mode == "grad-cam" and args.untrained:
        parser.error("--untrained has no classifier; leave it out with --mode grad-cam")
    return args


def default_labels(paths: list[str]) -> list[str]:
    """File names, with the folder in front where two files have the same, as `epoch_100` often is."""
    stems = [Path(path).stem for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    return [
        f"{Path(path).resolve().parent.name}/{stem}"
        for path, stem in zip(paths, stems, strict=True)
    ]


def read_images(args: argparse.Namespace) -> list[np.ndarray]:
    """The first `--max-images` pictures of the given files and folders, cut to size."""
    paths: list[Path] = []
    for name in args.images:
        if Path(name).is_dir():
            folder = ImageFolder(name, views=None)
            paths += [Path(folder.path(index)) for index in range(len(folder))]
        else:
            paths.append(Path(name))
    prepare = whole_image if args.whole else central_crop
    return [
        np.asarray(prepare(read_image(path, "pil"), args.size)) for path in paths[: args.max_images]
    ]


def linear_classifier(path: str) -> nn.Linear:
    """A linear layer from a file with `weight` (K, C) and `bias` (K,)."""
    content = load_weights_file(path)
    state = content.get("state_dict", content)
    if not {"weight", "bias"} <= set(state):
        raise ValueError(f"{path} has no weight and bias of a linear classifier.")
    layer = nn.Linear(*reversed(state["weight"].shape))
    layer.load_state_dict({name: state[name] for name in ("weight", "bias")})
    return layer


def maps_of(
    model: BaseAlgorithm, images: list[np.ndarray], args: argparse.Namespace, number: int
) -> dict[str, list[Tensor]]:
    """Rows of the sheet for one network: suffix of the label -> a map per image."""
    rows: dict[str, list[Tensor]] = {}
    if args.mode == "stream":
        blocks = stream_attention(model, images)
        for index, block in enumerate(blocks):
            if args.head is not None and not -block.shape[1] <= args.head < block.shape[1]:
                raise ValueError(f"--head {args.head}: block {index} has {block.shape[1]} heads.")
            chosen = block.mean(dim=1) if args.head is None else block[:, args.head]
            rows[f", block {index}"] = list(unit_range(chosen))
        return rows
    branch = model.published_branch if args.branch == "auto" else args.branch
    if args.branch == "auto" and model.twin is None:
        branch = "online"
    # One at a time: whole images differ in size.
    for image in images:
        if args.mode == "energy":
            reduce = "norm" if args.norm else "mean"
            drawn = energy_of(model, [image], stage=args.stage, reduce=reduce, branch=branch)
        else:
            classifier = linear_classifier(args.classifier[number])
            drawn = grad_cam(model, classifier, [image], branch=branch)
        rows.setdefault("", []).append(drawn[0])
    return rows


def main() -> None:
    """Write the sheet and say where it is."""
    args = parse_args()
    torch.manual_seed(0)
    with told_errors(__file__):
        images = read_images(args)
        if not images:
            sys.exit(f"error: no images in {', '.join(args.images)}")
        sources = [
            (path, label, True) for path, label in zip(args.checkpoint, args.labels, strict=True)
        ]
        if args.untrained:
            sources.insert(0, (args.checkpoint[0], "untrained", False))
        rows = {}
        for number, (path, label, with_weights) in enumerate(sources):
            model = load_algorithm(path, with_weights=with_weights).eval()
            for suffix, maps in maps_of(model, images, args, number).items():
                rows[label + suffix] = maps
        attention_sheet(images, rows, alpha=args.alpha).save(args.out)
    print(args.out)


if __name__ == "__main__":
    main()
