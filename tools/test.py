#!/usr/bin/env python
"""Evaluate a backbone: k-NN, linear classifiers, SVM, clusters; or test a classifier, detector or segmentor.

    python tools/test.py configs/care/care_resnet50_8xb128-coslr-200e_in1k.py CHECKPOINT \\
        --knn --linear --train data/flowers/train --val data/flowers/val
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger

from mmssl.engine.config import load_config
from mmssl.engine.family_data import check_family_data
from mmssl.engine.local_rank import set_local_rank
from mmssl.engine.options import OptionAction
from mmssl.engine.user_errors import told_errors
from mmssl.evaluation.classifier import evaluate_classifier
from mmssl.evaluation.evaluate import (
    evaluate_backbone,
    evaluate_downstream,
    evaluation_plan,
    is_downstream,
    write_record,
)
from mmssl.evaluation.feature_protocols import OPTIONS
from mmssl.evaluation.result_table import format_results

_ANY = {"config", "checkpoint", "out", "cfg_options", "trust_pickle"}
# what each kind of test is, and which options it reads beside those
_DETECTOR = (
    "The config is a detector's or segmentor's, tested as it says",
    {"work_dir", "launcher"},
)
_CLASSIFIER = (
    "--classify tests a classifier on the validation images of its config",
    {"classify", "branch", "device"},
)
_FEATURES = (
    "Features of a backbone are evaluated in one process",
    {
        *OPTIONS, "train", "val", "size", "branch", "k", "last_blocks", "low_shot", "num_clusters",
        "seed", "device",
    },
)  # fmt: skip


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "config", help="of the pretraining, of configs/benchmarks, of mmdet or mmseg"
    )
    parser.add_argument("checkpoint", help="weights file, or 'none' for a random start")
    parser.add_argument(
        "--knn",
        action="store_true",
        help="weighted k-NN (if nothing is asked for: what the config says, or k-NN and linear probe)",
    )
    parser.add_argument("--linear", action="store_true", help="linear probe on cached features")
    parser.add_argument(
        "--logistic", action="store_true", help="logistic regression, mean per class too"
    )
    parser.add_argument("--svm", action="store_true", help="linear SVM per class, mean AP")
    parser.add_argument("--cluster", action="store_true", help="k-means against the classes")
    parser.add_argument(
        "--classify",
        action="store_true",
        help="a trained classifier on its config's validation images, by averaged weights if it has them",
    )
    parser.add_argument("--train", metavar="FOLDER", help="labelled images: one folder per class")
    parser.add_argument("--val", metavar="FOLDER", help="labelled images that are classified")
    parser.add_argument("--size", type=int, help="side of the evaluation crop; 224 if not given")
    parser.add_argument(
        "--branch", choices=["auto", "online", "twin"], help="whose backbone (default: auto)"
    )
    parser.add_argument("--k", type=int, nargs="+", help="numbers of neighbours")
    parser.add_argument(
        "--last-blocks", type=int, metavar="N", help="linear probe on the last N blocks (EsViT: 4)"
    )
    parser.add_argument(
        "--low-shot", type=int, nargs="+", metavar="K", help="SVMs on K random images per class too"
    )
    parser.add_argument(
        "--num-clusters", type=int, nargs="+", metavar="K", help="clusterings of K clusters"
    )
    parser.add_argument("--seed", type=int, help="default: 0")
    parser.add_argument("--trust-pickle", action="store_true", help="let the file run its code")
    parser.add_argument("--device", help="default: cuda if there is a GPU, else cpu")
    parser.add_argument(
        "--work-dir", help="log of a detector's test; work_dirs/<config> if not given"
    )
    parser.add_argument(
        "--out", metavar="FILE.json", help="write the results and all that they depend on"
    )
    parser.add_argument("--cfg-options", nargs="+", action=OptionAction, metavar="KEY=VALUE")
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    args = parser.parse_args()
    set_local_rank()
    for name in ("size", "k", "last_blocks", "low_shot", "num_clusters"):
        value = getattr(args, name)
        for number in value if isinstance(value, list) else [value]:
            if number is not None and number < 1:
                parser.error(f"--{name.replace('_', '-')} must be at least 1, got {number}")
    return args


def refuse_unread(args: argparse.Namespace, kind: tuple[str, set[str]]) -> None:
    """Refuse options that a kind of test would not read.

    Args:
        args: The command line; an option that was not given is None, False or 'none'.
        kind: What the test is, and the options that it reads.

    Raises:
        SystemExit: There are some.
    """

    def flags(names: Iterable[str]) -> str:
        return ", ".join(f"--{name.replace('_', '-')}" for name in names)

    what, read = kind
    given = [
        name
        for name, value in vars(args).items()
        if not (value is None or value is False or value == "none")
    ]
    unread = [name for name in given if name not in read | _ANY]
    if unread:
        others = [name for name in vars(args) if name in (read | {"out", "cfg_options"})]
        raise SystemExit(f"{what}: it does not take {flags(unread)}, only {flags(others)}.")


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """The record of what was asked for."""
    config = load_config(args.config, args.cfg_options)
    checkpoint = None if args.checkpoint == "none" else args.checkpoint
    trust = args.trust_pickle or config.get("trust_pickle", False)
    if is_downstream(config):
        refuse_unread(args, _DETECTOR)
        check_family_data(config, parts=("test",))
        config.launcher = args.launcher
        config.work_dir = args.work_dir or f"work_dirs/{Path(args.config).stem}"
        return evaluate_downstream(config, checkpoint, trust_pickle=trust)
    refuse_unread(args, _CLASSIFIER if args.classify else _FEATURES)
    MMLogger.get_current_instance().setLevel("WARNING")  # initialisation lists every tensor
    branch = args.branch or "auto"
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if args.classify:
        if checkpoint is None:
            raise SystemExit("--classify tests a classifier that was trained: name its checkpoint.")
        return evaluate_classifier(
            config, checkpoint, branch=branch, device=device, progress=True, trust_pickle=trust
        )
    return evaluate_backbone(
        config,
        checkpoint,
        plan=evaluation_plan(
            config,
            methods=[name for name in OPTIONS if getattr(args, name)] or None,
            train=args.train,
            val=args.val,
            size=args.size,
            k=args.k,
            last_blocks=args.last_blocks,
            low_shot=args.low_shot,
            num_clusters=args.num_clusters,
        ),
        branch=branch,
        seed=args.seed or 0,
        device=device,
        progress=True,
        trust_pickle=trust,
    )


def main() -> None:
    args = parse_args()
    with told_errors(__file__):
        record = evaluate(args)
        print(format_results(record))
        if args.out:
            write_record(record, args.out)
            print(f"Written to {args.out}.")


if __name__ == "__main__":
    main()
