"""Convert a checkpoint between the layout of a method's authors and ours, or one of mmselfsup or mmpretrain.

    python tools/convert_checkpoint.py last_epoch.pth.tar care_ours.pth
    python tools/convert_checkpoint.py work_dirs/run/epoch_100.pth official.pth --to official
    python tools/convert_checkpoint.py mmselfsup_or_mmpretrain.pth byol_ours.pth
    python tools/convert_checkpoint.py --method esvit checkpoint.pth esvit_ours.pth --trust-pickle

Towards ours the model config is written beside it (care_ours.py). It is that of --config, else the one that
the file carries, else it is read off the file; what no weights tell is guessed after the published models,
and printed.
"""

from __future__ import annotations

import argparse

from mmssl.convert.convert_file import METHODS, convert_file
from mmssl.engine.user_errors import told_errors


def main() -> None:
    """Parse the arguments and convert."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="checkpoint to read")
    parser.add_argument("target", help="checkpoint to write (.pth)")
    parser.add_argument(
        "--method",
        choices=["auto", *METHODS],
        default="auto",
        help="whose file it is, or is to be (default: by the names in it)",
    )
    parser.add_argument("--to", choices=["ours", "official"], default="ours")
    parser.add_argument("--config", help="a config whose model is the one in the file")
    parser.add_argument(
        "--iters-per-epoch",
        type=int,
        default=1251,
        help="of the official run, to place the teacher's momentum (ImageNet, batch 1024: 1251)",
    )
    parser.add_argument(
        "--trust-pickle", action="store_true", help="read a file that runs code when unpickled"
    )
    arguments = parser.parse_args()
    with told_errors(__file__):
        lines = convert_file(
            arguments.source,
            arguments.target,
            method=arguments.method,
            to=arguments.to,
            iters_per_epoch=arguments.iters_per_epoch,
            config=arguments.config,
            trust_pickle=arguments.trust_pickle,
        )
    print("\n".join(lines))


if __name__ == "__main__":
    main()
