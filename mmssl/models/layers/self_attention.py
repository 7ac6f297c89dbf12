"""SelfAttention: multi-head attention of all tokens to all tokens."""

from __future__ import annotations

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F


class SelfAttention(BaseModule):
    """Multi-head self-attention ("Attention is all you need", Vaswani et al. 2017, arXiv 1706.03762).

        out = proj(softmax(q k^T / sqrt(C / heads) + bias) v)

    Args:
        dim: Channels C of the tokens.
        num_heads: Heads.
        qkv_bias: Whether queries, keys and values have a bias.
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ValueError: Channels that the heads do not divide.
    """

    def __init__(
        self, dim: int, num_heads: int, *, qkv_bias: bool = True, init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg)
        if dim % num_heads:
            raise ValueError(f"{num_heads} heads do not divide {dim} channels.")
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Tokens (N, T, C) to the same shape.

        Args:
            x: (N, T, C).
            bias: (1, heads, T, T) or what broadcasts to it, added to the logits, query by key.
        """
        q, k, v = self._queries_keys_values(x)
        if bias is not None:
            bias = bias.to(q.dtype)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(out.transpose(1, 2).flatten(2))

    def attention(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attention probabilities (N, heads, T, T), query by key; arguments as of `forward`."""
        q, k, _ = self._queries_keys_values(x)
        logits = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        return (logits if bias is None else logits + bias).softmax(-1)

    def _queries_keys_values(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Three (N, heads, T, C / heads)."""
        parts = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k, v = parts.unbind(0)
        return q, k, v
