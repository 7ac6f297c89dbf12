"""Show what the augmentations of a config do to images, as one picture.

python tools/show_views.py configs/_base_/views/care.py --images photos --out views.png
python tools/show_views.py my_config.py --epoch 12 --index 4711 --seed 3   # one suspicious view
"""

from __future__ import annotations

import argparse

from mmengine.registry import init_default_scope

from mmssl.engine.config import load_config
from mmssl.engine.options import OptionAction
from mmssl.engine.user_errors import told_errors
from mmssl.registry import TRANSFORMS
from mmssl.visualization.view_sheet import find_rows, find_views, view_sheet


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a training config or a file of configs/_base_/views")
    parser.add_argument(
        "--images", nargs="+", help="a folder, or files; default: the config's training images"
    )
    parser.add_argument("--out", default="views.png", help="the picture (default: views.png)")
    parser.add_argument("--num", type=int, default=6, help="number of images (default: 6)")
    parser.add_argument("--index", type=int, help="only the image at this position of the dataset")
    parser.add_argument("--epoch", type=int, default=0, help="epoch of the views (default: 0)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the run (default: 0)")
    parser.add_argument("--cfg-options", nargs="+", action=OptionAction, metavar="KEY=VALUE")
    return parser.parse_args()


def main() -> None:
    """Draw the sheet and write it."""
    args = parse_args()
    with told_errors(__file__):
        config = load_config(args.config, args.cfg_options)
        init_default_scope(config.get("default_scope", "mmssl"))
        views = TRANSFORMS.build(find_views(config))
        rows = find_rows(args.images, num=args.num, index=args.index, config=config)
        view_sheet(rows, views, seed=args.seed, epoch=args.epoch).save(args.out)
    print(f"{len(rows)} images, {len(views)} views each: {args.out}")


if __name__ == "__main__":
    main()
