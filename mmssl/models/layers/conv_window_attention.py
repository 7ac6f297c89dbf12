"""ConvWindowAttention: attention inside windows, with queries, keys and values from a convolution.

CvT, "Introducing Convolutions to Vision Transformers" (Wu et al. 2021, arXiv 2103.15808), in the windowed
form of EsViT (Li et al. 2022, arXiv 2106.09785; microsoft/esvit, its `cvt_v4`).
"""

from __future__ import annotations

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from .norm import norm_layer


class ConvProjection(BaseModule):
    """Depthwise 3x3 convolution, norm, pointwise convolution: (N, C, H, W) to (N, 3 C, H, W)."""

    def __init__(self, dim: int, bias: bool, norm_cfg: dict) -> None:
        super().__init__()
        self.dw = nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False)
        self.bn = norm_layer(norm_cfg, dim, maps=True)
        self.pw = nn.Conv2d(dim, 3 * dim, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.pw(self.bn(self.dw(x)))


class ConvWindowAttention(BaseModule):
    """Multi-head self-attention within windows that do not overlap, on maps.

        out = proj(softmax(q k^T / sqrt(C)) v)

    The logits are divided by the root of all C channels, not of those of a head, and have no position
    bias: positions come from the convolution, which reaches over the borders of windows.

    A window is no larger than the map. A map whose sides are no multiples of the window is padded with
    zeros at the bottom and the right before the convolution; padded positions take part as keys and in
    the statistics of the norm.

    Args:
        dim: Channels C of the map.
        num_heads: Heads.
        window: Side of a window.
        qkv_bias: Whether queries, keys and values have a bias.
        norm_cfg: Norm between the two convolutions, default `dict(type='BN')`.
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ValueError: Channels that the heads do not divide, or a window below 1.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        window: int,
        qkv_bias: bool = True,
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if dim % num_heads:
            raise ValueError(f"{num_heads} heads do not divide {dim} channels.")
        if window < 1:
            raise ValueError(f"A window must have at least 1 position, got {window}.")
        self.num_heads, self.window = num_heads, window
        self.scale = dim**-0.5
        self.qkv = ConvProjection(dim, qkv_bias, norm_cfg or dict(type="BN"))
        self.proj = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        n, channels, height, width = x.shape
        q, k, v, (rows, columns, side) = self._queries_keys_values(x)
        out = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        out = out.view(n, rows, columns, self.num_heads, side, side, -1)
        out = out.permute(0, 3, 6, 1, 4, 2, 5).reshape(n, channels, rows * side, columns * side)
        return self.proj(out[..., :height, :width])

    def attention(self, x: Tensor) -> Tensor:
        """Attention probabilities (N * windows, heads, w^2, w^2), windows row-major, query by key."""
        q, k, _, _ = self._queries_keys_values(x)
        return (q @ k.transpose(-2, -1) * self.scale).softmax(-1)

    def _queries_keys_values(
        self, x: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, tuple[int, int, int]]:
        """Three (N * windows, heads, w^2, C / heads); rows and columns of windows, and their side w."""
        n, channels, height, width = x.shape
        side = min(self.window, height, width)
        below, beside = -height % side, -width % side
        if below or beside:
            x = F.pad(x, (0, beside, 0, below))
        rows, columns = x.shape[2] // side, x.shape[3] // side
        parts = self.qkv(x).view(
            n, 3, self.num_heads, channels // self.num_heads, rows, side, columns, side
        )
        q, k, v = parts.permute(1, 0, 4, 6, 2, 5, 7, 3).flatten(5, 6).flatten(1, 3).unbind(0)
        return q, k, v, (rows, columns, side)
