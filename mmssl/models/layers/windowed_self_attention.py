"""WindowedSelfAttention: softmax attention over k x k windows, a baseline of CoTNet's.

"Stand-Alone Self-Attention in Vision Models" (Ramachandran et al. 2019, arXiv 1906.05909), in the form of the
CoTNet authors' code (JDAI-CV/CoTNet, its `lr_net`, which is not the layer of the LR-Net paper).
"""

from __future__ import annotations

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from mmssl.ops.local_aggregation import local_aggregation
from mmssl.registry import MODELS

from .norm import norm_layer


@MODELS.register_module()
class WindowedSelfAttention(BaseModule):
    """softmax over the window of q . (k + position), applied to values; then norm and ReLU.

    Heads have 8 neighbouring channels of queries and keys. The aggregation shares weights interleaved (value
    channel c has the window of head c mod (dim / 8)), as there. Keys outside the map are 0, have their
    position all the same and take part in the softmax.

    Args:
        dim: Channels of input and output.
        kernel_size: Side of the window, odd.
        key_kernel_size: Side of the convolution that makes the keys, odd.
        head_dim: Channels of a head.
        dilation: Steps between the positions of a window.
        norm_cfg: Of all norms, default `dict(type='BN')`.
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ValueError: Channels that `head_dim` does not divide, or an even kernel.
    """

    def __init__(
        self,
        dim: int,
        kernel_size: int = 3,
        *,
        key_kernel_size: int = 1,
        head_dim: int = 8,
        dilation: int = 1,
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if dim % head_dim:
            raise ValueError(f"head_dim={head_dim} must divide the {dim} channels.")
        if kernel_size % 2 == 0 or key_kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size and key_kernel_size must be odd, got {kernel_size} and {key_kernel_size}."
            )
        norm_cfg = norm_cfg or dict(type="BN")
        self.kernel_size = kernel_size
        self.head_dim = head_dim
        self.dilation = dilation
        # the article draws positions from a normal distribution too; its deviation is not told
        self.pos_h = nn.Parameter(0.02 * torch.randn(dim, kernel_size, 1))
        self.pos_w = nn.Parameter(0.02 * torch.randn(dim, 1, kernel_size))
        self.conv_q = nn.Sequential(
            nn.Conv2d(dim, dim, 1, bias=False),
            norm_layer(norm_cfg, dim, maps=True),
            nn.ReLU(inplace=True),
        )
        self.conv_k = nn.Sequential(
            nn.Conv2d(dim, dim, key_kernel_size, padding=key_kernel_size // 2, bias=False),
            norm_layer(norm_cfg, dim, maps=True),
            nn.ReLU(inplace=True),
        )
        self.conv_v = nn.Sequential(
            nn.Conv2d(dim, dim, 1, bias=False), norm_layer(norm_cfg, dim, maps=True)
        )
        self.bn = norm_layer(norm_cfg, dim, maps=True)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        window = self._logits(self.conv_q(x), self.conv_k(x)).softmax(dim=2)
        mixed = local_aggregation(
            self.conv_v(x),
            window.unsqueeze(1),
            self.kernel_size,
            padding=self.dilation * (self.kernel_size // 2),
            dilation=self.dilation,
        )
        return self.act(self.bn(mixed))

    def _logits(self, queries: Tensor, keys: Tensor) -> Tensor:
        """q . (k + position) for each head and place of the window, (N, C / 8, k * k, H, W).

        Args:
            queries: (N, C, H, W).
            keys: (N, C, H, W).
        """
        height, width = keys.shape[2:]
        steps = range(0, self.dilation * self.kernel_size, self.dilation)
        padded = F.pad(keys, [self.dilation * (self.kernel_size // 2)] * 4)
        heads = queries.unflatten(1, (-1, self.head_dim))
        similarity = torch.stack(
            [
                (queries * padded[:, :, row : row + height, column : column + width])
                .unflatten(1, (-1, self.head_dim))
                .sum(2)
                for row in steps
                for column in steps
            ],
            dim=2,
        )
        positions = (self.pos_h + self.pos_w).flatten(1).unflatten(0, (-1, self.head_dim))
        return similarity + torch.einsum("ngehw,get->ngthw", heads, positions)
