"""Pictures of correspondence and attention masks: lines, markers and masks are where they belong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmssl.datasets.transforms import MultiView
from mmssl.models.backbones import Swin, VisionTransformer
from mmssl.models.data_preprocessor import ViewPreprocessor
from mmssl.registry import TRANSFORMS
from mmssl.visualization.attention_masks import head_masks, mask_sheet, red_overlay
from mmssl.visualization.correspondence_plot import (
    GAP,
    LINE,
    MARKERS,
    correspondence_plot,
    match_pair,
    plot_views,
    stacked,
)

PLAIN = ViewPreprocessor(mean=(0, 0, 0), std=(1, 1, 1))


class Cells(nn.Module):
    """Mean colours of cells of 16 pixels; the view's feature is the largest value of each channel."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return (F.avg_pool2d(images, 16),)

    def view_and_map(self, images: Tensor) -> tuple[Tensor, Tensor]:
        regions = self.forward(images)[0]
        return regions.amax((2, 3)), regions


class Token(nn.Module):
    """A class token in front of 2 x 3 positions: head 0 looks at position 5, head 1 at 0 and 1."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return (images.new_zeros(len(images), 4, 2, 3),)

    def last_attention(self, images: Tensor) -> Tensor:
        attention = torch.full((1, 2, 7, 7), 1 / 7)
        attention[0, 0, 0] = torch.tensor([0.5, 0, 0, 0, 0, 0, 0.5])
        attention[0, 1, 0] = torch.tensor([0.2, 0.4, 0.4, 0, 0, 0, 0])
        attention[0, :, 4] = torch.tensor([0.0, 0, 0, 0, 1, 0, 0])
        return attention


def blocks(*colours: tuple[int, int, tuple[int, int, int]], height=32, width=64) -> np.ndarray:
    """Black but for squares of 16 pixels at (row, column)."""
    image = np.zeros((height, width, 3), np.uint8)
    for row, column, colour in colours:
        image[16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = colour
    return image


RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def test_values_matches_and_markers() -> None:
    """Two pictures of different sizes; views whose feature is one colour find that colour."""
    first = blocks((0, 3, RED), (1, 1, GREEN))
    second = blocks((1, 0, RED), (0, 2, GREEN), (0, 0, BLUE), height=48, width=48)
    found = match_pair(Cells(), PLAIN, first, second, num_matches=2)
    pairs = {tuple(a): tuple(b) for a, b in zip(found.first.tolist(), found.second.tolist())}
    assert pairs == {(56, 8): (8, 24), (24, 24): (40, 8)}
    assert found.similarity.tolist() == pytest.approx([1, 1])
    red_only, blue = blocks((1, 2, RED)), blocks((0, 1, BLUE), (1, 0, RED))
    markers = match_pair(Cells(), PLAIN, red_only, blue).markers
    assert markers[0, 0].tolist() == [40, 24]  # own red block: x and y are not exchanged
    assert markers[1, 0].tolist() == [8, 24]
    assert markers[1, 1].tolist() in ([24, 8], [8, 24])
    assert len(match_pair(Cells(), PLAIN, first, second).first) == 8  # all that there are


def pixel(image: np.ndarray, x: float, y: float) -> tuple[int, ...]:
    return tuple(int(value) for value in image[round(y), round(x)])


@pytest.mark.parametrize("zoom", [1, 3])
def test_values_plot(zoom: int) -> None:
    """Size with the gap; the line runs from one centre to the other; markers around their regions."""
    first, second = blocks((1, 0, RED), height=64), blocks((1, 2, RED), height=48)
    found = match_pair(Cells(), PLAIN, first, second, num_matches=1)
    plot = np.asarray(correspondence_plot(first, second, found, zoom=zoom))
    assert plot.shape == (64 * zoom, (64 + GAP + 64) * zoom, 3)
    start, end = (8, 24), (64 + GAP + 40, 24)
    assert pixel(plot, (start[0] + end[0]) / 2 * zoom, 24 * zoom) == LINE
    assert pixel(plot, 66 * zoom, 10 * zoom) == (255, 255, 255)  # the gap
    for picture, (x, y) in enumerate((start, end)):
        edges = plot[round((y - 9) * zoom) : round((y - 6) * zoom), round(x * zoom)]
        colours = {tuple(int(value) for value in each) for each in edges}
        assert set(MARKERS) <= colours, picture
    colours = {tuple(int(v) for v in c) for c in plot[:, : 64 * zoom].reshape(-1, 3)}
    assert LINE in colours and (0, 0, 0) in colours


def test_values_stacked() -> None:
    plots = [correspondence_plot(blocks(), blocks(), match_pair(Cells(), PLAIN, *2 * [blocks((0, 0, RED))]))
             for _ in range(2)]  # fmt: skip
    sheet = stacked(plots, gap=4)
    assert sheet.size == (plots[0].width, 2 * plots[0].height + 4)
    with pytest.raises(ValueError, match="no picture"):
        stacked([])


def test_values_plot_views() -> None:
    """The whole image, squeezed, and 40 to 60 % of it."""
    config = plot_views(48)
    config["boxes"] = "pixel"
    views: MultiView = TRANSFORMS.build(config)
    photo = np.zeros((90, 100, 3), np.uint8)
    for index in range(20):
        drawn = views(photo, index=index)
        whole, part = (box.tolist() for box in drawn.boxes)
        assert whole == [0, 0, 99, 89]
        share = (abs(part[2] - part[0]) + 1) * (part[3] - part[1] + 1) / 9000
        assert 0.38 < share < 0.62
        assert all(image.shape == (3, 48, 48) for image in drawn.images)


def test_values_masks_of_a_class_token() -> None:
    """The class token looks, its own key is left out; heads come from the most spread one on."""
    found = head_masks(Token(), PLAIN, blocks())
    assert found.query is None and found.heads.tolist() == [1, 0]
    expected = 0.2 * np.log2(5) + 0.8 * np.log2(2.5)
    assert found.entropy.tolist() == pytest.approx([expected, 1])
    assert found.masks[0].tolist() == [[True, True, False], [False, False, False]]
    assert found.masks[1].tolist() == [[False, False, False], [False, False, True]]
    region = head_masks(Token(), PLAIN, blocks(), query=(1, 0))
    assert region.query == (1, 0)
    assert region.masks.flatten(1).tolist() == [[False, False, False, True, False, False]] * 2
    with pytest.raises(ValueError, match=r"no region \(2, 0\): the map has 2 x 3"):
        head_masks(Token(), PLAIN, blocks(), query=(2, 0))


def swin() -> Swin:
    torch.manual_seed(0)
    return Swin(8, depths=(1, 1), num_heads=(1, 2), window_size=4, pretrain_img_size=32,
                out_indices=(1,))  # fmt: skip


def test_values_masks_of_swin() -> None:
    network = swin()
    attention = network.stages[-1].blocks[-1].attn.w_msa
    nn.init.zeros_(attention.qkv.weight)
    nn.init.constant_(attention.relative_position_bias_table[24:25, 1:], 50.0)  # head 1: itself
    found = head_masks(network, PLAIN, blocks(height=32, width=32))
    assert found.query == (2, 2) and found.heads.tolist() == [0, 1]
    own = torch.zeros(4, 4, dtype=torch.bool)
    own[2, 2] = True
    assert torch.equal(found.masks[1], own) and found.masks[0].sum() >= 9


def test_values_masks_of_a_vision_transformer() -> None:
    """Patches in the order of rows, behind the class token."""
    torch.manual_seed(0)
    network = VisionTransformer(12, depth=2, num_heads=3, patch_size=8, pretrain_img_size=32)
    network.init_weights()
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    found = head_masks(network, PLAIN, picture)
    assert found.query is None and found.masks.shape == (3, 4, 4)
    assert (found.entropy <= np.log2(17)).all() and (found.entropy.diff() <= 0).all()
    region = head_masks(network, PLAIN, picture, query=(1, 2))
    images = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        looks = network.eval().last_attention(images)[0, :, 1 + 1 * 4 + 2, 1:]
    inside = (looks[region.heads] * region.masks.flatten(1)).sum(1) / looks[region.heads].sum(1)
    assert (inside >= 0.6 - 1e-5).all()


@pytest.mark.parametrize("size", [64, 24])
def test_raises_where_attention_is_no_picture(size: int) -> None:
    """Four windows, or one that is padded."""
    with pytest.raises(ValueError, match="of the size that the network was trained with"):
        head_masks(swin(), PLAIN, np.zeros((size, size, 3), np.uint8))


def test_values_overlay_and_sheet() -> None:
    picture = np.full((8, 8, 3), 100, np.uint8)
    mask = np.array([[True, False], [False, False]])
    tinted = red_overlay(picture, mask)
    assert tinted[:4, :4].reshape(-1, 3).tolist() == [[178, 50, 50]] * 16
    assert (tinted[4:] == 100).all() and (tinted[:, 4:] == 100).all()
    found = head_masks(Token(), PLAIN, blocks())
    sheet = np.asarray(mask_sheet([blocks()] * 2, [found] * 2, columns=2, cell=32, alpha=1.0))
    assert sheet.shape == (4 * 48, 2 * 68, 3)  # image and first head, second head; twice
    assert tuple(sheet[16 + 4, 68 + 4]) == (255, 0, 0) and tuple(sheet[16 + 28, 68 + 4]) == (
        0,
        0,
        0,
    )
    assert tuple(sheet[48 + 16 + 28, 60]) == (255, 0, 0)
    with pytest.raises(ValueError, match="got 1 for 2"):
        mask_sheet([blocks()] * 2, [found])
