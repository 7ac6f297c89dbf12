"""Where the cells of a view's feature map lie in the picture, and which cells of two views are near.

Propagate Yourself (PixPro), 2021, arXiv 2011.10043, section 3.1; compared with the official code
(goldens `pixpro_coord_*`).

A box is (x0, y0, x1, y1) in output orientation, as `ViewBatch.boxes`: a mirrored view has its ends swapped,
its cells a negative width, and nothing else changes. `MultiView(boxes='unit')` writes fractions of the
picture (the released code), `boxes='pixel'` pixels (the paper's words); the rule is the same for both. All
of it is float32 at least: half precision would move cells by more than their size.
"""

from __future__ import annotations

import torch
from torch import Tensor

Grid = tuple[int, int]
"""(rows, columns) of a map."""


def cell_sizes(boxes: Tensor, grid: Grid) -> Tensor:
    """Signed width and height of a cell.

    Args:
        boxes: (N, 4) boxes of views.
        grid: (rows, columns) of their maps.

    Returns:
        (N, 2); negative along a mirrored axis.

    Example:
        >>> cell_sizes(torch.tensor([[1.0, 0.0, 0.0, 0.5]]), (2, 4)).tolist()
        [[-0.25, 0.25]]
    """
    boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))
    rows, columns = grid
    return torch.stack(
        [(boxes[:, 2] - boxes[:, 0]) / columns, (boxes[:, 3] - boxes[:, 1]) / rows], dim=1
    )


def cell_centres(boxes: Tensor, grid: Grid) -> Tensor:
    """Centres of the cells of views, in the space of their boxes.

        x = x0 + (column + 1/2) * cell width,     y = y0 + (row + 1/2) * cell height

    Args:
        boxes: (N, 4) boxes of views.
        grid: (rows, columns) of their maps.

    Returns:
        (N, rows * columns, 2) x and y, row by row.

    Example:
        >>> cell_centres(torch.tensor([[1.0, 0.0, 0.0, 0.5]]), (1, 2)).tolist()
        [[[0.75, 0.25], [0.25, 0.25]]]
    """
    size = cell_sizes(boxes, grid)
    rows, columns = grid
    across = torch.arange(columns, device=size.device, dtype=size.dtype) + 0.5
    down = torch.arange(rows, device=size.device, dtype=size.dtype) + 0.5
    x = (across * size[:, :1] + boxes[:, :1])[:, None, :].expand(-1, rows, -1)
    y = (down * size[:, 1:] + boxes[:, 1:2])[:, :, None].expand(-1, -1, columns)
    return torch.stack([x, y], dim=-1).flatten(1, 2)


def cell_diagonals(boxes: Tensor, grid: Grid) -> Tensor:
    """(N,) lengths of the diagonal of a cell of the views with `boxes` (N, 4) and maps of `grid`."""
    return cell_sizes(boxes, grid).square().sum(dim=1).sqrt()


def cell_distances(first: Tensor, second: Tensor, first_grid: Grid, second_grid: Grid) -> Tensor:
    """Distances between the cells of two views of each picture.

    The unit is one number per picture: the diagonal of a cell of the view with the larger cells.
    Swapping the views gives exactly the transposed distances.

    Args:
        first: (N, 4) boxes of the first views.
        second: (N, 4) boxes of the second views of the same pictures.
        first_grid: (rows, columns) of the maps of the first views; P cells.
        second_grid: (rows, columns) of the maps of the second views; Q cells.

    Returns:
        (N, P, Q) distances, float32 or float64; no gradient.

    Raises:
        ValueError: Boxes that are not two tensors (N, 4).

    Example:
        >>> left, right = torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[1.0, 0.0, 2.0, 1.0]])
        >>> cell_distances(left, right, (1, 1), (1, 1))  # side by side: 1 / sqrt(2)
        tensor([[[0.7071]]])
    """
    if first.shape != second.shape or first.ndim != 2 or first.shape[1] != 4:
        raise ValueError(
            f"Boxes must be (N, 4) for both views, got {tuple(first.shape)} and {tuple(second.shape)}."
        )
    with torch.no_grad():
        centres = cell_centres(first, first_grid)
        others = cell_centres(second, second_grid)
        unit = torch.maximum(cell_diagonals(first, first_grid), cell_diagonals(second, second_grid))
        x = (centres[:, :, None, 0] - others[:, None, :, 0]).square_()
        y = (centres[:, :, None, 1] - others[:, None, :, 1]).square_()
        return x.add_(y).sqrt_().div_(unit[:, None, None])


def cells_near(
    first: Tensor, second: Tensor, first_grid: Grid, second_grid: Grid, *, radius: float
) -> Tensor:
    """Which cells of two views of each picture show the same place.

        near_ij = distance_ij < radius          (see `cell_distances`; the paper writes <=)

    Args:
        first: (N, 4) boxes of the first views.
        second: (N, 4) boxes of the second views of the same pictures.
        first_grid: (rows, columns) of the maps of the first views; P cells.
        second_grid: (rows, columns) of the maps of the second views; Q cells.
        radius: In diagonals of the larger cell.

    Returns:
        (N, P, Q) bool.

    Example:
        >>> box = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
        >>> cells_near(box, box, (2, 2), (2, 2), radius=0.7)[0].int().tolist()
        [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    """
    return cell_distances(first, second, first_grid, second_grid) < radius
