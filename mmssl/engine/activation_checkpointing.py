"""checkpoint_activations: recompute sub-modules in the backward pass without changing the result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


@contextmanager
def _untracked_statistics(module: nn.Module) -> Iterator[None]:
    """BatchNorm normalises as before, but does not update its running statistics."""
    tracked = [
        layer
        for layer in module.modules()
        if isinstance(layer, _BatchNorm) and layer.track_running_stats
    ]
    kept = [(layer, layer.momentum, layer.num_batches_tracked) for layer in tracked]
    # with momentum 0 the averages stay what they are; without them other tensors would be saved for
    # the backward pass than in the forward pass
    for layer in tracked:
        layer.momentum, layer.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for layer, momentum, count in kept:
            layer.momentum, layer.num_batches_tracked = momentum, count


def checkpoint_activations(model: nn.Module, names: Sequence[str]) -> None:
    """Let sub-modules drop their activations in the forward pass and compute them again in the backward.

    mmengine's function of this purpose loses all gradients of a module whose input needs none (a
    backbone on images), without a word, and updates running statistics of BatchNorm twice.

    Args:
        model: Holds the sub-modules.
        names: Their dotted names, e.g. `backbone.layer1`.

    Raises:
        AttributeError: There is no such sub-module.
    """
    for name in names:
        module = model.get_submodule(name)

        def contexts(
            module: nn.Module = module,
        ) -> tuple[AbstractContextManager, AbstractContextManager]:
            return nullcontext(), _untracked_statistics(module)

        module.forward = partial(
            checkpoint, module.forward, use_reentrant=False, context_fn=contexts
        )
