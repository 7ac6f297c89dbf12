"""Inference time: forwards of a network, timed one by one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn

FEWEST = 10
PRECISIONS = {"fp32": None, "tf32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class InferenceTime(NamedTuple):
    """What was measured; all None where memory did not suffice.

    Attributes:
        milliseconds: For an image, the median of all timed forwards.
        quartiles: The first and third.
        runs: Timed forwards.
        warm_up: Forwards before them.
    """

    milliseconds: float | None = None
    quartiles: tuple[float, float] | None = None
    runs: int | None = None
    warm_up: int | None = None


def run_times(
    forward: Callable[[], object], device: torch.device, *, warm_up: int, runs: int, seconds: float
) -> tuple[list[float], int]:
    """Milliseconds of each timed forward, and the number of forwards before them.

    Args:
        forward: Runs the network once.
        device: Of the network; events measure on a GPU, the clock elsewhere.
        warm_up: Forwards before; the first is not limited, it may compile.
        runs: Timed forwards.
        seconds: Limit of either phase, 0 for none; at least `FEWEST` forwards are timed.
    """

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def over(start: float) -> bool:
        return bool(seconds) and time.perf_counter() - start > seconds

    forward()
    wait()
    start = time.perf_counter()
    before = 1
    while before < warm_up and not (before > 1 and over(start)):
        forward()
        wait()
        before += 1
    found: list[float] = []
    start = time.perf_counter()
    while len(found) < runs and not (len(found) >= FEWEST and over(start)):
        if device.type == "cuda":
            marks = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
            # an event is recorded by the stream of the current device, which may be another one
            stream = torch.cuda.current_stream(device)
            marks[0].record(stream)
            forward()
            marks[1].record(stream)
            wait()
            found.append(marks[0].elapsed_time(marks[1]))
        else:
            begun = time.perf_counter()
            forward()
            found.append(1000 * (time.perf_counter() - begun))
    return found, before


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Whether float32 products may be of TF32, inside."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = allowed
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def measure_inference(
    network: nn.Module,
    size: int,
    *,
    batch: int,
    precision: str,
    memory_format: torch.memory_format = torch.contiguous_format,
    warm_up: int = 50,
    runs: int = 200,
    seconds: float = 0.0,
) -> InferenceTime:
    """Time forwards of a network, without gradients, on random square images that are on its device.

    Args:
        network: In eval mode; takes images (B, 3, size, size).
        size: Side of the images.
        batch: B.
        precision: Of `PRECISIONS`: `fp32` is exact, `tf32` is for products on a GPU, the others are autocast.
        memory_format: Of the images.
        warm_up: See `run_times`.
        runs: See `run_times`.
        seconds: See `run_times`.

    Returns:
        The figures, or none where memory did not suffice.

    Raises:
        ValueError: Another precision.

    Example:
        >>> found = measure_inference(nn.Conv2d(3, 4, 3), 8, batch=2, precision="fp32", runs=3)
        >>> found.runs, found.warm_up, found.milliseconds > 0
        (3, 50, True)
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}.")
    try:
        device = next(network.parameters()).device
        images = torch.randn(batch, 3, size, size, device=device).to(memory_format=memory_format)
        kind = PRECISIONS[precision]
        with (
            tf32(precision == "tf32"),
            torch.no_grad(),
            torch.autocast(device.type, kind, enabled=kind is not None),
        ):
            times, before = run_times(
                lambda: network(images), device, warm_up=warm_up, runs=runs, seconds=seconds
            )
        low, middle, high = statistics.quantiles(times, n=4) if len(times) > 1 else times * 3
        return InferenceTime(middle / batch, (low / batch, high / batch), len(times), before)
    except RuntimeError as error:
        if not _out_of_memory(error):
            raise
    # behind the handler: the error holds the tensors of the forward that failed
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return InferenceTime()


def _out_of_memory(error: RuntimeError) -> bool:
    """Whether the device has too little memory; the CPU's error has no class of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
