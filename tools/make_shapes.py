"""Draw Shapes, the embedded demo data: `python tools/make_shapes.py data/shapes`."""

from __future__ import annotations

import argparse
import sys
import time

from mmssl.datasets.shapes import LEVELS, draw_shapes
from mmssl.engine.user_errors import told_errors


def number_or_name(text: str) -> float | str:
    """Read a difficulty: a number, or the name of one."""
    try:
        return float(text)
    except ValueError:
        return text


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", help="folder to draw into")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=96, help="pixels of an unlabelled scene")
    parser.add_argument("--scene-size", type=int, default=128, help="pixels of a labelled scene")
    parser.add_argument("--num-unlabelled", type=int, default=4000)
    parser.add_argument("--num-classify-train", type=int, default=2400)
    parser.add_argument("--num-classify-val", type=int, default=960)
    parser.add_argument("--num-scenes-train", type=int, default=300)
    parser.add_argument("--num-scenes-val", type=int, default=200)
    parser.add_argument(
        "--difficulty",
        type=number_or_name,
        default="default",
        help="easy, default, hard or a number from 0 to 1",
    )
    parser.add_argument(
        "--flock", type=float, default=1.0, help="share of unlabelled scenes of a single class"
    )
    parser.add_argument("--detection-level", choices=LEVELS, default="species")
    parser.add_argument("--num-workers", type=int, default=None, help="default: all cores")
    return parser.parse_args()


def show_bar(done: int, total: int) -> None:
    """Show how far the drawing is, on one line."""
    step = max(1, total // 200)
    if done % step == 0 or done == total:
        filled = 40 * done // total
        end = "\n" if done == total else ""
        bar = "#" * filled + "." * (40 - filled)
        print(f"\rdrawing [{bar}] {done}/{total}", end=end, file=sys.stderr, flush=True)


def main() -> None:
    """Draw, or say that everything is there."""
    options = vars(parse_args())
    root = options.pop("root")
    start = time.perf_counter()
    with told_errors(__file__):
        summary = draw_shapes(root, progress=show_bar, **options)
    state = "drawn" if summary["drawn"] else "already there"
    seconds = time.perf_counter() - start
    print(f"{root}: {summary['files']} files {state} in {seconds:.1f} s")


if __name__ == "__main__":
    main()
