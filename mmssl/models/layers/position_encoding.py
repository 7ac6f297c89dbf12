"""Position encodings of attention on a 2-D grid: learned absolute, learned relative, fixed sin-cos.

All serve heads that share the tables. A key encoding e_j is added to the keys, so that the position
logit is q_i . e_j; the relative encoding depends on the offset of key and query.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

PositionKind = Literal["absolute", "relative", "sincos", "none"]


class PositionTables(nn.Module):
    """Base of modules whose parameters are position tables.

    `ParamGroupConstructor` recognises such parameters by this type.
    """


class AbsolutePosition(PositionTables):
    """Learned row and column tables: e_j = height[y_j] + width[x_j].

    Args:
        fmap_size: (H, W) of the grid.
        dim: Channels of a head.
    """

    def __init__(self, fmap_size: tuple[int, int], dim: int) -> None:
        super().__init__()
        self.height = nn.Parameter(torch.randn(fmap_size[0], dim) * dim**-0.5)
        self.width = nn.Parameter(torch.randn(fmap_size[1], dim) * dim**-0.5)

    def key_encoding(self) -> Tensor:
        """(H * W, dim) encoding of each key, row-major."""
        return (self.height[:, None] + self.width).flatten(0, 1)

    def logits(self, queries: Tensor) -> Tensor:
        """Position logits (B, heads, N, N) of scaled `queries` (B, heads, N, dim)."""
        return queries @ self.key_encoding().T


class SinCosPosition(PositionTables):
    """Fixed sine-cosine encoding: half the channels for y, half for x, temperature 10000.

    Args:
        fmap_size: (H, W) of the grid.
        dim: Channels of a head, a multiple of 4.

    Raises:
        ValueError: `dim` is no multiple of 4.
    """

    encoding: Tensor

    def __init__(self, fmap_size: tuple[int, int], dim: int) -> None:
        super().__init__()
        if dim % 4:
            raise ValueError(f"pos_enc='sincos' needs head_dim to be a multiple of 4, got {dim}.")
        frequencies = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) * 4 / dim)

        def waves(size: int) -> Tensor:
            angles = torch.arange(size, dtype=torch.float64)[:, None] * frequencies
            return torch.cat([angles.sin(), angles.cos()], dim=1)

        rows, columns = waves(fmap_size[0]), waves(fmap_size[1])
        encoding = torch.cat(
            [
                rows[:, None].expand(-1, fmap_size[1], -1),
                columns[None].expand(fmap_size[0], -1, -1),
            ],
            dim=2,
        )
        self.register_buffer("encoding", encoding.flatten(0, 1).float(), persistent=False)

    def key_encoding(self) -> Tensor:
        """(H * W, dim) encoding of each key, row-major."""
        return self.encoding

    def logits(self, queries: Tensor) -> Tensor:
        """Position logits (B, heads, N, N) of scaled `queries` (B, heads, N, dim)."""
        return queries @ self.encoding.T


class RelativePosition(PositionTables):
    """Learned offset tables: P[i, j] = q_i . (rel_width[x_j - x_i + W - 1] + rel_height[y_j - y_i + H - 1]).

    Args:
        fmap_size: (H, W) of the grid.
        dim: Channels of a head.
    """

    rel_height: nn.Parameter
    rel_width: nn.Parameter
    row_offsets: Tensor
    column_offsets: Tensor

    def __init__(self, fmap_size: tuple[int, int], dim: int) -> None:
        super().__init__()
        self.fmap_size = fmap_size
        for name, offsets, size in (
            ("rel_height", "row_offsets", fmap_size[0]),
            ("rel_width", "column_offsets", fmap_size[1]),
        ):
            self.register_parameter(name, nn.Parameter(torch.randn(2 * size - 1, dim) * dim**-0.5))
            place = torch.arange(size)
            # [query, key]: key minus query, shifted to start at 0
            self.register_buffer(offsets, place - place[:, None] + size - 1, persistent=False)

    def logits(self, queries: Tensor) -> Tensor:
        """Position logits (B, heads, N, N) of scaled `queries` (B, heads, N, dim).

        Rows and columns are two small products, (H, H, dim) and (W, W, dim) tables against the
        queries; nothing of size N * N * dim exists.
        """
        height, width = self.fmap_size
        grid = queries.unflatten(2, (height, width))
        rows = torch.einsum("bnyxd,ykd->bnyxk", grid, self.rel_height[self.row_offsets])
        columns = torch.einsum("bnyxd,xkd->bnyxk", grid, self.rel_width[self.column_offsets])
        return (rows[..., :, None] + columns[..., None, :]).flatten(4, 5).flatten(2, 3)


def position_encoding(
    kind: PositionKind, fmap_size: tuple[int, int], dim: int
) -> AbsolutePosition | RelativePosition | SinCosPosition | None:
    """The encoding module of a name; `None` for `none`.

    Raises:
        ValueError: An unknown name.
    """
    if kind == "none":
        return None
    kinds: dict[str, type[AbsolutePosition | RelativePosition | SinCosPosition]] = dict(
        absolute=AbsolutePosition, relative=RelativePosition, sincos=SinCosPosition
    )
    if kind not in kinds:
        raise ValueError(f"pos_enc must be one of {[*kinds, 'none']}, got {kind!r}.")
    return kinds[kind](fmap_size, dim)
