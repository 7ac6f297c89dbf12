"""WeightNormLinear: a linear layer without bias whose rows have a length and a direction of their own.

Salimans and Kingma 2016 (arXiv 1602.07868). torch's own old form cannot be deep-copied and its new form
has other names; here they are DINO's, `weight_g` and `weight_v`.
"""

from __future__ import annotations

import math

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F


class WeightNormLinear(BaseModule):
    """Logits g_k <x, v_k> / |v_k|.

    Args:
        in_channels: Size D of the input.
        out_channels: Number K of rows.
        learn_length: Whether g is trained; else it stays 1.
    """

    def __init__(self, in_channels: int, out_channels: int, *, learn_length: bool = False) -> None:
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(out_channels, 1), requires_grad=learn_length)
        # The default of a linear layer: uniform within 1 / sqrt(D).
        bound = 1 / math.sqrt(in_channels)
        self.weight_v = nn.Parameter(torch.empty(out_channels, in_channels).uniform_(-bound, bound))

    @property
    def weight(self) -> Tensor:
        """(K, D) rows of length g."""
        return self.weight_v * (self.weight_g / self.weight_v.norm(dim=1, keepdim=True))

    def forward(self, x: Tensor) -> Tensor:
        """(N, D) to (N, K)."""
        return F.linear(x, self.weight)
