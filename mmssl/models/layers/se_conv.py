"""SEConv: a 3x3 convolution with a gate per channel, the other mixer of SE-CoTNetD.

"Squeeze-and-Excitation Networks" (Hu et al. 2017, arXiv 1709.01507), in the form of the CoTNet authors' code
(ResNeSt's split attention with one split): norm and SiLU behind the convolution and inside the gate.
"""

from __future__ import annotations

from mmengine.model import BaseModule
from torch import Tensor, nn

from .norm import norm_layer
from .pooled_norm import check_pooled_norm


class SEConv(BaseModule):
    """u * sigmoid(fc2(SiLU(bn1(fc1(mean of u))))), u = SiLU(bn0(conv(x))).

    Args:
        dim: Channels of input and output.
        kernel_size: Side of the convolution, odd.
        stride: Of the convolution.
        dilation: Of the convolution.
        reduction: The gate has `max(dim // reduction, 32)` hidden channels.
        norm_cfg: Of both norms, default `dict(type='BN')`.
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ValueError: An even `kernel_size`.
    """

    def __init__(
        self,
        dim: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        reduction: int = 4,
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size must be odd, so that the map keeps its size, got {kernel_size}."
            )
        norm_cfg = norm_cfg or dict(type="BN")
        hidden = max(dim // reduction, 32)
        padding = dilation * (kernel_size - 1) // 2
        self.conv = nn.Conv2d(dim, dim, kernel_size, stride, padding, dilation, bias=False)
        self.bn0 = norm_layer(norm_cfg, dim, maps=True)
        self.act0 = nn.SiLU(inplace=True)
        self.fc1 = nn.Conv2d(dim, hidden, 1)
        self.bn1 = norm_layer(norm_cfg, hidden, maps=True)
        self.act1 = nn.SiLU(inplace=True)
        self.fc2 = nn.Conv2d(hidden, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, ceil(H / stride), ceil(W / stride)).

        Raises:
            ValueError: One image in training (see `check_pooled_norm`).
        """
        maps = self.act0(self.bn0(self.conv(x)))
        pooled = self.fc1(maps.mean((2, 3), keepdim=True))
        check_pooled_norm(self.bn1, pooled)
        return maps * self.fc2(self.act1(self.bn1(pooled))).sigmoid()
