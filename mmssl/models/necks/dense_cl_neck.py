"""DenseCLNeck: the projectors of DenseCL, one for the view and one for its cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmssl.models.layers import MLP
from mmssl.registry import MODELS


class DenseEmbeddings(NamedTuple):
    """What the neck makes of the maps of N views; nothing is normalised.

    Attributes:
        view: (N, D) embedding of the whole view.
        cells: (N, D, P) embeddings of the P cells, row by row.
        mean_cell: (N, D) mean of `cells`.
        features: (N, C, P) features of the cells before projection.
    """

    view: Tensor
    cells: Tensor
    mean_cell: Tensor
    features: Tensor


@MODELS.register_module()
class DenseCLNeck(BaseModule):
    """Linear-ReLU-Linear on the pooled map, and the same as 1x1 convolutions on its cells.

    Dense Contrastive Learning for Self-Supervised Visual Pre-Training, 2021, arXiv 2011.09157, section 3.2.
    There are no norms. Linear layers start from He's normal distribution (fan-in) and biases of 0,
    convolutions from PyTorch's default, as in the released code.

    Args:
        in_channels: C of the map.
        hid_channels: Size of both hidden layers.
        out_channels: D of all embeddings.
        num_grid: Average the map to `num_grid` x `num_grid` cells first; `None` for the map's own cells.
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ValueError: `num_grid` below 1.

    Example:
        >>> import torch
        >>> embeddings = DenseCLNeck(8, 16, 4)(torch.zeros(2, 8, 7, 7))
        >>> [tuple(part.shape) for part in embeddings]
        [(2, 4), (2, 4, 49), (2, 4), (2, 8, 49)]
    """

    def __init__(
        self,
        in_channels: int,
        hid_channels: int = 2048,
        out_channels: int = 128,
        *,
        num_grid: int | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if num_grid is not None and num_grid < 1:
            raise ValueError(f"num_grid must be at least 1, or None, got {num_grid}.")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.mlp = MLP(in_channels, hid_channels, out_channels)
        for layer in self.mlp.layers:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        self.grid = nn.Identity() if num_grid is None else nn.AdaptiveAvgPool2d(num_grid)
        self.cell_mlp = nn.Sequential(
            nn.Conv2d(in_channels, hid_channels, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hid_channels, out_channels, 1),
        )

    def forward(self, feats: Tensor | Sequence[Tensor]) -> DenseEmbeddings:
        """Project a map.

        Args:
            feats: (N, C, H, W), the last one if it is a sequence of maps.
        """
        regions = feats if isinstance(feats, Tensor) else feats[-1]
        grid = self.grid(regions)
        cells = self.cell_mlp(grid).flatten(2)
        view = self.mlp(regions.mean(dim=(2, 3)))
        return DenseEmbeddings(view, cells, cells.mean(dim=2), grid.flatten(2))
