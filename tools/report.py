#!/usr/bin/env python
"""Write the HTML report of a run again, from the files in its work directory.

python tools/report.py work_dirs/care_resnet18
"""

from __future__ import annotations

import argparse

from mmssl.engine.user_errors import told_errors
from mmssl.visualization.run_report import write_run_report


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work_dir", help="directory of a run of tools/train.py")
    parser.add_argument("--out", help="file to write; WORK_DIR/report.html if not given")
    return parser.parse_args()


def main() -> None:
    """Write the page and say where it is."""
    args = parse_args()
    with told_errors(__file__):
        print(write_run_report(args.work_dir, args.out))


if __name__ == "__main__":
    main()
