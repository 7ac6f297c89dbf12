#!/usr/bin/env python
"""Images per second of backbones in a forward pass, with their parameters and multiply-adds.

    python tools/benchmarks/throughput.py --amp fp16 --out throughput.json
    python tools/benchmarks/throughput.py --networks swin-t-w7 my_config.py

As MoBY's repository measures (SwinTransformer/Transformer-SSL): eval mode, no gradients, 50 forwards to
warm up and 30 that are timed on one batch of random images, with the device synchronised before and
after. Batch 128 is what the tables of DINO and EsViT go by. Multiply-adds are counted on a batch of one
without computing it: convolutions and matrix products, attention included.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmssl.engine.config import load_config
from mmssl.registry import MODELS

SMALL = dict(depths=(2, 2, 18, 2))
BASE = dict(SMALL, embed_dims=128, num_heads=(4, 8, 16, 32))
NETWORKS: dict[str, dict[str, Any]] = {
    "resnet50": dict(type="ResNet", depth=50, out_indices=(3,)),
    "vit-s-16": dict(type="VisionTransformer", embed_dims=384, num_heads=6, patch_size=16),
    "swin-t-w7": dict(type="Swin"),
    "swin-t-w14": dict(type="Swin", window_size=14),
    "swin-s-w7": dict(type="Swin", **SMALL),
    "swin-s-w14": dict(type="Swin", window_size=14, **SMALL),
    "swin-b-w7": dict(type="Swin", **BASE),
    "swin-b-w14": dict(type="Swin", window_size=14, **BASE),
    "vil": dict(type="ViL"),
    "cvt": dict(type="CvT"),
}
AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--networks",
        nargs="+",
        default=list(NETWORKS),
        metavar="NAME",
        help=f"of {', '.join(NETWORKS)}, or configs with a model.backbone (default: all names)",
    )
    parser.add_argument("--batch", type=int, default=128, help="images per forward (default: 128)")
    parser.add_argument("--size", type=int, default=224, help="side of the images (default: 224)")
    parser.add_argument("--warm-up", type=int, default=50, help="untimed forwards (default: 50)")
    parser.add_argument("--forwards", type=int, default=30, help="timed forwards (default: 30)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--amp", choices=sorted(AMP), help="autocast; default: float32")
    parser.add_argument("--channels-last", action="store_true", help="memory layout")
    parser.add_argument("--out", metavar="FILE.json", help="write the figures and the machine")
    args = parser.parse_args()
    for name in ("batch", "size", "forwards"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(args, name)}")
    return args


def network_config(name: str) -> dict[str, Any]:
    """The config of a named backbone, or the one of a config file.

    Raises:
        ValueError: No such name, or a config without a backbone.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    if not name.endswith(".py"):
        raise ValueError(
            f"There is no network {name!r}; give a config file or one of {', '.join(NETWORKS)}."
        )
    model = load_config(name).get("model", {})
    if "backbone" not in model:
        raise ValueError(f"{name} has no model.backbone to measure.")
    return dict(model["backbone"])


def multiply_adds(config: dict[str, Any], size: int) -> int:
    """Multiply-adds of one image, from shapes alone."""
    with torch.device("meta"):
        network = MODELS.build(config).eval()
    images = torch.empty(1, 3, size, size, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(images)
    return counter.get_total_flops() // 2  # a multiply-add is two operations there


def seconds_of(
    forward: Callable[[], Any], device: torch.device, *, warm_up: int, forwards: int
) -> float:
    """Wall seconds of `forwards` calls behind `warm_up` others, the device's work included."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    for _ in range(warm_up):
        forward()
    wait()
    start = time.perf_counter()
    for _ in range(forwards):
        forward()
    wait()
    return time.perf_counter() - start


def measure(config: dict[str, Any], args: argparse.Namespace) -> dict[str, float]:
    """Parameters, multiply-adds, images per second, and on a GPU the largest memory."""
    device = torch.device(args.device)
    torch.manual_seed(0)
    network: nn.Module = MODELS.build(config).eval().to(device)
    images = torch.randn(args.batch, 3, args.size, args.size, device=device)
    if args.channels_last:
        network = network.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    cast: AbstractContextManager = (
        torch.autocast(device.type, AMP[args.amp]) if args.amp else nullcontext()
    )
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with torch.no_grad(), cast:
        seconds = seconds_of(
            lambda: network(images), device, warm_up=args.warm_up, forwards=args.forwards
        )
    figures = dict(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        multiply_adds=multiply_adds(config, args.size),
        images_per_second=args.batch * args.forwards / seconds,
    )
    if device.type == "cuda":
        figures["memory_bytes"] = torch.cuda.max_memory_allocated(device)
    return figures


def machine(device: str) -> dict[str, Any]:
    """What the figures were measured on."""
    kind = torch.device(device)
    name = torch.cuda.get_device_name(kind) if kind.type == "cuda" else platform.processor()
    return dict(device=name or kind.type, threads=torch.get_num_threads(), torch=torch.__version__)


def main() -> None:
    """Measure one network after the other, and print a row for each."""
    args = parse_args()
    results = {}
    width = max(len(name) for name in args.networks)
    print(f"{'network':<{width}}  params M   MACs G  images/s  memory GB")
    try:
        for name in args.networks:
            figures = results[name] = measure(network_config(name), args)
            memory = figures.get("memory_bytes")
            print(
                f"{name:<{width}}  {figures['parameters'] / 1e6:8.2f} "
                f"{figures['multiply_adds'] / 1e9:8.2f}  {figures['images_per_second']:8.1f}  "
                + (f"{memory / 1e9:9.2f}" if memory is not None else f"{'-':>9}"),
                flush=True,
            )
    except (OSError, ValueError, torch.OutOfMemoryError) as error:
        sys.exit(f"error: {error}")
    if args.out:
        record = dict(arguments=vars(args), machine=machine(args.device), results=results)
        with open(args.out, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=2)
        print(f"Written to {args.out}.")


if __name__ == "__main__":
    main()
