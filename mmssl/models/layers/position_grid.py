"""resize_positions: position embeddings learned on one grid, for a grid of another size."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

PositionRule = Literal["esvit", "dino"]


def resize_positions(positions: Tensor, grid: tuple[int, int], *, rule: PositionRule) -> Tensor:
    """Bicubic interpolation of position embeddings, by the rule of EsViT or by that of DINO.

    Both fit the rows and columns of the learned grid (side s) to those of the new one (h, w), but sample
    other places: `esvit` (Li et al. 2022, arXiv 2106.09785) steps by s / h; `dino` (Caron et al. 2021,
    arXiv 2104.14294) by s / (h + 0.1), a guard of that code against rounding of the size. The results
    differ by as much as neighbouring embeddings do, so weights trained with one rule need that rule.

    Args:
        positions: (1, s * s, C), row by row.
        grid: (h, w) of the new grid; EsViT's own code knows squares only.
        rule: `esvit` or `dino`.

    Returns:
        (1, h * w, C), row by row; `positions` itself on the grid where they were learned.
    """
    side = round(positions.shape[1] ** 0.5)
    if grid == (side, side):
        return positions
    square = positions.transpose(1, 2).unflatten(2, (side, side))
    if rule == "dino":
        scale = tuple((target + 0.1) / side for target in grid)
        square = F.interpolate(square, scale_factor=scale, mode="bicubic")
    else:
        square = F.interpolate(square, size=grid, mode="bicubic")
    return square.flatten(2).transpose(1, 2)
