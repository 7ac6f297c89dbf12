"""Pictures of positive pixel pairs: the pairs are the loss's, and lines run between the right cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from torch import Tensor

from mmssl.datasets import ImageFolder
from mmssl.datasets.transforms import MultiView
from mmssl.losses import pixel_consistency
from mmssl.registry import TRANSFORMS
from mmssl.visualization.correspondence_plot import MARKERS
from mmssl.visualization.pixel_pair_plot import (
    cell_colours,
    pair_ends,
    pair_plot,
    plot_areas,
    source_places,
)
from mmssl.visualization.pixel_pairs import (
    ViewPair,
    cell_grid,
    chosen_pairs,
    positive_pairs,
    read_pair,
    shared_area,
    spread_cells,
    view_pair,
)
from mmssl.visualization.view_sheet import SheetRow
from tests.helpers.pictures import picture, write_folder

GRID = (4, 4)


@pytest.fixture(autouse=True)
def _scope() -> None:
    init_default_scope("mmssl")


def pipeline(boxes: str | None = "unit", num: int = 2, flip: float = 0.5) -> MultiView:
    transforms = [
        dict(type="RandomResizedCrop", size=32, scale=(0.3, 1.0)),
        dict(type="HorizontalFlip", prob=flip),
    ]
    return TRANSFORMS.build(
        dict(type="MultiView", boxes=boxes, views=[dict(num=num, transforms=transforms)])
    )


def given(box1: tuple, box2: tuple, side: int = 64) -> ViewPair:
    """A pair of black views of 32 px of a black source; boxes are pixel edges."""
    black = np.zeros((32, 32, 3), np.uint8)
    return ViewPair(
        "given",
        np.zeros((side, side, 3), np.uint8),
        (black, black),
        (box1, box2),
        torch.tensor([box1, box2], dtype=torch.float32) / side,
    )


WHOLE, MIRRORED = (0.0, 0.0, 64.0, 64.0), (64.0, 0.0, 0.0, 64.0)


@pytest.mark.parametrize("boxes", ["unit", "pixel"])
@pytest.mark.parametrize("radius", [0.7, 1.5])
def test_equivalence_pairs_are_those_of_the_loss(boxes: str, radius: float) -> None:
    """The loss counts the same pairs, and its gradient says which keys each query is drawn to."""
    views, photo = pipeline(boxes), picture(0, 60, 44)
    counted = 0
    for index in range(12):
        pair = view_pair(views, photo, name="", index=index)
        mask = positive_pairs(pair, ((4, 4), (3, 5)), radius)
        query1, query2 = torch.zeros(1, 15, 4, 4, requires_grad=True), torch.zeros(1, 15, 3, 5)
        # key j of view 2 is the unit vector e_j, so the gradient of a query lists its partners
        key1, key2 = torch.zeros(1, 15, 4, 4), torch.eye(15).reshape(1, 15, 3, 5)
        terms = pixel_consistency(
            (query1, query2), (key1, key2), (pair.boxes[:1], pair.boxes[1:]), pos_ratio=radius
        )
        terms.first.sum().backward()
        assert query1.grad is not None
        assert torch.equal(query1.grad[0].flatten(1).T > 0, mask)
        assert int(terms.num_positives) == int(mask.sum())
        counted += int(mask.sum())
    assert counted > 50


def test_values_pair_is_what_the_training_sees(tmp_path: Path) -> None:
    """Images and boxes of the dataset's item; the edges are the same rectangle in pixels."""
    paths = write_folder(tmp_path, 3)
    folder = ImageFolder(str(tmp_path), pipeline(), seed=5)
    sample = folder[2, 1]["inputs"]
    pair = read_pair(folder.views, SheetRow(str(paths[1]), 1), seed=5, epoch=2)
    height, width = pair.source.shape[:2]
    assert pair.name == "001.jpg (index 1)"
    for view in (0, 1):
        assert np.array_equal(pair.views[view].transpose(2, 0, 1), sample.images[view])
        assert torch.equal(pair.boxes[view], sample.boxes[view])
        x0, y0, x1, y1 = pair.boxes[view].tolist()
        edges = [x0 * (width - 1), y0 * (height - 1), x1 * (width - 1), y1 * (height - 1) + 1]
        edges[0 if x0 > x1 else 2] += 1
        assert edges == pytest.approx(pair.edges[view], abs=1e-3)


def test_raises_without_boxes_or_a_second_view(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="record no crop boxes.*boxes='unit'.*views/pixpro.py"):
        view_pair(pipeline(None), picture(), name="")
    with pytest.raises(ValueError, match="two views of an image, the config has 1"):
        view_pair(pipeline(num=1), picture(), name="")
    (tmp_path / "x.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="x.jpg cannot be read"):
        read_pair(pipeline(), SheetRow(str(tmp_path / "x.jpg"), 0))


def test_values_grid_and_shared_area() -> None:
    """ResNet rounds up; shares are of each view; mirrored boxes count like others."""
    assert cell_grid(np.zeros((224, 65, 3)), 32) == (7, 3)
    assert shared_area(((0, 0, 40, 20), (20, 10, 60, 20))) == (0.25, 0.5)
    assert shared_area(((40, 0, 0, 20), (20, 10, 60, 20))) == (0.25, 0.5)
    assert shared_area(((0, 0, 10, 10), (20, 0, 30, 10))) == (0, 0)


def test_values_chosen_cells() -> None:
    """First most partners, then far away, within the number of lines; cells without partners never."""
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[5, :3] = mask[6, :2] = mask[15, 3] = mask[0, :2] = True
    assert spread_cells(mask, GRID, 24).tolist() == [5, 15, 0, 6]
    assert spread_cells(mask, GRID, 5).tolist() == [5, 15]  # 0 and 6 have two each
    assert spread_cells(mask, GRID, 1).tolist() == [5]
    assert spread_cells(torch.zeros(15, 4, dtype=torch.bool), (3, 5)).tolist() == []
    view, pairs, cells = chosen_pairs(mask, (GRID, GRID), 24)
    assert view == 0 and cells.tolist() == [5, 15, 0, 6]
    assert pairs.tolist() == [[5, 0], [5, 1], [5, 2], [15, 3], [0, 0], [0, 1], [6, 0], [6, 1]]
    turned = mask.T.clone()
    turned[0, 9] = True  # 4 cells of view 0 have partners, 5 of view 1
    view, pairs, cells = chosen_pairs(turned, (GRID, GRID), 24)
    assert view == 1 and cells.tolist() == [5, 15, 0, 6, 9]
    expected = [[0, 5], [1, 5], [2, 5], [3, 15], [0, 0], [1, 0], [0, 6], [1, 6], [0, 9]]
    assert pairs.tolist() == expected
    colours = cell_colours(12)
    assert len(set(colours)) == 12 and all(max(colour) == 255 for colour in colours)


def test_values_line_ends_are_cell_centres() -> None:
    """Cell (1, 2) of view 1 and cell (3, 0) of view 2, each of 16 px on the plot, from its corner on."""
    pair = given(WHOLE, WHOLE)
    areas = plot_areas(pair, 64)
    assert [(area.width, area.height) for area in areas] == [(64, 64)] * 3
    ends = pair_ends(torch.tensor([[6, 12]]), (GRID, GRID), areas[1:])
    assert ends[0, 0].tolist() == [areas[1].left + 40, areas[1].top + 24]
    assert ends[0, 1].tolist() == [areas[2].left + 8, areas[2].top + 56]
    wide = pair._replace(views=(np.zeros((16, 32, 3), np.uint8), pair.views[1]))
    assert plot_areas(wide, 64)[1][2:] == (64, 32)


def crossings(ends: Tensor) -> int:
    """Pairs of lines that change their order from left to right between the views of one row."""
    start, end = ends[:, 0, 0], ends[:, 1, 0]
    change = (start[:, None] - start) * (end[:, None] - end)
    return int((change < 0).sum()) // 2


def test_values_lines_of_a_mirrored_view_cross() -> None:
    """The same crop twice: cell to cell; mirrored: the columns are exchanged, within rows."""
    mask = positive_pairs(given(WHOLE, WHOLE), (GRID, GRID), 0.7)
    assert torch.equal(mask, torch.eye(16, dtype=torch.bool))
    pair = given(WHOLE, MIRRORED)
    mirrored = positive_pairs(pair, (GRID, GRID), 0.7)
    columns = torch.tensor([3, 2, 1, 0])
    expected = (torch.arange(4)[:, None] * 4 + columns).flatten()
    assert mirrored.nonzero()[:, 1].tolist() == expected.tolist()
    areas = plot_areas(pair, 64)[1:]
    straight, turned = (pair_ends(m.nonzero()[:4], (GRID, GRID), areas) for m in (mask, mirrored))
    assert crossings(straight) == 0 and crossings(turned) == 6
    assert torch.equal(straight[:, :, 1], turned[:, :, 1])  # heights stay


def colour_at(plot: np.ndarray, place: Tensor) -> tuple[int, ...]:
    x, y = (round(value) for value in place.tolist())
    return tuple(int(value) for value in plot[y, x])


def test_values_plot() -> None:
    """Chosen colours along the line and in the source; dark cells without partner; frames."""
    pair = given((0.0, 0.0, 32.0, 32.0), (32.0, 16.0, 0.0, 48.0))
    white = np.full((32, 32, 3), 255, np.uint8)
    pair = pair._replace(views=(white, white))
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[8, 15] = mask[3, 4] = True  # (2, 0) to (3, 3), (0, 3) to (1, 0)
    plot = np.asarray(pair_plot(pair, mask, (GRID, GRID), cell=128))
    areas = plot_areas(pair, 128)
    cells = spread_cells(mask, GRID)
    assert cells.tolist() == [3, 8]
    for cell, key, colour in zip(cells.tolist(), (4, 15), cell_colours(2), strict=True):
        ends = pair_ends(torch.tensor([[cell, key]]), (GRID, GRID), areas[1:])[0]
        places = [ends[0], ends[1], ends.mean(dim=0)]
        places += list(source_places(pair, 0, torch.tensor([cell]), GRID, areas[0]))
        for place in places:
            assert np.abs(np.subtract(colour_at(plot, place), colour)).max() < 90, (cell, place)
    # cell (3, 3) of view 1 has no partner, cell (2, 0) has one: beside its dot it is as bright as the view
    corner = torch.tensor([areas[1].left, areas[1].top])
    assert colour_at(plot, corner + 112)[0] < 130
    assert colour_at(plot, corner + torch.tensor([10, 86])) == (255, 255, 255)
    # the crops in the source: left upper quarter, and the middle of its left half
    left, top = areas[0].left, areas[0].top
    assert colour_at(plot, torch.tensor([left + 32, top + 1])) == MARKERS[0]
    assert colour_at(plot, torch.tensor([left + 32, top + 94])) == MARKERS[1]
    assert source_places(pair, 0, torch.tensor([0]), GRID, areas[0]).tolist() == [
        [left + 8, top + 8]
    ]


def test_values_plot_without_positive_pairs() -> None:
    """Views that do not overlap: two dark views, no line between them."""
    pair = given((0.0, 0.0, 16.0, 16.0), (48.0, 48.0, 64.0, 64.0))
    mask = positive_pairs(pair, (GRID, GRID), 0.7)
    assert not mask.any()
    plot = np.asarray(pair_plot(pair, mask, (GRID, GRID), cell=128))
    areas = plot_areas(pair, 128)
    between = plot[areas[1].top : areas[1].top + 128, areas[1].left + 134 : areas[2].left - 6]
    assert (between == 255).all()
    with pytest.raises(ValueError, match=r"Expected a mask \(16, 9\).*got \(16, 16\)"):
        pair_plot(pair, mask, (GRID, (3, 3)))
