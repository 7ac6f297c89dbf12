"""Attention entropy and 60 % masks: values by hand, over windows and images, and of a network."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from mmssl.evaluation.attention_entropy import (
    attention_entropy,
    last_attention,
    mass_mask,
    measure_attention_entropy,
)
from mmssl.evaluation.features import evaluation_loader
from mmssl.models.backbones import Swin
from tests.helpers.monitored import Gratings, TinyBackbone


class Attends(nn.Module):
    """Says that its heads attend to 1, 2 and 4 keys of 4; images above half a scale to one only."""

    def __init__(self, windows: int = 1) -> None:
        super().__init__()
        self.windows = windows

    def last_attention(self, images: Tensor) -> Tensor:
        rows = torch.tensor([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25, 0.25, 0.25, 0.25]])
        attention = rows[:, None].expand(3, 4, 4).repeat(len(images) * self.windows, 1, 1, 1)
        attention[:: self.windows][images.mean((1, 2, 3)) > 0] = torch.tensor([0.0, 0, 1, 0])
        return attention


def test_values_entropy_by_hand() -> None:
    rows = torch.tensor([[0.5, 0.25, 0.25, 0], [0, 1, 0, 0], [0.25, 0.25, 0.25, 0.25]])
    assert attention_entropy(rows).tolist() == [1.5, 0, 2]
    assert attention_entropy(rows.double()).dtype == torch.float64
    tiny = torch.tensor([1.0, 1e-45])  # a denormal number
    assert attention_entropy(tiny).item() == pytest.approx(0, abs=1e-30)


def test_equivalence_with_the_formula() -> None:
    rows = torch.rand(5, 3, 49, 49, generator=torch.Generator().manual_seed(0)).double()
    rows /= rows.sum(-1, keepdim=True)
    expected = torch.distributions.Categorical(rows).entropy() / math.log(2)
    torch.testing.assert_close(attention_entropy(rows), expected)


def test_values_masks_by_hand() -> None:
    """Ascending: 0.05 0.05 0.2 0.3 0.4; what lies above 0.4 in the sum is kept."""
    rows = torch.tensor([0.3, 0.05, 0.4, 0.2, 0.05])
    assert mass_mask(rows).tolist() == [True, False, True, False, False]
    assert mass_mask(rows, 0.75).tolist() == [True, False, True, True, False]
    assert mass_mask(rows, 0.01).tolist() == [False, False, True, False, False]
    assert mass_mask(rows, 1.0).all()
    assert torch.equal(mass_mask(3 * rows), mass_mask(rows))
    both = torch.stack([rows, rows.flip(0)])
    assert torch.equal(mass_mask(both)[1], mass_mask(rows).flip(0))
    with pytest.raises(ValueError, match=r"\(0, 1\]"):
        mass_mask(rows, 0)


def test_equivalence_masks_hold_the_mass() -> None:
    """At least the mass is inside, and without its least probable key less than that."""
    rows = torch.randn(20, 49, generator=torch.Generator().manual_seed(1)).mul(2).softmax(-1)
    for mass in (0.3, 0.6, 0.9):
        mask = mass_mask(rows, mass)
        inside = (rows * mask).sum(-1)
        least = rows.masked_fill(~mask, 1).amin(-1)
        assert (inside >= mass - 1e-6).all() and (inside - least <= mass + 1e-6).all()
        assert (rows.masked_fill(mask, 0).amax(-1) <= least).all()


def test_values_mean_over_queries_windows_images() -> None:
    data = Gratings(6)
    means = torch.stack([data[i]["inputs"].images[0].float().mean() for i in range(6)])
    between = means.sort().values[1:3].mean()  # two images are darker
    dark = 2 / 6

    class Centred(nn.Module):
        def forward(self, data, training):
            views = data["inputs"]
            return dict(inputs=views._replace(images=[v.float() - between for v in views.images]))

    for size in (2, 6):
        result = measure_attention_entropy(
            Attends(), evaluation_loader(data, batch_size=size), preprocessor=Centred()
        )
        assert result.entropy == pytest.approx([0, dark, 2 * dark], abs=1e-6)
        assert (result.largest, result.num_images) == (2, 6)
    pair = measure_attention_entropy(
        Attends(2), evaluation_loader(data, batch_size=3), preprocessor=Centred()
    )
    assert pair.entropy == pytest.approx([0, (1 + dark) / 2, 1 + dark], abs=1e-6)


def test_values_of_swin() -> None:
    """Queries and keys of zero attend everywhere alike: log2 of the window's positions."""
    network = Swin(8, depths=(1, 1), num_heads=(1, 2), window_size=4, pretrain_img_size=32,
                   out_indices=(1,)).train()  # fmt: skip
    block = network.stages[-1].blocks[-1].attn.w_msa
    nn.init.zeros_(block.qkv.weight), nn.init.zeros_(block.relative_position_bias_table)
    loader = evaluation_loader(Gratings(4, size=32))
    result = measure_attention_entropy(network, loader)
    assert result.entropy == pytest.approx([4, 4]) and result.largest == 4
    assert network.training
    nn.init.constant_(block.relative_position_bias_table[24:25, 1:], 50.0)  # head 1: itself
    result = measure_attention_entropy(network, loader)
    assert result.entropy[0] == pytest.approx(4) and result.entropy[1] < 1e-3


def test_raises_without_attention() -> None:
    with pytest.raises(ValueError, match="TinyBackbone does not tell its attention"):
        last_attention(TinyBackbone(), torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match="does not tell its attention"):
        measure_attention_entropy(TinyBackbone(), evaluation_loader(Gratings(4)))
