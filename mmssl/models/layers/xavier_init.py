"""init_xavier: how MoCo v3 starts the linear layers of a Vision Transformer."""

from __future__ import annotations

import math

from torch import nn

from .self_attention import SelfAttention


def init_xavier(module: nn.Module) -> None:
    """Weights of all Linear layers from Xavier's uniform distribution, their biases 0.

    Queries, keys and values of an attention are three matrices, though they are kept as one (MoCo v3, arXiv
    2104.02057; facebookresearch/moco-v3).

    Args:
        module: Holds the layers.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    for layer in module.modules():
        if isinstance(layer, SelfAttention):
            rows, columns = layer.qkv.weight.shape
            limit = math.sqrt(6 / (rows / 3 + columns))
            nn.init.uniform_(layer.qkv.weight, -limit, limit)


def init_patch_projection(projection: nn.Conv2d) -> None:
    """Weights of a convolution from Xavier's uniform distribution of the matrix on flat patches, bias 0.

    Args:
        projection: Of patches that do not overlap.
    """
    limit = math.sqrt(6 / (projection.weight[0].numel() + projection.out_channels))
    nn.init.uniform_(projection.weight, -limit, limit)
    if projection.bias is not None:
        nn.init.zeros_(projection.bias)
