#!/usr/bin/env python
"""Inference time of classifiers against their accuracy: a table, and the curve.

    python tools/inference_time.py resnet50 cotnet50 se-cotnetd50 --out times.json --plot times.png
    python tools/inference_time.py configs/cotnet/cotnet50_8xb64-coslr-100e_in1k.py=79.2 --batch 1 --compile

As CoTNet's figure (arXiv 2107.12292) has it: milliseconds for an image in batched inference of the whole
classifier, eval mode, without gradients, random images that are on the device. 50 forwards to warm up, then
200 that are timed one by one (events of the device on a GPU); the median counts. A measurement ends earlier
when it took `--seconds`, which the table tells, and is left out when memory does not suffice.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from rich.progress import track
from torch import nn

from mmssl.engine.config import load_config
from mmssl.engine.user_errors import told_errors
from mmssl.evaluation.inference_time import FEWEST, PRECISIONS, measure_inference
from mmssl.evaluation.json_record import json_text
from mmssl.models.backbones import view_and_map
from mmssl.registry import MODELS
from mmssl.visualization.time_accuracy_plot import Point, plot_time_accuracy

TIMM = "timm:"


class Network(NamedTuple):
    """A network that the tool knows by name.

    Attributes:
        backbone: Config of the backbone.
        family: See `Point`.
        accuracy: Published top-1 by CoTNet's setup, `default` (100 epochs) or `advanced` (350 epochs).
        size: Side of the images.
        published: Milliseconds per image in CoTNet's article: its figure, for CoTNet-50 a table of images per
            second; None where it has none.
    """

    backbone: dict[str, Any]
    family: str
    accuracy: dict[str, float]
    size: int = 224
    published: float | None = None


def _cotnet(
    arch: str, family: str, default: float | None, advanced: float, **options: Any
) -> Network:
    accuracy = dict(advanced=advanced) | ({} if default is None else dict(default=default))
    return Network(dict(type="CoTNet", arch=arch), family, accuracy, **options)


NETWORKS: dict[str, Network] = {
    "resnet50": Network(
        dict(type="ResNet", depth=50, out_indices=(3,)),
        "ResNet",
        dict(default=77.3),
        published=1.97,
    ),
    "resnet101": Network(
        dict(type="ResNet", depth=101, out_indices=(3,)),
        "ResNet",
        dict(default=78.5),
        published=3.2,
    ),
    "cotnet50": _cotnet("50", "CoTNet", 79.2, 81.3, published=3.0),
    "cotnet101": _cotnet("101", "CoTNet", 80.0, 82.8),
    "cotnext50": _cotnet("x50", "CoTNeXt", 79.5, 82.1),
    "cotnext101": _cotnet("x101", "CoTNeXt", 80.3, 83.2),
    "se-cotnetd50": _cotnet("d50", "SE-CoTNetD", 79.8, 81.6, published=2.42),
    "se-cotnetd101": _cotnet("d101", "SE-CoTNetD", 80.5, 83.2, published=4.31),
    "se-cotnetd152": _cotnet("d152", "SE-CoTNetD", None, 84.0, size=256, published=8.1),
}


class Subject(NamedTuple):
    """A network to measure: its name, config, family, side of the images, accuracy, published time."""

    name: str
    backbone: dict[str, Any]
    num_classes: int
    family: str
    size: int
    accuracy: float | None
    published: float | None


class Classifier(nn.Module):
    """Backbone, mean over the last map (or class token), linear layer.

    Args:
        backbone: Config.
        num_classes: Of the linear layer.
    """

    def __init__(self, backbone: dict[str, Any], num_classes: int) -> None:
        super().__init__()
        self.backbone = MODELS.build(backbone)
        self.fc = nn.Linear(self.backbone.out_channels[-1], num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, num_classes) of (B, 3, H, W)."""
        return self.fc(view_and_map(self.backbone, images)[0])


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "networks",
        nargs="*",
        default=["resnet50", "cotnet50", "se-cotnetd50"],
        metavar="NAME[=TOP1]",
        help=f"of {', '.join(NETWORKS)}, {TIMM}NAME, or configs with a model.backbone; =TOP1 is the accuracy "
        "instead of the published one (default: resnet50 cotnet50 se-cotnetd50)",
    )
    parser.add_argument(
        "--setup",
        choices=("default", "advanced"),
        default="default",
        help="of published accuracies",
    )
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 128], help="default: 1 128")
    parser.add_argument(
        "--size",
        type=int,
        help="side of the images; default: that of each network, of a config its validation's",
    )
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=sorted(PRECISIONS),
        default=["fp32", "bf16"],
        help="fp32 is exact; bf16 and fp16 are autocast (default: fp32 bf16)",
    )
    parser.add_argument("--compile", action="store_true", help="measure compiled networks, too")
    parser.add_argument("--channels-last", action="store_true", help="memory layout")
    parser.add_argument("--warm-up", type=int, default=50, help="untimed forwards (default: 50)")
    parser.add_argument("--runs", type=int, default=200, help="timed forwards (default: 200)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=2.0,
        help=f"end warm-up and timing after this long each, with {FEWEST} timed forwards at least; 0: never "
        "(default: 2)",
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", metavar="FILE.json", help="write the figures and the machine")
    parser.add_argument("--plot", metavar="FILE.png", help="draw accuracy over time")
    args = parser.parse_args()
    for name in ("batch", "runs", "size"):
        value = getattr(args, name)
        if value is not None and min(value if isinstance(value, list) else [value]) < 1:
            parser.error(f"--{name} must be at least 1, got {value}")
    return args


def validation_side(config: Mapping[str, Any], name: str) -> int:
    """Side of the images that a config validates its classifier on.

    Raises:
        ValueError: It does not say, or they are not square.
    """
    dataset = (config.get("val_dataloader") or {}).get("dataset", {})
    views = (dataset.get("views") or {}).get("views") or [{}]
    sides: list[int] = []
    for transform in views[0].get("transforms", []):
        size = transform.get("size")
        if transform["type"] == "CenterCrop" and isinstance(size, int):
            sides = [size, size]
        elif transform["type"] in ("CenterCrop", "Resize"):
            # one number makes the shorter side of Resize
            sides = list(size) if isinstance(size, (list, tuple)) else []
    if len(set(sides)) != 1:
        raise ValueError(
            f"{name} does not say on which square images it validates (a CenterCrop, or a Resize to both "
            "sides, in val_dataloader.dataset.views): give --size."
        )
    return sides[0]


def subject(text: str, args: argparse.Namespace) -> Subject:
    """What `NAME[=TOP1]` of the command line stands for.

    Raises:
        ValueError: No such name, a config without backbone or size, or an accuracy that is no number of
            percent.
    """
    name, _, given = text.partition("=")
    try:
        accuracy = float(given) if given else None
    except ValueError:
        accuracy = -1.0
    if accuracy is not None and not 0 <= accuracy <= 100:
        raise ValueError(f"{text}: write the accuracy in percent, such as {name}=79.2.")
    if name in NETWORKS:
        known = NETWORKS[name]
        if accuracy is None:
            accuracy = known.accuracy.get(args.setup)
        size = args.size or known.size
        published = known.published if size == known.size else None
        return Subject(name, known.backbone, 1000, known.family, size, accuracy, published)
    if name.startswith(TIMM):
        backbone = dict(type="TimmBackbone", name=name.removeprefix(TIMM), out_indices=(-1,))
        short = name.removeprefix(TIMM)
        return Subject(short, backbone, 1000, short, args.size or 224, accuracy, None)
    if not name.endswith(".py"):
        raise ValueError(
            f"There is no network {name!r}; give a config file, {TIMM}NAME or one of "
            f"{', '.join(NETWORKS)}."
        )
    config = load_config(name)
    model = config.get("model", {})
    if "backbone" not in model:
        raise ValueError(f"{name} has no model.backbone to measure.")
    backbone = dict(model["backbone"])
    backbone.pop("init_cfg", None)  # weights do not change the time
    classes = (model.get("head") or {}).get("num_classes", 1000)
    stem = name.rsplit("/", 1)[-1].removesuffix(".py").split("_")[0]
    size = args.size or validation_side(config, name)
    return Subject(stem, backbone, classes, stem, size, accuracy, None)


def all_measurements(subjects: list[Subject], args: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each network, batch, precision and way of running, with progress shown."""
    layout = torch.channels_last if args.channels_last else torch.contiguous_format
    ways = [False, True] if args.compile else [False]
    conditions = list(itertools.product(subjects, ways, args.batch, args.precision))
    rows: list[dict[str, Any]] = []
    current: tuple[Subject, bool] | None = None
    for what, compiled, batch, precision in track(conditions, description="Inference"):
        if current != (what, compiled):
            torch.manual_seed(0)
            network = Classifier(what.backbone, what.num_classes).eval()
            network.to(args.device, memory_format=layout)
            count = sum(parameter.numel() for parameter in network.parameters())
            if compiled:
                network.compile(dynamic=False)
            current = (what, compiled)
        if compiled:
            torch.compiler.reset()  # behind a number of graphs it would run what is not compiled
        found = measure_inference(
            network,
            what.size,
            batch=batch,
            precision=precision,
            memory_format=layout,
            warm_up=args.warm_up,
            runs=args.runs,
            seconds=args.seconds,
        )
        rows.append(
            dict(
                network=what.name,
                family=what.family,
                size=what.size,
                parameters=count,
                accuracy=what.accuracy,
                published=what.published,
                batch=batch,
                precision=precision,
                compiled=compiled,
                **found._asdict(),
            )
        )
    return rows


def condition(row: dict[str, Any]) -> str:
    """What a row was measured under, in words."""
    return f"batch {row['batch']} {row['precision']}" + (" compiled" if row["compiled"] else "")


def table(rows: list[dict[str, Any]]) -> str:
    """A line for each network, a column of milliseconds per image for each condition."""
    columns = list(dict.fromkeys(condition(row) for row in rows))
    names = list(dict.fromkeys((row["network"], row["size"]) for row in rows))
    head = ["network", "size", "params M", "top-1", *columns, "published"]
    lines = [head]
    for name, size in names:
        mine = [row for row in rows if (row["network"], row["size"]) == (name, size)]
        times = {condition(row): _figure(row["milliseconds"], 3) for row in mine}
        first = mine[0]
        lines.append(
            [
                name,
                str(size),
                f"{first['parameters'] / 1e6:.2f}",
                _figure(first["accuracy"], 1),
                *(times[column] for column in columns),
                _figure(first["published"], 2),
            ]
        )
    return "\n".join(
        "| " + " | ".join(line) + " |" for line in [lines[0], ["---"] * len(head), *lines[1:]]
    )


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def remarks(rows: list[dict[str, Any]], args: argparse.Namespace) -> str:
    """How far the measurements kept to the protocol, in a line or two."""
    done = [row for row in rows if row["runs"] is not None]
    lines = []
    if done:
        runs, warm_up = (min(row[key] for row in done) for key in ("runs", "warm_up"))
        lines.append(
            f"Timed forwards: {runs} of {args.runs} at the fewest, behind {warm_up} of {args.warm_up}"
            + (
                f"; --seconds {args.seconds:g} ended some earlier (0: never)."
                if runs < args.runs or warm_up < args.warm_up
                else "."
            )
        )
    if len(done) < len(rows):
        lines.append(f"{len(rows) - len(done)} of {len(rows)} measurements ran out of memory (-).")
    return "\n".join(lines)


def panels(rows: list[dict[str, Any]]) -> dict[str, list[Point]]:
    """What `plot_time_accuracy` draws."""
    found: dict[str, list[Point]] = {}
    for row in rows:
        if row["accuracy"] is not None and row["milliseconds"] is not None:
            point = Point(row["network"], row["family"], row["milliseconds"], row["accuracy"])
            found.setdefault(condition(row), []).append(point)
    return found


def machine(device: str) -> dict[str, Any]:
    """What the figures were measured on."""
    kind = torch.device(device)
    name = torch.cuda.get_device_name(kind) if kind.type == "cuda" else kind.type
    return dict(device=name, threads=torch.get_num_threads(), torch=torch.__version__)


def main() -> None:
    """Measure, print, write, draw."""
    args = parse_args()
    init_default_scope("mmssl")
    MMLogger.get_current_instance().setLevel("WARNING")
    torch.backends.cudnn.benchmark = True
    with told_errors(__file__):
        subjects = [subject(text, args) for text in args.networks]
        rows = all_measurements(subjects, args)
        about = machine(args.device)
        print(f"Milliseconds per image, {about['device']}, torch {about['torch']}:")
        print(table(rows))
        print(remarks(rows, args))
        if args.out:
            record = dict(arguments=vars(args), machine=about, results=rows)
            with open(args.out, "w", encoding="utf-8") as file:
                file.write(json_text(record))
            print(f"Written to {args.out}.")
        if args.plot:
            plot_time_accuracy(panels(rows), args.plot)
            print(f"Drawn to {args.plot}.")


if __name__ == "__main__":
    main()
