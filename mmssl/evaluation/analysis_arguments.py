"""The command line that tools share which look at backbones through a folder of images without labels."""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

import torch
from mmengine.logging import MMLogger
from torch import nn

from mmssl.engine.config import load_config
from mmssl.engine.options import OptionAction
from mmssl.evaluation.evaluate import build_backbone

_COUNTS = ("size", "num_images", "batch_size")


def add_analysis_arguments(parser: argparse.ArgumentParser, *, seed: str) -> None:
    """Add where images and network come from, how images are read, and where the record goes.

    Args:
        parser: Of the tool, which names its checkpoints itself.
        seed: What the seed is of.
    """
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
    parser.add_argument("--seed", type=int, default=0, help=f"of {seed}")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--num-workers", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", metavar="FILE.json", help="write the result and its origin")
    parser.add_argument("--cfg-options", nargs="+", action=OptionAction, metavar="KEY=VALUE")


def parse_analysis(parser: argparse.ArgumentParser, *counts: str) -> argparse.Namespace:
    """Parse; end with a sentence where options do not go together or a number is below 1.

    Args:
        parser: With `add_analysis_arguments`.
        *counts: Names of the tool's own numbers of at least 1.
    """
    args = parser.parse_args()
    if args.cfg_options and not args.config:
        parser.error("--cfg-options changes the config of --config")
    for name in (*_COUNTS, *counts):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    MMLogger.get_current_instance().setLevel("WARNING")  # initialisation lists every tensor
    return args


class Analysed(NamedTuple):
    """A backbone on its device, what normalises its images, and where its weights come from."""

    backbone: nn.Module
    preprocessor: nn.Module
    weights: dict[str, Any]


def analysed(args: argparse.Namespace, checkpoint: str) -> Analysed:
    """The backbone of a checkpoint, or of a random start for 'none'.

    Raises:
        ValueError: See `build_backbone`.
    """
    config = load_config(args.config, args.cfg_options) if args.config else None
    backbone, preprocessor, weights = build_backbone(
        config, None if checkpoint == "none" else checkpoint, branch=args.branch, seed=args.seed
    )
    return Analysed(backbone.to(args.device), preprocessor.to(args.device), weights)
