"""Similarity of a cell to all others: each step of each method, the twin's keys, colours, the sheet."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmssl.models.algorithms.base import BaseAlgorithm
from mmssl.visualization.attention_maps import network_input
from mmssl.visualization.pixel_similarity import (
    CellFeatures,
    SimilarityMaps,
    cosines,
    distinct_cells,
    pixel_similarity,
    view_features,
)
from mmssl.visualization.pixel_similarity_sheet import (
    ImageSimilarity,
    heat_map,
    lowest_value,
    similarity_colours,
    similarity_sheet,
)
from tests.helpers.pictures import picture
from tests.helpers.tiny import (
    TinyBackbone,
    TinyPyramid,
    tiny_byol,
    tiny_densecl,
    tiny_pixcontrast,
    tiny_pixpro,
)

VIEWS = [picture(0, 64, 48), picture(1, 48, 64)]
TITLES = ["backbone features", "projection", "after propagation", "to the twin's keys"]


def shaken(model: BaseAlgorithm) -> BaseAlgorithm:
    """The model with a twin unlike it, and statistics of the norms unlike their start."""
    torch.manual_seed(3)
    model.init_weights()
    for values in model.parameters():
        values.data += 0.5 * torch.randn_like(values)
    for values in model.buffers():
        if values.is_floating_point():
            values += 0.3 * torch.rand_like(values)
    return model


def pairwise(queries: Tensor, keys: Tensor) -> Tensor:
    """(h, w, h', w') cosines of maps (1, D, h, w) and (1, D, h', w')."""
    return F.cosine_similarity(
        queries[0, :, :, :, None, None], keys[0, :, None, None], dim=0, eps=1e-12
    )


def test_equivalence_pixpro_step_by_step() -> None:
    """Features, projections and propagated ones of view 0; the latter against the twin's keys of view 1."""
    model = shaken(tiny_pixpro()).eval()
    queries = [(0, 1), (2, 3)]
    maps = pixel_similarity(model, model.data_preprocessor, VIEWS, queries)
    assert [each.title for each in maps] == TITLES
    assert [each.view for each in maps] == [0, 0, 0, 1]
    with torch.no_grad():
        features = model.backbone(network_input(model, VIEWS[:1]))[-1]
        x = model.neck(features)
        y = model.head(x)
        key = model.twin.neck(model.twin.backbone(network_input(model, VIEWS[1:]))[-1])
    for each, (one, other) in zip(maps, [(features,) * 2, (x, x), (y, y), (y, key)], strict=True):
        expected = pairwise(one, other)
        for number, query in enumerate(queries):
            assert torch.allclose(each.values[number], expected[query], atol=1e-5), each.title
    assert maps[3].values.shape == (2, 4, 3)  # of the second view, which is upright
    assert not torch.allclose(maps[1].values, maps[2].values, atol=1e-2)


def test_equivalence_levels_of_a_pyramid() -> None:
    model = shaken(tiny_pixpro(backbone=TinyBackbone((2, 3)), pyramid=TinyPyramid())).eval()
    for level, size in ((0, (6, 8)), (-1, (3, 4))):
        maps = pixel_similarity(model, model.data_preprocessor, VIEWS, [(1, 1)], level=level)
        with torch.no_grad():
            images = network_input(model, VIEWS[:1])
            x = model.neck(model.pyramid(model.backbone(images))[level])
            key_maps = model.twin.pyramid(model.twin.backbone(network_input(model, VIEWS[1:])))
            key = model.twin.neck(key_maps[level])
        assert maps[1].values.shape == (1, *size)
        assert torch.allclose(maps[1].values[0], pairwise(x, x)[1, 1], atol=1e-5)
        assert torch.allclose(maps[3].values[0], pairwise(model.head(x), key)[1, 1], atol=1e-5)
    with pytest.raises(ValueError, match="Level 2 was asked for, the network has 2 maps"):
        view_features(model, model.data_preprocessor, VIEWS[0], level=2)


@pytest.mark.parametrize(("grid", "size"), [(None, (3, 4)), (2, (2, 2))])
def test_equivalence_densecl(grid: int | None, size: tuple[int, int]) -> None:
    """The embeddings of cells, row by row, on the map's cells or on the neck's grid; no propagation."""
    neck = dict(type="DenseCLNeck", hid_channels=16, out_channels=8, num_grid=grid)
    model = shaken(tiny_densecl(neck=neck)).eval()
    maps = pixel_similarity(model, model.data_preprocessor, VIEWS, [(1, 0)])
    assert [each.title for each in maps] == [TITLES[0], TITLES[1], TITLES[3]]
    with torch.no_grad():
        found = model.embed(model, network_input(model, VIEWS[:1]))
        keys = model.embed(model.twin, network_input(model, VIEWS[1:])).cells[0]
    own = found.cells[0]
    expected = (own[:, size[1]] @ own).unflatten(0, size)
    assert torch.allclose(maps[1].values[0], expected, atol=1e-5)
    assert torch.allclose(maps[2].values.flatten(), own[:, size[1]] @ keys, atol=1e-5)


def test_values_methods_without_some_steps() -> None:
    """PixContrast propagates nothing; BYOL and a backbone project no cells."""
    model = shaken(tiny_pixcontrast()).eval()
    maps = pixel_similarity(model, model.data_preprocessor, VIEWS, [(0, 0)])
    assert [each.title for each in maps] == [TITLES[0], TITLES[1], TITLES[3]]
    byol = shaken(tiny_byol()).eval()
    maps = pixel_similarity(byol, byol.data_preprocessor, VIEWS, [(0, 0)])
    assert [each.title for each in maps] == [TITLES[0], "to the twin's features"]
    with torch.no_grad():
        query = byol.backbone(network_input(byol, VIEWS[:1]))[-1]
        key = byol.twin.backbone(network_input(byol, VIEWS[1:]))[-1]
    assert torch.allclose(maps[1].values[0], pairwise(query, key)[0, 0], atol=1e-5)
    backbone = pixel_similarity(byol.backbone, byol.data_preprocessor, VIEWS, [(0, 0)])
    assert [each.title for each in backbone] == [TITLES[0], "to the other view"]
    assert torch.equal(backbone[0].values, maps[0].values)
    alone = pixel_similarity(byol.backbone, byol.data_preprocessor, VIEWS[:1], [(0, 0)])
    assert len(alone) == 1
    with pytest.raises(ValueError, match=r"no cell \(3, 0\): the map has 3 x 4"):
        pixel_similarity(byol, byol.data_preprocessor, VIEWS, [(3, 0)])


def test_state_model_is_left_alone() -> None:
    model = shaken(tiny_pixpro()).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pixel_similarity(model, model.data_preprocessor, VIEWS, [(0, 0)])
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_values_distinct_cells() -> None:
    """The typical one first, then the one farthest from it, then the one between; only allowed ones."""
    angles = torch.tensor([[0.0, 10.0, 20.0], [100.0, 15.0, 180.0]]).deg2rad()
    features = torch.stack([angles.cos(), angles.sin()]) * torch.tensor([1.0, 5.0, 0.1])
    allowed = torch.ones(2, 3, dtype=torch.bool)
    assert distinct_cells(features, allowed, 3) == [(0, 2), (1, 2), (1, 0)]
    allowed[1, 2] = False
    assert distinct_cells(features, allowed, 2) == [(0, 2), (1, 0)]
    allowed = torch.zeros(2, 3, dtype=torch.bool)
    assert sorted(distinct_cells(features, allowed, 9)) == [
        (r, c) for r in (0, 1) for c in range(3)
    ]
    allowed[1, 1] = True
    assert distinct_cells(features, allowed, 3) == [(1, 1)]


def test_values_last_step() -> None:
    steps = [torch.zeros(1), torch.ones(1), torch.full((1,), 2.0)]
    assert CellFeatures(*steps).last == 2
    assert CellFeatures(*steps[:2], None).last == 1
    assert CellFeatures(steps[0], None, None).last == 0


def test_values_heat_map() -> None:
    """A colour per cell, black where low, shaded by the picture; equal values look alike everywhere."""
    grey = np.full((20, 40, 3), 255, np.uint8)
    values = torch.tensor([[1.0, 0.5], [0.2, 0.5]])
    tile = np.asarray(heat_map(grey, values, low=0.2, size=(40, 20)))
    colours = similarity_colours(values, 0.2)
    for row in (0, 1):
        for column in (0, 1):
            cell = tile[10 * row : 10 * row + 10, 20 * column : 20 * column + 20].reshape(-1, 3)
            assert (cell == colours[row, column]).all()
    assert np.array_equal(colours[0, 1], colours[1, 1])
    assert np.array_equal(similarity_colours(np.array([-1.0]), 0.2)[0], colours[1, 0])
    dark = np.asarray(heat_map(np.zeros_like(grey), values, low=0.2, size=(40, 20)))
    assert (dark < tile).any() and (dark <= tile).all()
    assert colours[0, 0].sum() > colours[0, 1].sum() > colours[1, 0].sum()  # bright is alike


def sheet_image(partners: Tensor | None = None, lowest: float = 0.25) -> ImageSimilarity:
    white = np.full((32, 32, 3), 255, np.uint8)
    values = torch.full((2, 4, 4), 1.0)
    values[1, 3, 3] = lowest
    maps = [SimilarityMaps("features", 0, values), SimilarityMaps("twin", 1, values.flip(1))]
    return ImageSimilarity("name", [white, white], [(0, 0), (2, 1)], maps, partners)


def test_values_sheet() -> None:
    """A row per query; squares around the query and its pairs; the inside of cells keeps its colour."""
    partners = torch.zeros(2, 4, 4, dtype=torch.bool)
    partners[1, 1, 1:3] = True
    image = sheet_image(partners)
    assert lowest_value([image]) == pytest.approx(0.2)
    sheet = np.asarray(similarity_sheet([image], cell=64))
    step, top, left = 64 + 6, 10 + 32 + 22, 10
    assert sheet.shape == (20 + 32 + 22 + 2 * step + 6 + 40, 20 + 4 * step - 6, 3)
    second = sheet[top + step : top + step + 64]
    tiles = [second[:, left + number * step :][:, :64].astype(int) for number in range(4)]
    one, low = (similarity_colours(np.array([v]), 0.2)[0] for v in (1.0, 0.25))
    assert (tiles[1][48:, 48:] == low).all() and (tiles[3][:12, 52:] == low).all()
    assert (tiles[1][32:48, 16:32] == one).all()  # the cell itself
    for tile in tiles[:2]:
        assert (tile[30, 16:32] == 255).all()  # white above the query (2, 1)
        assert (tile[29, 16:32] < 60).all()  # and a dark edge around
    for tile in tiles[2:]:
        assert (tile[14, 16:48] == 255).all() and (tile[13, 16:48] < 60).all()
    bar = sheet[-10 - 40 + 4 - 0 :][:12, left : left + 240]
    assert (bar[5, 0] == similarity_colours(np.array([0.2]), 0.2)[0]).all()
    assert (bar[5, -1] == one).all()


def test_values_sheet_has_one_scale() -> None:
    """The lowest value of all images is where the colours begin; images need the same maps."""
    images = [sheet_image(), sheet_image(lowest=-0.31)]
    assert lowest_value(images) == pytest.approx(-0.4)
    both = np.asarray(similarity_sheet(images, cell=64))
    expected = similarity_colours(np.array([0.25]), -0.4)[0]
    assert (both.reshape(-1, 3) == expected).all(axis=1).sum() >= 2 * 16 * 16
    other = images[0]._replace(maps=images[0].maps[:1])
    with pytest.raises(ValueError, match="the same maps each"):
        similarity_sheet([images[0], other])
    with pytest.raises(ValueError, match="no image"):
        similarity_sheet([])


def test_values_cosines_between_maps_of_other_sizes() -> None:
    torch.manual_seed(0)
    queries, keys = torch.randn(5, 3, 2), torch.randn(5, 2, 4)
    found = cosines(queries, keys, [(2, 1), (0, 0)])
    assert found.shape == (2, 2, 4)
    expected = nn.CosineSimilarity(dim=0)(queries[:, 2, 1], keys[:, 1, 3])
    assert torch.allclose(found[0, 1, 3], expected, atol=1e-6)
