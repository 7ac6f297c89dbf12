"""Is there anything to learn in the views of a config, with its data and its untrained network?

python tools/view_signal.py configs/care/care_resnet50_1xb64-coslr-200e_folder.py \
    --cfg-options train_dataloader.dataset.root=photos
"""

from __future__ import annotations

import argparse

import torch
from mmengine.registry import init_default_scope

from mmssl.engine.config import load_config
from mmssl.engine.options import OptionAction
from mmssl.engine.runner import Runner
from mmssl.engine.user_errors import told_errors
from mmssl.evaluation.view_signal import view_signal
from mmssl.registry import MODELS

# On Shapes (mmssl/datasets/shapes/README.md) regression got nowhere below, and learnt above.
WEAK = 0.05


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a training config")
    parser.add_argument("--batches", type=int, default=12, help="how many to look at (default: 12)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and views (default: 0)")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=OptionAction,
        metavar="KEY=VALUE",
        help="override entries",
    )
    args = parser.parse_args()
    if args.batches < 1:
        parser.error(f"--batches must be at least 1, got {args.batches}")
    return args


def tell(args: argparse.Namespace) -> None:
    """Measure, print, and say what it means."""
    config = load_config(args.config, args.cfg_options)
    if config.get("default_scope", "mmssl") != "mmssl" or not {"model", "train_dataloader"} <= set(
        config
    ):
        raise SystemExit(f"{args.config} is no pretraining config of mmssl.")
    init_default_scope("mmssl")
    torch.manual_seed(args.seed)
    algorithm = MODELS.build(config.model)
    algorithm.init_weights()
    algorithm.to("cuda" if torch.cuda.is_available() else "cpu")
    loader = dict(config.train_dataloader)
    loader["persistent_workers"] = False
    batches = Runner.build_dataloader(loader, args.seed)
    if not len(batches):
        raise SystemExit(
            f"{len(batches.dataset)} images make no batch of {batches.batch_size}: lower "
            "train_dataloader.batch_size with --cfg-options."
        )
    signal = view_signal(algorithm, batches, args.batches)
    print(f"Correlation of the untrained network's features, {signal.num_images} images:")
    print(f"  two views of one image         {signal.same_image:6.3f}")
    if signal.same_class is not None:
        print(f"  two images of one class        {signal.same_class:6.3f}")
    print(f"  two other images               {signal.other:6.3f}")
    if signal.same_image - signal.other < WEAK:
        print(
            f"Below {WEAK}: to this network two views of an image are as different as two images. "
            "Methods without negatives (BYOL, CARE) have little to start from: use milder jitter or "
            "larger crops, zero_init_residual=True, or weights that exist (model.init_cfg)."
        )


def main() -> None:
    args = parse_args()
    with told_errors(__file__):
        tell(args)


if __name__ == "__main__":
    main()
