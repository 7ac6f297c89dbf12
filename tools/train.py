#!/usr/bin/env python
"""Train a model: self-supervised pretraining, or a detector or segmentor on pretrained weights.

python tools/train.py configs/care/care_resnet50_8xb128-coslr-200e_in1k.py
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS

from mmssl.convert.pretrained_backbone import check_checkpoint
from mmssl.convert.transfer_load import check_load_from
from mmssl.datasets.bad_files import TooManyBadFilesError
from mmssl.engine.config import load_config
from mmssl.engine.family_data import check_family_data
from mmssl.engine.family_runtime import complete_family_runtime
from mmssl.engine.hooks import latest_checkpoint
from mmssl.engine.local_rank import set_local_rank
from mmssl.engine.options import OptionAction
from mmssl.engine.switches import (
    set_accumulation,
    set_activation_checkpointing,
    set_compile,
    set_precision,
)
from mmssl.engine.user_errors import is_user_error


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--work-dir", help="where logs and checkpoints go; work_dirs/<config> if not given"
    )
    parser.add_argument(
        "--resume", nargs="?", const="auto", metavar="auto|PATH",
        help="go on with the newest checkpoint of the work directory, if there is one, or with the given one",
    )  # fmt: skip
    parser.add_argument(
        "--amp", nargs="?", const="bf16", choices=["bf16", "fp16"], help="mixed precision"
    )
    parser.add_argument(
        "--accumulate", type=int, metavar="N", help="step the optimizer every N batches"
    )
    parser.add_argument(
        "--activation-checkpointing", nargs="+", metavar="MODULE",
        help="recompute the activations of these modules, e.g. backbone.layer1",
    )  # fmt: skip
    parser.add_argument(
        "--compile",
        nargs="*",
        metavar="MODULE",
        help="torch.compile these; default: the backbone",
    )
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the lr with the images of an optimizer step",
    )
    parser.add_argument(
        "--no-validate",
        action="store_true",
        help="no validation, no k-NN and no correspondence during training",
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=OptionAction,
        metavar="KEY=VALUE",
        help="override entries",
    )
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)
    args = parser.parse_args()
    set_local_rank(args.local_rank)
    return args


def config_of(args: argparse.Namespace) -> Config:
    """The config with all that the command line changes; what it names exists."""
    config = load_config(args.config, args.cfg_options)
    config.launcher = args.launcher
    config.work_dir = (
        args.work_dir or config.get("work_dir") or f"work_dirs/{Path(args.config).stem}"
    )
    config.runner_type = config.get("runner_type", "mmssl.Runner")
    complete_family_runtime(config)
    if args.amp:
        set_precision(config, args.amp)
    if args.accumulate is not None:
        set_accumulation(config, args.accumulate)
    if args.activation_checkpointing:
        set_activation_checkpointing(config, args.activation_checkpointing)
    if args.compile is not None:
        set_compile(config, args.compile or ["backbone"])
    if args.auto_scale_lr:
        if "base_batch_size" not in config.get("auto_scale_lr", {}):
            raise SystemExit(
                "--auto-scale-lr needs auto_scale_lr = dict(base_batch_size=...) in the config."
            )
        config.auto_scale_lr.enable = True
    if args.no_validate:
        for key in ("val_cfg", "val_dataloader", "val_evaluator"):
            config[key] = None
        hooks = config.get("custom_hooks") or []
        monitors = ("KNNHook", "CorrespondenceHook")
        config.custom_hooks = [
            hook for hook in hooks if not str(hook.get("type")).endswith(monitors)
        ]
    checkpoint = latest_checkpoint(config.work_dir) if args.resume == "auto" else args.resume
    if checkpoint:
        config.resume, config.load_from = True, str(checkpoint)
    else:
        transfer = config.get("default_scope", "mmssl") != "mmssl"
        check_load_from(config.get("load_from"), transfer=transfer)
    backbone = config.get("model", {}).get("backbone") or {}
    if "checkpoint" in (backbone.get("init_cfg") or {}) and config.get("default_scope") == "mmssl":
        check_checkpoint(backbone["init_cfg"]["checkpoint"])
    check_family_data(config)
    return config


class StartMark(Hook):
    """Remembers that the first epoch has begun."""

    priority = "VERY_HIGH"
    started = False

    def before_train_epoch(self, runner) -> None:
        self.started = True


def main() -> None:
    args = parse_args()
    mark = StartMark()
    try:
        runner = RUNNERS.build(config_of(args))
        runner.register_hook(mark)
        runner.train()
    except TooManyBadFilesError as error:
        sys.exit(f"error: {error}")  # whenever it is: the message says all that there is to know
    except (OSError, ValueError) as error:
        # Data, model and checkpoint are built in train(). From the first epoch on, and for what no
        # check of ours has raised, the place of the error matters.
        if mark.started or not is_user_error(error):
            raise
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
