#!/usr/bin/env python
"""Print a config with its bases merged, checked, in one piece; `--out` writes it as a flat file."""

from __future__ import annotations

import argparse

from mmssl.engine.config import load_config
from mmssl.engine.options import OptionAction
from mmssl.engine.user_errors import told_errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--cfg-options", nargs="+", action=OptionAction, metavar="KEY=VALUE", help="overrides"
    )
    parser.add_argument(
        "--out", metavar="FILE", help="write the flat config here (.py, .yml or .json)"
    )
    args = parser.parse_args()
    with told_errors(__file__):
        config = load_config(args.config, args.cfg_options)
        print(config.pretty_text)
        if args.out:
            config.dump(args.out)


if __name__ == "__main__":
    main()
