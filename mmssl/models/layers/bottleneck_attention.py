"""BottleneckAttention: multi-head self-attention over all cells of a feature map.

The attention of CARE's T-stream (2021, arXiv 2110.05340), which takes it from bottleneck
transformers (2021, arXiv 2101.11605): one bias-free 1x1 convolution for q, k, v, position tables
shared by the heads, no output projection.
"""

from __future__ import annotations

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from .position_encoding import PositionKind, RelativePosition, position_encoding


class BottleneckAttention(BaseModule):
    """Self-attention on a grid of fixed size.

        q~ = q * head_dim^-0.5
        S[i, j] = q~_i . k_j + P[i, j]                 P: see `position_encoding.py`
        out_i = sum_j softmax_j(S[i, :]) v_j           heads side by side in the channels

    Tokens are row-major, i = y * W + x; channel c of q, k and v is head * head_dim + d.

    Args:
        in_channels: Channels of the map.
        fmap_size: (H, W) of the map; the position tables have this size.
        num_heads: Heads.
        head_dim: Channels of a head; the output has `num_heads * head_dim` channels.
        pos_enc: `absolute`, `relative`, `sincos` or `none`.
        init_cfg: Weight initialisation of the mm family.
    """

    def __init__(
        self,
        in_channels: int,
        fmap_size: tuple[int, int],
        *,
        num_heads: int = 4,
        head_dim: int = 128,
        pos_enc: PositionKind = "relative",
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.fmap_size = fmap_size
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.out_channels = num_heads * head_dim
        self.qkv = nn.Conv2d(in_channels, 3 * self.out_channels, 1, bias=False)
        self.position = position_encoding(pos_enc, fmap_size, head_dim)
        nn.init.kaiming_normal_(self.qkv.weight, mode="fan_out", nonlinearity="relu")

    def _queries_keys_values(self, feats: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Three tensors (B, heads, N, head_dim); views of one buffer if `feats` is channels-last."""
        tokens = self.qkv(feats).flatten(2).transpose(1, 2)
        parts = tokens.unflatten(2, (3, self.num_heads, self.head_dim)).permute(2, 0, 3, 1, 4)
        return parts[0], parts[1], parts[2]

    def forward(self, feats: Tensor) -> Tensor:
        """Attend.

        Args:
            feats: (B, in_channels, H, W) map.

        Returns:
            (B, num_heads * head_dim, H, W) map.

        Raises:
            ValueError: The map has not the size of the position tables.
        """
        if tuple(feats.shape[2:]) != self.fmap_size:
            raise ValueError(
                f"This attention was built for maps of {self.fmap_size[0]}x{self.fmap_size[1]} cells "
                f"(fmap_size), got {feats.shape[2]}x{feats.shape[3]}."
            )
        q, k, v = self._queries_keys_values(feats)
        scale = self.head_dim**-0.5
        if self.position is None:
            out = F.scaled_dot_product_attention(q, k, v, scale=scale)
        elif isinstance(self.position, RelativePosition):
            q = q * scale
            logits = self.position.logits(q)
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=logits, scale=1.0)
        else:
            # q.k + q.e = q.(k + e): no [N, N] bias, so fused kernels apply
            keys = k + self.position.key_encoding().to(k.dtype)
            out = F.scaled_dot_product_attention(q, keys, v, scale=scale)
        return out.transpose(1, 2).flatten(2).transpose(1, 2).unflatten(2, self.fmap_size)

    def attention_map(self, feats: Tensor) -> Tensor:
        """softmax(S), (B, heads, N, N), rows are queries: for pictures, not for training."""
        q, k, _ = self._queries_keys_values(feats)
        q = q * self.head_dim**-0.5
        logits = q @ k.transpose(2, 3)
        if self.position is not None:
            logits = logits + self.position.logits(q)
        return logits.softmax(dim=3)
