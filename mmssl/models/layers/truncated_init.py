"""init_truncated: how Vision Transformers start their linear layers."""

from __future__ import annotations

from torch import nn


def init_truncated(
    module: nn.Module, kinds: tuple[type[nn.Module], ...] = (nn.Linear,), *, std: float = 0.02
) -> None:
    """Weights of all layers of some kinds from a normal distribution cut at +-2, their biases 0.

    Args:
        module: Holds the layers.
        kinds: Classes of layers with `weight` and `bias`.
        std: Deviation of the distribution before it is cut.
    """
    for layer in module.modules():
        if isinstance(layer, kinds):
            nn.init.trunc_normal_(layer.weight, std=std)  # type: ignore[arg-type]
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
