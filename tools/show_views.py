"""Show what the augmentations of a config do to images, as one picture.

python tools/show_views.py configs/_base_/views/byol.py --images photos --out views.png
python tools/show_views.py my_config.py --epoch 12 --index 4711 --seed 3   # one suspicious view
"""

from __future__ import annotations

import argparse
import os

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmssl.datasets import ImageDataset, ImageFolder
from mmssl.registry import DATASETS, TRANSFORMS, load_plugins
from mmssl.visualization.view_sheet import SheetRow, find_views, view_sheet


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
    return parser.parse_args()


def choose_rows(dataset: ImageDataset, index: int | None, num: int) -> list[SheetRow]:
    """The image asked for, or `num` images spread over the dataset."""
    if index is not None:
        if not -len(dataset) <= index < len(dataset):
            raise SystemExit(f"--index {index}: there are {len(dataset)} images.")
        chosen = [range(len(dataset))[index]]
    else:
        num = min(num, len(dataset))
        chosen = [position * len(dataset) // num for position in range(num)]
    return [SheetRow(dataset.path(position), position) for position in chosen]


def main() -> None:
    """Draw the sheet and write it."""
    args = parse_args()
    config = Config.fromfile(args.config)
    load_plugins()
    init_default_scope(config.get("default_scope", "mmssl"))
    views = TRANSFORMS.build(find_views(config))
    if args.images and len(args.images) > 1 and any(map(os.path.isdir, args.images)):
        raise SystemExit("--images takes one folder, or files.")
    if args.images and not os.path.isdir(args.images[0]):
        rows = [SheetRow(path, number) for number, path in enumerate(args.images)]
        if args.index is not None:
            rows = rows[args.index : args.index + 1]
    elif args.images:
        rows = choose_rows(ImageFolder(args.images[0]), args.index, args.num)
    else:
        if "train_dataloader" not in config:
            raise SystemExit(f"{args.config} names no images: give --images FOLDER or FILES.")
        rows = choose_rows(DATASETS.build(config.train_dataloader.dataset), args.index, args.num)
    view_sheet(rows, views, seed=args.seed, epoch=args.epoch).save(args.out)
    print(f"{len(rows)} images, {len(views)} views each: {args.out}")


if __name__ == "__main__":
    main()
