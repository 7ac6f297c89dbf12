"""recompute: a part of a network that keeps no activations and computes them again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


@contextmanager
def _untracked_statistics(module: nn.Module) -> Iterator[None]:
    """Norms normalise as before, but do not update their running statistics."""
    # by what they have: mmcv's SyncBatchNorm is no subclass of torch's
    tracked: list[Any] = [
        layer for layer in module.modules() if getattr(layer, "track_running_stats", False)
    ]
    kept = [(layer, layer.momentum, layer.num_batches_tracked) for layer in tracked]
    # with momentum 0 the averages stay what they are; without them other tensors would be saved for
    # the backward pass than in the forward pass. SyncBN insists on a counter: this one nobody reads
    scratch = torch.zeros((), dtype=torch.long)
    for layer in tracked:
        layer.momentum, layer.num_batches_tracked = 0.0, scratch
    try:
        yield
    finally:
        for layer, momentum, count in kept:
            layer.momentum, layer.num_batches_tracked = momentum, count


def recompute(module: nn.Module, forward: Callable[..., Any], *inputs: Any) -> Any:
    """`forward(*inputs)`, whose activations are dropped and computed again in the backward pass.

    Results, gradients and running statistics are those of a plain call, also where no input needs a
    gradient. In a compiled graph nothing is called twice: there a norm updates its statistics once anyway.

    Args:
        module: Holds all norms that `forward` runs through.
        forward: The computation.
        inputs: Its arguments.
    """

    def contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
        return nullcontext(), _untracked_statistics(module)

    if torch.compiler.is_compiling():
        return checkpoint(forward, *inputs, use_reentrant=False)
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts)
