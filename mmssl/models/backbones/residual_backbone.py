"""ResidualBackbone: what networks of a stem and stages of residual blocks share."""

from __future__ import annotations

from typing import Any

from mmengine.model import BaseModule
from torch import Tensor, nn

from .frozen_parts import frozen_parts, hold_in_eval


class ResidualBackbone(BaseModule):
    """`conv1`, `bn1`, `relu`, `maxpool`, `layer1`, ...: its maps, and what of it does not train.

    Attributes:
        out_indices: Stages (0-3, ascending) whose maps are returned; later ones than the last are not built.
        frozen_stages: Stem and stages 1..n are in eval mode without gradients; 0 is the stem alone, -1
            nothing.
        norm_eval: Whether every BatchNorm is in eval mode while training.
    """

    conv1: nn.Module
    bn1: nn.Module
    relu: nn.Module
    maxpool: nn.Module
    out_indices: tuple[int, ...]
    frozen_stages: int
    norm_eval: bool

    def freeze(self) -> None:
        """Take the parameters of the frozen stages out of training; for the end of a constructor."""
        for module in frozen_parts(self, self.frozen_stages):
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> Any:
        """Switch the mode, except for what `norm_eval` and `frozen_stages` keep in eval mode."""
        super().train(mode)
        if mode:
            hold_in_eval(self, frozen_stages=self.frozen_stages, norm_eval=self.norm_eval)
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Feature maps.

        Args:
            images: (B, in_channels, H, W) normalised images, any H and W.

        Returns:
            One map (B, C, H / stride, W / stride), rounded up, for each of `out_indices`.
        """
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps = []
        for stage in range(self.out_indices[-1] + 1):
            x = getattr(self, f"layer{stage + 1}")(x)
            if stage in self.out_indices:
                maps.append(x)
        return tuple(maps)
