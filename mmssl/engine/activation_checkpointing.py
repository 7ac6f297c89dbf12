"""checkpoint_activations: recompute sub-modules in the backward pass without changing the result."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import nn

from mmssl.models.layers.recompute import recompute


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
        module.forward = partial(recompute, module, module.forward)
