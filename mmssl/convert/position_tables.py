"""Relative position bias tables for windows of another side."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def table_side(rows: int) -> int | None:
    """2 w - 1 for the (2 w - 1)^2 rows of a table of a window of side w, else `None`.

    Example:
        >>> table_side(169), table_side(729), table_side(170)
        (13, 27, None)
    """
    side = math.isqrt(rows)
    return side if side * side == rows and side % 2 else None


def resize_position_table(table: Tensor, window: int) -> Tensor:
    """A table for windows of side `window`: bicubic, the two axes of each head's image alike.

    This is what mmdet and mmseg do when they load a table of another size (cubic kernel with -0.75,
    outer edges aligned), so the result is what they would train from.

    Args:
        table: ((2 w - 1)^2, heads), rows by row difference, then column difference.
        window: The new side.

    Returns:
        ((2 window - 1)^2, heads); `table` itself if it has that size.

    Raises:
        ValueError: The rows are no such square.
    """
    rows, heads = table.shape
    side, wanted = table_side(rows), 2 * window - 1
    if side is None:
        raise ValueError(f"A table of a window has (2 w - 1)^2 rows, got {rows}.")
    if side == wanted:
        return table
    images = table.T.reshape(1, heads, side, side)
    resized = F.interpolate(images, size=(wanted, wanted), mode="bicubic", align_corners=False)
    return resized.reshape(heads, wanted * wanted).T.contiguous()


def fit_position_table(table: Tensor, shape: Sequence[int]) -> Tensor | None:
    """`table` resized to `shape`; `None` where heads differ or either is no table of a square window."""
    if table.dim() != 2 or len(shape) != 2 or table.shape[1] != shape[1]:
        return None
    side = table_side(shape[0])
    if side is None or table_side(table.shape[0]) is None:
        return None
    return resize_position_table(table, (side + 1) // 2)
