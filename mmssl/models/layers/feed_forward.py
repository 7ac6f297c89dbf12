"""FeedForward: the two linear layers of a Transformer block, under timm's names."""

from __future__ import annotations

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F


class FeedForward(BaseModule):
    """fc2(GELU(fc1(x))) on the last axis.

    Args:
        dim: Channels in and out.
        hid_channels: Channels between the layers.
        init_cfg: Weight initialisation of the mm family.
    """

    def __init__(self, dim: int, hid_channels: int, *, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.fc1 = nn.Linear(dim, hid_channels)
        self.fc2 = nn.Linear(hid_channels, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to the same shape."""
        return self.fc2(F.gelu(self.fc1(x)))
