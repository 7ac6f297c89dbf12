"""Which image sizes a timm network takes: found out with shapes alone, without a number computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import timm
import torch

Size = tuple[int, int]

# Arguments of timm that let a network take images of several sizes, in the order they are tried.
REMEDIES: tuple[dict[str, Any], ...] = (
    dict(strict_img_size=False),
    dict(dynamic_img_size=True),
)
# What timm's networks raise about sizes, and about arguments that they do not know.
ERRORS = (AssertionError, RuntimeError, TypeError, ValueError)
NEAR = 4  # multiples of the stride, above and below, that are tried


def _probe(name: str, options: dict[str, Any], indices: Sequence[int]) -> Callable[[Size], bool]:
    """Tells whether images of a size go through the network built with some options."""
    try:
        with torch.device("meta"):
            network = timm.create_model(name, num_classes=0, **options).eval()
            take = network.prune_intermediate_layers(list(indices), prune_norm=True)
    except ERRORS:
        return lambda size: False

    def takes(size: Size) -> bool:
        try:
            with torch.no_grad():
                maps = network.forward_intermediates(
                    torch.empty(1, 3, *size, device="meta"),
                    indices=take,
                    output_fmt="NCHW",
                    intermediates_only=True,
                )
        except ERRORS:
            return False
        # Shapes alone may come out empty where the computation refuses.
        return all(one.numel() for one in maps)

    return takes


def _own_size(name: str, options: dict[str, Any]) -> Size:
    """The size that the network was built for."""
    size = options.get("img_size")
    if size is None:
        cfg = timm.get_pretrained_cfg(name)
        size = cfg.input_size[1:] if cfg else (224, 224)
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _nearby(size: Size, stride: int) -> list[Size]:
    """Sizes of whole strides, the nearest first: both sides rounded, then squares."""
    rounded = [max(round(side / stride), 1) * stride for side in size]
    middle = max(rounded)
    squares = [middle + step * stride for step in range(-NEAR, NEAR + 1)]
    squares = sorted((side for side in squares if side > 0), key=lambda side: abs(side - middle))
    return [(rounded[0], rounded[1]), *((side, side) for side in squares)]


def size_advice(
    name: str, options: dict[str, Any], *, indices: Sequence[int], size: Size, stride: int
) -> str | None:
    """What to do when images of a size do not go through a timm network.

    The network is built anew on the meta device, so that only shapes count. Seconds at most.

    Args:
        name: Of the network in timm.
        options: It was built with these arguments of `timm.create_model`.
        indices: The maps that are asked for.
        size: Height and width of the images.
        stride: Of the last map.

    Returns:
        Sentences with arguments to build it with and sizes that it takes, as far as there are any. None
        if the size is not what is wrong, or if nothing helps.

    Example:
        >>> arguments = dict(indices=(11,), size=(96, 96), stride=16)
        >>> size_advice("vit_tiny_patch16_224", {}, **arguments)
        'Build it with model_args=dict(dynamic_img_size=True). As it is it takes 224 x 224.'
    """
    takes = _probe(name, options, indices)
    if takes(size):
        return None
    near = _nearby(size, stride)
    advice = _advised_arguments(name, options, indices, [size, *near])
    fitting = next(filter(takes, [*near, _own_size(name, options)]), None)
    if fitting:
        advice.append(f"As it is it takes {fitting[0]} x {fitting[1]}.")
    return " ".join(advice) or None


def _advised_arguments(
    name: str, options: dict[str, Any], indices: Sequence[int], sizes: Sequence[Size]
) -> list[str]:
    """At most one sentence: arguments with which the network takes the first of `sizes`, or one near it."""
    for remedy in REMEDIES:
        if remedy.items() <= options.items():
            continue
        takes = _probe(name, {**options, **remedy}, indices)
        size = next(filter(takes, sizes), None)
        if size is not None:
            arguments = ", ".join(f"{key}={value}" for key, value in remedy.items())
            for_others = "" if size == sizes[0] else f" for images of {size[0]} x {size[1]}"
            return [f"Build it with model_args=dict({arguments}){for_others}."]
    if _probe(name, {**options, "img_size": sizes[0]}, indices)(sizes[0]):
        return [f"Build it with img_size={sizes[0]} for images of this size alone."]
    return []
