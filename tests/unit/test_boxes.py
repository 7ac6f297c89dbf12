"""Cells of views in the picture: centres, distances, positive pairs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mmssl.ops.boxes import cell_centres, cell_distances, cells_near

WHOLE = torch.tensor([[0.0, 0.0, 1.0, 1.0]])


def random_boxes(num: int, seed: int = 0) -> Tensor:
    """Boxes of crops, one in four mirrored sideways, one in four upside down."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.rand(num, 2, generator=generator) * 0.7 + 0.2
    corner = torch.rand(num, 2, generator=generator) * (1 - size)
    boxes = torch.cat([corner, corner + size], dim=1)
    boxes[::4] = boxes[::4][:, [2, 1, 0, 3]]
    boxes[1::4] = boxes[1::4][:, [0, 3, 2, 1]]
    return boxes


def test_values_distances_by_hand() -> None:
    """Cells of 0.5 x 0.25 against cells of 0.1 x 0.1: the unit is the larger diagonal, sqrt(0.3125)."""
    first, second = torch.tensor([[0.0, 0.0, 1.0, 0.5]]), torch.tensor([[0.2, 0.1, 0.0, 0.3]])
    found = cell_distances(first, second, (2, 2), (2, 2))[0]
    # cell 1 of the first lies at (0.75, 0.125), cell 2 of the mirrored second at (0.15, 0.25)
    expected = math.hypot(0.75 - 0.15, 0.125 - 0.25) / math.sqrt(0.3125)
    assert found[1, 2].item() == pytest.approx(expected, rel=1e-6)
    assert found.shape == (4, 4)


@pytest.mark.parametrize("grids", [((7, 7), (7, 7)), ((4, 6), (3, 2))])
def test_equivalence_swapped_views_transpose_the_pairs(grids: tuple) -> None:
    first, second = random_boxes(200), random_boxes(200, seed=1)
    forth = cell_distances(first, second, *grids)
    back = cell_distances(second, first, *grids[::-1])
    assert torch.equal(forth, back.mT)
    near = cells_near(first, second, *grids, radius=0.7)
    assert 0 < near.float().mean() < 0.5
    assert torch.equal(near, cells_near(second, first, *grids[::-1], radius=0.7).mT)


def test_values_identical_crops_pair_cells_with_themselves() -> None:
    near = cells_near(WHOLE, WHOLE, (7, 7), (7, 7), radius=0.7)
    assert torch.equal(near[0], torch.eye(49, dtype=torch.bool))
    # cells of 3 : 4: the neighbour across the short side is 0.6 away, across the long side 0.8
    narrow = cells_near(WHOLE, WHOLE, (3, 4), (3, 4), radius=0.7)[0].view(3, 4, 3, 4)
    assert narrow[0, 0].nonzero().tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize(
    ("box", "partner"),
    [([1.0, 0.0, 0.0, 1.0], [2, 1, 0]), ([0.0, 1.0, 1.0, 0.0], [0, 1, 2])],
    ids=["sideways", "upside_down"],
)
def test_values_mirrored_view(box: list, partner: list) -> None:
    near = cells_near(WHOLE, torch.tensor([box]), (3, 3), (3, 3), radius=0.7)[0]
    columns = near.view(3, 3, 3, 3)[0].nonzero()
    row = 0 if partner[0] == 2 else 2
    assert columns.tolist() == [[c, row, partner[c]] for c in range(3)]


def test_equivalence_rule_is_free_of_scale() -> None:
    """Pixels of a square picture give the pairs of fractions of it."""
    first, second = random_boxes(100), random_boxes(100, seed=1)
    grids = ((7, 7), (7, 7))
    near = cells_near(first, second, *grids, radius=0.7)
    assert torch.equal(near, cells_near(first * 512, second * 512, *grids, radius=0.7))
    stretched = torch.tensor([512.0, 128.0, 512.0, 128.0])
    assert not torch.equal(
        near, cells_near(first * stretched, second * stretched, *grids, radius=0.7)
    )


def test_values_half_precision_is_never_used() -> None:
    first, second = random_boxes(50), random_boxes(50, seed=1)
    grids = ((28, 28), (28, 28))
    exact = cells_near(first, second, *grids, radius=0.7)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(exact, cells_near(first, second, *grids, radius=0.7))
    assert cell_distances(first.half(), second.half(), *grids).dtype == torch.float32


def test_values_views_without_extent_have_no_pairs() -> None:
    """A picture of one pixel: no unit, so no pair, and nothing raised."""
    point = torch.zeros(1, 4)
    assert not cells_near(point, point, (2, 2), (2, 2), radius=0.7).any()
    line = torch.tensor([[0.0, 0.0, 0.0, 1.0]])  # of one column: rows still tell
    near = cells_near(line, line, (2, 2), (2, 2), radius=0.7)[0]
    assert near.sum(dim=1).tolist() == [2, 2, 2, 2]


def test_values_centres_lie_inside_in_order() -> None:
    box = torch.tensor([[0.2, 0.1, 0.6, 0.9]])
    centres = cell_centres(box, (4, 2))[0]
    torch.testing.assert_close(centres[:2], torch.tensor([[0.3, 0.2], [0.5, 0.2]]))
    torch.testing.assert_close(centres[-1], torch.tensor([0.5, 0.8]))


def test_raises_on_other_boxes() -> None:
    with pytest.raises(ValueError, match=r"Boxes must be \(N, 4\)"):
        cell_distances(torch.zeros(2, 4), torch.zeros(3, 4), (2, 2), (2, 2))
