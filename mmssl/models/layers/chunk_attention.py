"""ChunkAttention: attention of a map's positions to their neighbourhood and to global tokens.

"Multi-Scale Vision Longformer" (Zhang et al. 2021, arXiv 2103.15358, section 3.2) as in EsViT (Li et
al. 2022, arXiv 2106.09785; microsoft/esvit). Cost and memory grow linearly with the map.
"""

from __future__ import annotations

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from mmssl.models.layers.kept_tensors import kept_tensor

from .grid_attention import global_rows

Offset = tuple[int, int]
NEIGHBOURS: tuple[Offset, ...] = tuple(
    (row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if (row, column) != (0, 0)
)
OWN: Offset = (0, 0)


@kept_tensor
def chunk_position_index(
    window: int, offsets: tuple[Offset, ...], device: torch.device | None = None
) -> Tensor:
    """Row of the bias table for each position of a chunk and each of its keys.

    Args:
        window: Side w of a chunk.
        offsets: Chunks of the keys, in rows and columns of chunks from that of the queries.
        device: Of the result.

    Returns:
        (w^2, len(offsets) * w^2) int64: (dh + 2 w - 1) (4 w - 1) + dw + 2 w - 1, with the row and column
        differences dh and dw of query minus key.
    """
    axis = torch.arange(window, device=device)
    rows, columns = (grid.flatten() for grid in torch.meshgrid(axis, axis, indexing="ij"))
    parts = []
    for down, along in offsets:
        height = rows[:, None] - (rows[None] + down * window) + 2 * window - 1
        width = columns[:, None] - (columns[None] + along * window) + 2 * window - 1
        parts.append(height * (4 * window - 1) + width)
    return torch.cat(parts, dim=1)


def to_chunks(x: Tensor, window: int) -> Tensor:
    """(N, heads, H, W, D) to (N, heads, rows, columns, window^2, D), padded with zeros at the end."""
    below, beside = -x.shape[2] % window, -x.shape[3] % window
    if below or beside:
        x = F.pad(x, (0, 0, 0, beside, 0, below))
    x = x.unflatten(3, (-1, window)).unflatten(2, (-1, window))
    return x.transpose(3, 4).flatten(4, 5)


def near_chunks(chunks: Tensor, offsets: tuple[Offset, ...]) -> Tensor:
    """The chunks at some offsets from each chunk, side by side; zeros outside the map.

    Args:
        chunks: (N, heads, rows, columns, w^2, D).
        offsets: In rows and columns of chunks, each -1, 0 or 1.

    Returns:
        (N, heads, rows, columns, len(offsets) * w^2, D).
    """
    rows, columns = chunks.shape[2:4]
    framed = F.pad(chunks, (0, 0, 0, 0, 1, 1, 1, 1))
    near = [
        framed[:, :, 1 + down : 1 + down + rows, 1 + along : 1 + along + columns]
        for down, along in offsets
    ]
    return torch.cat(near, dim=4)


@kept_tensor
def chunk_mask(
    height: int,
    width: int,
    window: int,
    offsets: tuple[Offset, ...],
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Keeps keys away that are not in the map.

    Args:
        height: Of the map.
        width: The same.
        window: Side of a chunk.
        offsets: Chunks of the keys.
        dtype: Of the result.
        device: Of the result.

    Returns:
        (rows * columns, 1, len(offsets) * window^2): 0 where there is a position, -inf where there is none.
    """
    everywhere = torch.ones(1, 1, height, width, 1, device=device)
    inside = near_chunks(to_chunks(everywhere, window), offsets)[0, 0, ..., 0].flatten(0, 1)
    return torch.where(inside[:, None] == 0, -torch.inf, 0.0).to(dtype)


class ChunkAttention(BaseModule):
    """Multi-head self-attention of g global tokens and, behind them, the positions of a map.

    The map is cut into chunks. A position attends to the global tokens, to its own chunk and to the 8
    chunks around; a global token attends to everything. Both use the same projections. Logits get a
    learned number by the distance of two positions in rows and columns, or by the global token.

    Args:
        dim: Channels of the tokens.
        num_heads: Heads.
        window: Side of a chunk.
        num_global: Global tokens g.
        random_neighbour: In train mode attend, beside the own chunk, to one of the 8 others only, drawn
            afresh in each forward pass from torch's generator of the CPU. Evaluation uses all.
        qkv_bias: Whether queries, keys and values have a bias.
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
        num_global: int = 1,
        random_neighbour: bool = False,
        qkv_bias: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if dim % num_heads:
            raise ValueError(f"{num_heads} heads do not divide {dim} channels.")
        if window < 1:
            raise ValueError(f"A window must have at least 1 position, got {window}.")
        self.num_heads, self.window, self.num_global = num_heads, window, num_global
        self.random_neighbour = random_neighbour
        self.query = nn.Linear(dim, dim, bias=qkv_bias)
        self.kv = nn.Linear(dim, 2 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.local_relative_position_bias_table = nn.Parameter(
            torch.zeros((4 * window - 1) ** 2, num_heads)
        )
        if num_global:
            self.g2l_relative_position_bias = nn.Parameter(torch.zeros(2, num_heads, num_global))
            self.g2g_relative_position_bias = nn.Parameter(
                torch.zeros(num_heads, num_global, num_global)
            )

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Tokens (N, g + h * w, C), the map (h, w) row by row, to the same shape."""
        q = self.query(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        k, v = self.kv(x).unflatten(-1, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        out = self._local(q, k, v, grid)
        if self.num_global:
            out = torch.cat([self._global(q, k, v), out], dim=2)
        return self.proj(out.transpose(1, 2).flatten(2))

    def _offsets(self) -> tuple[Offset, ...]:
        if not (self.random_neighbour and self.training):
            return (OWN, *NEIGHBOURS)
        return (OWN, NEIGHBOURS[int(torch.randint(len(NEIGHBOURS), ()))])

    def _local(self, q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int]) -> Tensor:
        """What the positions see, (N, heads, h * w, C / heads)."""
        (height, width), window, count = grid, self.window, self.num_global
        offsets = self._offsets()
        queries, keys, values = (
            to_chunks(one[:, :, count:].unflatten(2, grid), window) for one in (q, k, v)
        )
        keys, values = near_chunks(keys, offsets), near_chunks(values, offsets)
        rows, columns = queries.shape[2:4]
        if count:
            keys, values = (
                torch.cat([one[:, :, None, None, :count].expand(-1, -1, rows, columns, -1, -1), near], 4)
                for one, near in ((k, keys), (v, values))
            )  # fmt: skip
        mask = chunk_mask(height, width, window, offsets, q.dtype, q.device)
        bias = self._local_bias(offsets).to(q.dtype)[:, None]
        bias = torch.cat(
            [bias[..., :count].expand(-1, len(mask), -1, -1), bias[..., count:] + mask], -1
        )
        out = F.scaled_dot_product_attention(
            queries.flatten(1, 3), keys.flatten(1, 3), values.flatten(1, 3),
            attn_mask=bias.flatten(0, 1)[None],
        )  # fmt: skip
        out = out.view(*queries.shape[:4], window, window, -1).transpose(3, 4)
        out = out.flatten(4, 5).flatten(2, 3)[:, :, :height, :width]
        return out.flatten(2, 3)

    def _local_bias(self, offsets: tuple[Offset, ...]) -> Tensor:
        """(heads, w^2, g + len(offsets) * w^2): the global tokens' part comes first."""
        table = self.local_relative_position_bias_table
        index = chunk_position_index(self.window, offsets, table.device)
        bias = table[index.flatten()].view(*index.shape, -1).permute(2, 0, 1)
        if not self.num_global:
            return bias
        first = self.g2l_relative_position_bias[1][:, None].expand(-1, len(index), -1)
        return torch.cat([first, bias], dim=-1)

    def _global(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """What the global tokens see, (N, heads, g, C / heads)."""
        count = self.num_global
        bias = global_rows(
            self.g2g_relative_position_bias,
            self.g2l_relative_position_bias[0],
            k.shape[2] - count,
        )
        return F.scaled_dot_product_attention(
            q[:, :, :count], k, v, attn_mask=bias[None].to(q.dtype)
        )
