"""WindowAttention: multi-head self-attention inside the windows of a map, shifted or not.

Swin Transformer (Liu et al. 2021, arXiv 2103.14030, section 3.2) as EsViT computes it (Li et al. 2022,
arXiv 2106.09785; microsoft/esvit): the map is padded, then rolled, and padded positions take part.
"""

from __future__ import annotations

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from mmssl.models.layers.kept_tensors import kept_tensor

# Added to the logits of pairs of positions that the shift brought together from different places.
MASKED = -100.0


@kept_tensor
def relative_position_index(window: int, device: torch.device | None = None) -> Tensor:
    """Row of the bias table for each pair of positions of a window.

    Returns:
        (window^2, window^2) int64, query by key: (dh + w - 1) (2 w - 1) + dw + w - 1, with the row and
        column differences dh and dw of query minus key.
    """
    axis = torch.arange(window, device=device)
    apart = axis[:, None] - axis + window - 1
    index = apart[:, None, :, None] * (2 * window - 1) + apart[None, :, None, :]
    return index.reshape(window**2, window**2)


@kept_tensor
def shift_mask(
    height: int, width: int, window: int, shift: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """What keeps positions of a rolled map apart that are no neighbours in the map.

    Args:
        height: Of the padded map, a multiple of `window`.
        width: The same.
        window: Side of a window.
        shift: By how much the map was rolled, in both directions, 0 < shift < window.
        dtype: Of the result.
        device: Of the result.

    Returns:
        (windows, window^2, window^2), 0 within a part and -100 between parts; windows row-major.
    """

    def same_part(side: int) -> Tensor:
        """(windows along the side, window, window): whether two places are in the same part of three."""
        place = torch.arange(side, device=device)
        part = (place >= side - window).long() + (place >= side - shift).long()
        part = part.view(-1, window)
        return part[:, :, None] == part[:, None, :]

    rows, columns = same_part(height), same_part(width)
    same = rows[:, None, :, None, :, None] & columns[None, :, None, :, None, :]
    return torch.where(same.reshape(-1, window**2, window**2), 0.0, MASKED).to(dtype)


def _windows(x: Tensor, window: int) -> Tensor:
    """(N, H, W, C) to (N * windows, window^2, C)."""
    n, height, width, channels = x.shape
    x = x.view(n, height // window, window, width // window, window, channels)
    return x.transpose(2, 3).reshape(-1, window * window, channels)


class WindowAttention(BaseModule):
    """Attention within windows of `window` x `window` positions.

    A map whose sides are no multiples of the window is padded at the bottom and the right. The padded
    positions are not masked: their queries, keys and values are the bias of `qkv`, and real positions
    attend to them, as in the official code.

    Args:
        dim: Channels C.
        num_heads: Heads; they divide C.
        window: Side of a window in positions.
        shift: Cyclic shift of the map, 0 or less than the window.
        qkv_bias: Whether queries, keys and values have one; without it padded positions are zero.
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ValueError: Channels that the heads do not divide, or a shift that is no less than the window.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window: int,
        shift: int = 0,
        qkv_bias: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if dim % num_heads:
            raise ValueError(f"{num_heads} heads do not divide {dim} channels.")
        if not 0 <= shift < window:
            raise ValueError(f"A shift must lie in [0, window), got {shift} for {window}.")
        self.num_heads, self.window, self.shift = num_heads, window, shift
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros((2 * window - 1) ** 2, num_heads)
        )
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def init_weights(self) -> None:
        """Truncated normal of deviation 0.02 for the bias table, beside what `init_cfg` says."""
        super().init_weights()
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, C) to the same shape."""
        height, width = x.shape[1:3]
        q, k, v, padded = self._queries_keys_values(x)
        bias = self._bias(*padded, q)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(self._to_map(out, padded)[:, :height, :width])

    def attention(self, x: Tensor) -> Tensor:
        """Attention probabilities (N * windows, heads, window^2, window^2), windows row-major."""
        q, k, _, padded = self._queries_keys_values(x)
        logits = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5 + self._bias(*padded, q)
        positions = logits.shape[-1]
        return logits.softmax(-1).view(-1, self.num_heads, positions, positions)

    def _queries_keys_values(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, tuple[int, int]]:
        """Three (N, windows * heads, window^2, C / heads) and the sides of the padded map."""
        n, height, width, dim = x.shape
        below, beside = -height % self.window, -width % self.window
        # The bias comes after the padding: padded positions need no matrix product.
        qkv = F.linear(x, self.qkv.weight)
        if below or beside:
            qkv = F.pad(qkv, (0, 0, 0, beside, 0, below))
        if self.qkv.bias is not None:
            qkv = qkv + self.qkv.bias.to(qkv.dtype)
        if self.shift:
            qkv = qkv.roll((-self.shift, -self.shift), (1, 2))
        parts = _windows(qkv, self.window).view(
            n, -1, self.window**2, 3, self.num_heads, dim // self.num_heads
        )
        q, k, v = parts.permute(3, 0, 1, 4, 2, 5).flatten(2, 3)
        return q, k, v, (height + below, width + beside)

    def _bias(self, height: int, width: int, like: Tensor) -> Tensor:
        """(1, windows * heads, window^2, window^2): what is added to the logits."""
        positions = self.window**2
        index = relative_position_index(self.window, like.device).flatten()
        bias = self.relative_position_bias_table[index].view(positions, positions, -1)
        bias = bias.permute(2, 0, 1).to(like.dtype)
        if self.shift:
            mask = shift_mask(height, width, self.window, self.shift, like.dtype, like.device)
            return (mask[:, None] + bias).flatten(0, 1)[None]
        windows = (height // self.window) * (width // self.window)
        return bias.repeat(windows, 1, 1)[None]

    def _to_map(self, x: Tensor, padded: tuple[int, int]) -> Tensor:
        """(N, windows * heads, window^2, C / heads) back to (N, H, W, C) of the padded map."""
        n, side = x.shape[0], self.window
        rows, columns = padded[0] // side, padded[1] // side
        x = x.view(n, rows, columns, self.num_heads, side, side, -1)
        x = x.permute(0, 1, 4, 2, 5, 3, 6).reshape(n, *padded, -1)
        return x.roll((self.shift, self.shift), (1, 2)) if self.shift else x
