#!/usr/bin/env python
"""Time and peak memory of PixPro's propagation and loss: chunks of images against the formulas as written.

    python tools/benchmarks/pixel_loss.py
    python tools/benchmarks/pixel_loss.py --grids 28 14 7 4 --images 128 --device cuda

Both propagate the projections of two views, find the positive pairs from the boxes, and compute the loss of
both directions with its gradient, at the published 256 channels. The plain form has distances, masks,
similarities and weights of all images at once, kept for the backward pass by autograd, and each direction on
its own. Ours is what PixPro uses. Grids are the maps of a 224 px crop: 7 of the backbone, 28 to 4 of a
detector's pyramid. Each runs in a process of its own; the smaller of several times counts, implementations
take turns. On a CPU the seconds are the process's own, so that others on the machine do not count.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from paired import compare, peak_bytes, start_of_peak
from torch import Tensor
from torch.nn import functional as F

from mmssl.losses import pixel_consistency, unit_norm
from mmssl.models.heads import PixelPropagation

DIM = 256
GAMMA = 2.0
POS_RATIO = 0.7
IMPLEMENTATIONS = ("plain", "chunks")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grids", type=int, nargs="+", default=[7, 28], help="cells along a side")
    parser.add_argument("--images", type=int, default=32, help="images of the batch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each implementation")
    parser.add_argument("--out", metavar="FILE.json", help="write the figures, one file per grid")
    parser.add_argument("--run", choices=IMPLEMENTATIONS, help=argparse.SUPPRESS)
    return parser.parse_args()


def drawn(images: int, grid: int, device: torch.device) -> tuple[list[Tensor], list[Tensor]]:
    """Projections of two views and their twin's keys, and boxes of crops as the recipe draws them."""
    random = torch.Generator().manual_seed(0)
    shape = (images, DIM, grid, grid)
    maps = [torch.randn(shape, generator=random).to(device) for _ in range(4)]
    boxes = []
    for _ in range(2):
        area = torch.rand(images, generator=random) * 0.92 + 0.08
        ratio = ((torch.rand(images, generator=random) * 2 - 1) * 0.2877).exp()
        size = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], dim=1).clamp(max=1)
        corner = torch.rand(images, 2, generator=random) * (1 - size)
        boxes.append(torch.cat([corner, corner + size], dim=1).to(device))
    return maps, boxes


def plain_propagation(x: Tensor) -> Tensor:
    """The formula of `PixelPropagation(num_layers=0)`, matrices kept."""
    unit = F.normalize(x.flatten(2), dim=1)
    weights = (unit.mT @ unit).clamp(min=0) ** GAMMA
    return (unit @ weights.mT).unflatten(2, x.shape[2:])


def plain_direction(query: Tensor, key: Tensor, boxes: Tensor, others: Tensor) -> Tensor:
    """The formula of one direction: all distances, the mask, all similarities."""

    def cells(box: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor, Tensor]:
        width, height = (box[:, 2] - box[:, 0]) / columns, (box[:, 3] - box[:, 1]) / rows
        x = (torch.arange(columns, device=box.device) + 0.5) * width[:, None] + box[:, :1]
        y = (torch.arange(rows, device=box.device) + 0.5) * height[:, None] + box[:, 1:2]
        x, y = x[:, None, :].expand(-1, rows, -1), y[:, :, None].expand(-1, -1, columns)
        return x.flatten(1), y.flatten(1), (width**2 + height**2).sqrt()

    x, y, unit = cells(boxes, *query.shape[2:])
    other_x, other_y, other_unit = cells(others, *key.shape[2:])
    distance = (
        (x[:, :, None] - other_x[:, None]) ** 2 + (y[:, :, None] - other_y[:, None]) ** 2
    ).sqrt() / torch.maximum(unit, other_unit)[:, None, None]
    mask = (distance < POS_RATIO).to(query.dtype)
    similarity = query.flatten(2).mT @ key.flatten(2)
    return ((mask * similarity).sum((1, 2)) / (mask.sum((1, 2)) + 1e-6)).mean()


def plain(maps: list[Tensor], boxes: list[Tensor]) -> Tensor:
    """The loss by the formulas."""
    q1, q2 = (F.normalize(plain_propagation(x), dim=1) for x in maps[:2])
    k1, k2 = (F.normalize(x, dim=1) for x in maps[2:])
    return -2 * (
        plain_direction(q1, k2, boxes[0], boxes[1]) + plain_direction(q2, k1, boxes[1], boxes[0])
    )


def chunks(maps: list[Tensor], boxes: list[Tensor]) -> Tensor:
    """The loss as PixPro computes it."""
    propagation = PixelPropagation(DIM, num_layers=0, gamma=GAMMA)
    q1, q2 = (unit_norm(propagation(x)) for x in maps[:2])
    k1, k2 = (unit_norm(x) for x in maps[2:])
    terms = pixel_consistency((q1, q2), (k1, k2), (boxes[0], boxes[1]), pos_ratio=POS_RATIO)
    return -2 * (terms.first.mean() + terms.second.mean())


def measure(implementation: str, device: torch.device, images: int, grid: int) -> dict[str, float]:
    """Seconds and additional bytes of a step, after one that warms up; loss and gradient to compare."""
    loss_of = plain if implementation == "plain" else chunks
    clock = time.process_time if device.type == "cpu" else time.perf_counter

    def step(images: int) -> tuple[float, float, float]:
        maps, boxes = drawn(images, grid, device)
        maps = [x.requires_grad_(view < 2) for view, x in enumerate(maps)]
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = clock()
        loss = loss_of(maps, boxes)
        loss.backward()
        slope = float(maps[0].grad.double().norm())  # waits for the device
        return clock() - start, loss.item(), slope

    step(min(images, 2))  # libraries and kernels load
    before = start_of_peak(device)
    seconds, loss, slope = step(images)
    memory = peak_bytes(device) - before
    return dict(seconds=min(seconds, step(images)[0]), bytes=memory, loss=loss, gradient=slope)


def main() -> None:
    args = parse_args()
    for grid in args.grids:
        options = argparse.Namespace(**vars(args))
        if args.out:
            path = Path(args.out)
            options.out = str(path.with_stem(f"{path.stem}_{grid}x{grid}"))
        compare(
            __file__,
            IMPLEMENTATIONS,
            options,
            measure=lambda name, grid=grid: measure(
                name, torch.device(args.device), args.images, grid
            ),
            arguments=["--device", args.device, "--images", str(args.images), "--grids", str(grid)],
            about=dict(grid=f"{grid}x{grid}", images=args.images, channels=DIM),
        )


if __name__ == "__main__":
    main()
