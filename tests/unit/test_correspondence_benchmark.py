"""Correspondence: hand-made grids, networks whose answer is known, and independence of batches."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from mmssl.datasets import ImageFolder
from mmssl.datasets.transforms import MultiView
from mmssl.evaluation.correspondence import (
    cell_centres,
    correspondence_views,
    measure_correspondence,
    mirrored_scores,
    region_matches,
)
from mmssl.evaluation.features import evaluation_loader
from mmssl.registry import TRANSFORMS
from tests.helpers.monitored import Gratings, MonitoredByol


class Pooled(nn.Module):
    """Mean colours of cells: what a network knows that mirrors with its input."""

    def __init__(self, cell: int = 16, shift: int = 0) -> None:
        super().__init__()
        self.cell, self.shift = cell, shift

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return (F.avg_pool2d(images, self.cell).roll(self.shift, dims=3),)


class ClassToken(Pooled):
    """A view's feature that is no map: the map must be used, not what `forward` returns."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        raise AssertionError("view_and_map is there")

    def view_and_map(self, images: Tensor) -> tuple[Tensor, Tensor]:
        (regions,) = super().forward(images)
        return regions.flatten(1), regions


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number in range(9):
        pixels = rng.integers(0, 256, (8, 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((90, 80), Image.Resampling.BICUBIC).save(
            root / f"{number}.png"
        )
    return str(root)


def mirror_only(size: int) -> dict[str, Any]:
    """The benchmark's views without what changes the colours."""
    views = correspondence_views(size)
    views["views"][1]["transforms"] = views["views"][1]["transforms"][:3]
    return views


def loader(folder: str, views: dict[str, Any], batch_size: int = 4, **options: Any) -> Any:
    return evaluation_loader(ImageFolder(folder, views), batch_size=batch_size, **options)


def test_values_by_hand() -> None:
    """Grid 1 x 4; second view mirrored but for two cells: hits 2 of 3, misses by one and by two."""
    first = torch.eye(4).view(1, 4, 1, 4)
    second = torch.zeros(1, 4, 1, 4)
    # cell 0 -> 3 (right, cosine 1), 1 -> 0 (2 is right), 2 -> 1 (right), 3 -> 1 too (0 is right)
    second[0, :, 0, 3] = torch.tensor([1.0, 0, 0, 0])
    second[0, :, 0, 0] = torch.tensor([0.0, 0.9, 0, math.sqrt(1 - 0.81)])
    second[0, :, 0, 1] = torch.tensor([0.0, 0, 0.8, 0.6])
    second[0, :, 0, 2] = torch.tensor([0.0, 0, 0, 0])
    scores = mirrored_scores(first, second, image_size=(8, 40), num_matches=3)
    assert scores.accuracy.tolist() == pytest.approx([2 / 3])
    assert scores.distance.tolist() == pytest.approx([20 / 3])  # cell 0 for 2: two cells of 10 px
    assert scores.next_similarity.tolist() == pytest.approx([0.6])
    matches = region_matches(first, second)
    assert matches.source.tolist() == [[0, 1, 2, 3]]
    assert matches.target.tolist() == [[3, 0, 1, 1]]


def test_values_cells_of_any_size() -> None:
    """2 x 3 cells of 10 x 20 pixels: x and y are not exchanged."""
    centres = cell_centres(torch.arange(6), (2, 3), (20, 60))
    assert centres.tolist() == [[10, 5], [30, 5], [50, 5], [10, 15], [30, 15], [50, 15]]


@pytest.mark.parametrize("shape", [(7, 7), (4, 6), (5, 3)])
def test_equivalence_mirrored_features_are_all_found(shape: tuple[int, int]) -> None:
    features = torch.randn(3, 32, *shape, generator=torch.Generator().manual_seed(0))
    size = (shape[0] * 8, shape[1] * 12)
    scores = mirrored_scores(features, features.flip(3), image_size=size)
    assert scores.accuracy.tolist() == [1, 1, 1] and scores.distance.tolist() == [0, 0, 0]
    moved = mirrored_scores(features, features.flip(3).roll(1, 2), image_size=size)
    assert moved.accuracy.tolist() == [0, 0, 0]
    # a row further down, and from the last row to the first
    assert all(8 <= d <= 8 * (shape[0] - 1) for d in moved.distance.tolist())
    assert torch.equal(moved.next_similarity, scores.next_similarity)


def test_equivalence_scale_of_features() -> None:
    """Cosine: the length of a feature means nothing; one image does not change another's score."""
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 4, 8, 5, 5, generator=generator)
    scores = mirrored_scores(first, second, image_size=(160, 160))
    lengths = torch.rand(4, 1, 5, 5, generator=generator) + 0.5
    scaled = mirrored_scores(first * lengths, second / lengths, image_size=(160, 160))
    for one, other in zip(scores, scaled, strict=True):
        torch.testing.assert_close(one, other)
    alone = mirrored_scores(first[2:3], second[2:3], image_size=(160, 160))
    torch.testing.assert_close(alone.distance[0], scores.distance[2])


@pytest.mark.parametrize("network", [Pooled(), ClassToken()])
def test_values_of_an_equivariant_network(folder: str, network: nn.Module) -> None:
    result = measure_correspondence(network, loader(folder, mirror_only(64)))
    assert (result.accuracy, result.error) == (1, 0)
    assert (result.num_images, result.image_size, result.grid) == (9, (64, 64), (4, 4))
    assert result.cell_size == (16, 16)
    assert result.next_similarity == pytest.approx(1, abs=1e-5)


def test_values_of_a_network_that_is_off_by_a_cell(folder: str) -> None:
    """Maps of both views shifted to the right: the partner lies two columns from where it should."""
    result = measure_correspondence(Pooled(8, shift=1), loader(folder, mirror_only(64)))
    assert result.accuracy == 0
    assert 16 <= result.error < 48  # two columns of eight, or six where the shift wraps around


def test_equivalence_of_batches_and_orders(folder: str) -> None:
    """The jitter belongs to the image: neither batch size nor order nor generators matter."""
    network = Pooled()
    views = correspondence_views(64)
    whole = measure_correspondence(network, loader(folder, views, batch_size=9))
    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    single = measure_correspondence(network, loader(folder, views, batch_size=1))
    assert 0 < whole.accuracy < 1
    assert whole.accuracy * 90 == pytest.approx(round(whole.accuracy * 90), abs=1e-9)
    assert single.accuracy == whole.accuracy and single.num_images == 9
    assert single.error == pytest.approx(whole.error)
    other = ImageFolder(folder, views, seed=1)
    jittered = measure_correspondence(network, evaluation_loader(other))
    assert jittered.next_similarity != whole.next_similarity
    few = measure_correspondence(network, loader(folder, views, limit=4))
    assert few.num_images == 4


def test_values_views() -> None:
    """The second view is the mirrored, grey first one; four of five are jittered."""
    pipeline: MultiView = TRANSFORMS.build(correspondence_views(56))
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (80, 100, 3), dtype=np.uint8)).resize((100, 80))
    plain = 0
    for index in range(200):
        first, second = pipeline(photo, index=index).images
        assert first.shape == second.shape == (3, 56, 56)
        assert torch.equal(second[0], second[1]) and torch.equal(second[1], second[2])
        grey = Image.fromarray(first.permute(1, 2, 0).numpy()).convert("L")
        plain += torch.equal(second[0], torch.from_numpy(np.array(grey)).flip(1))
    assert 0.12 < plain / 200 < 0.28  # a fifth, within 2.8 standard deviations


def test_state_network_is_left_alone() -> None:
    """Modes, statistics and generators are untouched; both branches of an algorithm can be asked."""
    torch.manual_seed(0)
    model, data = MonitoredByol().train(), Gratings(8)
    with torch.no_grad():
        for parameter in model.twin.backbone.parameters():
            parameter.mul_(1.5).add_(0.1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    online = measure_correspondence(model, evaluation_loader(data))
    twin = measure_correspondence(model, evaluation_loader(data), branch="twin")
    assert online != twin
    assert model.training and model.backbone.layers[1].training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_raises_on_grids_views_and_features(folder: str, tmp_path: Path) -> None:
    few = torch.ones(1, 2, 3, 3)
    with pytest.raises(ValueError, match="grid of 3 x 3 regions for images of 96 x 96 pixels"):
        mirrored_scores(few, few, image_size=(96, 96))
    with pytest.raises(ValueError, match="same grid"):
        mirrored_scores(few, torch.ones(1, 2, 3, 4), image_size=(96, 96))
    with pytest.raises(ValueError, match="compares two views, the dataset has 1"):
        measure_correspondence(Pooled(4), evaluation_loader(Gratings(4, views=1)))
    with pytest.raises(ValueError, match="not finite"):
        region_matches(few, few * float("nan"))
    with pytest.raises(ValueError, match="algorithm with a twin"):
        measure_correspondence(Pooled(4), evaluation_loader(Gratings(4)), branch="twin")
