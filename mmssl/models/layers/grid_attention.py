"""GridAttention: attention of all positions of a square grid and of global tokens to each other."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .self_attention import SelfAttention
from .window_attention import relative_position_index


def global_rows(g2g: Tensor, g2l: Tensor, count: int) -> Tensor:
    """What global tokens add to their logits, (heads, g, g + count).

    Args:
        g2g: (heads, g, g) from global token to global token.
        g2l: (heads, g) from global token to any local one.
        count: Local tokens.
    """
    return torch.cat([g2g, g2l[..., None].expand(-1, -1, count)], dim=-1)


class GridAttention(SelfAttention):
    """Self-attention of g global tokens and, behind them, the positions of a grid, row by row.

    `position_bias` gives what is to be added to the logits: for two positions a learned number by their
    distance in rows and columns, for a pair with a global token a number by that token. Full attention of
    the Vision Longformer (Zhang et al. 2021, arXiv 2103.15358) as in EsViT (microsoft/esvit).

    Args:
        dim: Channels of the tokens.
        num_heads: Heads.
        side: Rows and columns of the grid that the table of distances covers.
        num_global: Global tokens g.
        qkv_bias: Whether queries, keys and values have a bias.
        init_cfg: Weight initialisation of the mm family.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        side: int,
        num_global: int = 0,
        qkv_bias: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(dim, num_heads, qkv_bias=qkv_bias, init_cfg=init_cfg)
        self.side, self.num_global = side, num_global
        self.local_relative_position_bias_table = nn.Parameter(
            torch.zeros((2 * side - 1) ** 2, num_heads)
        )
        if num_global:
            self.g2l_relative_position_bias = nn.Parameter(torch.zeros(2, num_heads, num_global))
            self.g2g_relative_position_bias = nn.Parameter(
                torch.zeros(num_heads, num_global, num_global)
            )

    def position_bias(self, grid: tuple[int, int]) -> Tensor:
        """(1, heads, g + h * w, g + h * w), query by key, for a grid (h, w).

        For another grid than that of the table the square of all pairs is resized like an image, as the
        official code does it.

        Raises:
            ValueError: A grid that is no square.
        """
        height, width = grid
        if height != width:
            raise ValueError(
                f"Full attention with relative positions knows square maps, got {height} x {width}. "
                "Use square images."
            )
        count, learned = height * width, self.side**2
        table = self.local_relative_position_bias_table
        index = relative_position_index(self.side, table.device).flatten()
        bias = table[index].view(1, learned, learned, -1).permute(0, 3, 1, 2)
        if count != learned:
            bias = F.interpolate(bias, size=(count, count), mode="bicubic")
        if not self.num_global:
            return bias
        to_local, to_global = self.g2l_relative_position_bias
        columns = to_global[:, None].expand(-1, count, -1)
        rows = global_rows(self.g2g_relative_position_bias, to_local, count)
        return torch.cat([rows, torch.cat([columns, bias[0]], dim=-1)], dim=1)[None]
