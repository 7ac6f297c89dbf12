#!/usr/bin/env python
"""Evaluate: k-NN and linear accuracy of a pretrained backbone, or the test of a detector or segmentor.

    python tools/test.py configs/care/care_resnet50_8xb128-coslr-200e_in1k.py CHECKPOINT \\
        --knn --linear --train data/flowers/train --val data/flowers/val
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from mmengine.config import DictAction
from mmengine.logging import MMLogger

from mmssl.datasets.bad_files import TooManyBadFilesError
from mmssl.engine.config import load_config
from mmssl.engine.family_data import check_family_data
from mmssl.engine.user_errors import is_user_error
from mmssl.evaluation.evaluate import (
    evaluate_backbone,
    evaluate_downstream,
    evaluation_plan,
    format_results,
    is_downstream,
    write_record,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "config", help="of the pretraining, of configs/benchmarks, of mmdet or mmseg"
    )
    parser.add_argument("checkpoint", help="weights file, or 'none' for a random start")
    parser.add_argument(
        "--knn", action="store_true", help="weighted k-NN (both, if neither is asked for)"
    )
    parser.add_argument("--linear", action="store_true", help="linear probe on cached features")
    parser.add_argument("--train", metavar="FOLDER", help="labelled images: one folder per class")
    parser.add_argument("--val", metavar="FOLDER", help="labelled images that are classified")
    parser.add_argument("--size", type=int, help="side of the evaluation crop; 224 if not given")
    parser.add_argument(
        "--branch", choices=["auto", "online", "twin"], default="auto", help="whose backbone"
    )
    parser.add_argument("--k", type=int, nargs="+", help="numbers of neighbours")
    parser.add_argument(
        "--last-blocks", type=int, metavar="N", help="linear probe on the last N blocks (EsViT: 4)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--work-dir", help="log of a detector's test; work_dirs/<config> if not given"
    )
    parser.add_argument(
        "--out", metavar="FILE.json", help="write the results and all that they depend on"
    )
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE")
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    return parser.parse_args()


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """The record of what was asked for."""
    config = load_config(args.config, args.cfg_options)
    checkpoint = None if args.checkpoint == "none" else args.checkpoint
    if is_downstream(config):
        if args.knn or args.linear:
            raise SystemExit(
                "--knn and --linear are for pretraining configs; this one is a detector's or segmentor's."
            )
        check_family_data(config, parts=("test",))
        config.launcher = args.launcher
        config.work_dir = args.work_dir or f"work_dirs/{Path(args.config).stem}"
        return evaluate_downstream(config, checkpoint)
    if args.launcher != "none":
        raise SystemExit("k-NN and linear probe run in one process; leave --launcher out.")
    MMLogger.get_current_instance().setLevel("WARNING")  # initialisation lists every tensor
    chosen = [name for name in ("knn", "linear") if getattr(args, name)]
    return evaluate_backbone(
        config,
        checkpoint,
        plan=evaluation_plan(
            config,
            train=args.train,
            val=args.val,
            size=args.size,
            k=args.k,
            last_blocks=args.last_blocks,
        ),
        methods=chosen or ["knn", "linear"],
        branch=args.branch,
        seed=args.seed,
        device=args.device,
        progress=True,
    )


def main() -> None:
    args = parse_args()
    try:
        record = evaluate(args)
        print(format_results(record))
        if args.out:
            write_record(record, args.out)
            print(f"Written to {args.out}.")
    except (OSError, ValueError, TooManyBadFilesError) as error:
        if not is_user_error(error):
            raise
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
