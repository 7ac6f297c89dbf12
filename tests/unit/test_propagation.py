"""Pixel propagation: the formula, its gradient, and the module around it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmssl.models.heads import PixelPropagation
from mmssl.ops.propagation import image_chunks, propagate
from tests.helpers.tolerance import FLOAT64

OPTIONS = [
    dict(gamma=2.0, clamp=0.0),
    dict(gamma=1.0, clamp=0.0),
    dict(gamma=0.5, clamp=0.0),
    dict(gamma=0.0, clamp=0.0),
    dict(gamma=2.5, clamp=0.1),
    dict(gamma=3.0, clamp=-1.0),
]
options = pytest.mark.parametrize("options", OPTIONS, ids=str)


def drawn(num: int = 3, dim: int = 4, cells: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    feats, values = (
        torch.randn(num, dim, cells, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    return F.normalize(feats, dim=1).requires_grad_(), values.requires_grad_()


def formula(feats: Tensor, values: Tensor, gamma: float, clamp: float) -> Tensor:
    similarity = torch.einsum("nci,ncj->nij", feats, feats).clamp(min=clamp)
    lifted = similarity + 1e-6 if gamma < 1 else similarity
    return torch.einsum("nij,ndj->ndi", lifted**gamma, values)


@options
@pytest.mark.parametrize("max_pairs", [1, 2 * 36, 10**6])
def test_equivalence_formula(options: dict, max_pairs: int) -> None:
    feats, values = drawn()
    expected = formula(feats, values, **options)
    cotangent = torch.randn_like(expected)
    slopes = torch.autograd.grad((expected * cotangent).sum(), (feats, values))
    found = propagate(feats, values, max_pairs=max_pairs, **options)
    torch.testing.assert_close(found, expected, **FLOAT64)
    ours = torch.autograd.grad((found * cotangent).sum(), (feats, values))
    for mine, theirs in zip(ours, slopes, strict=True):
        torch.testing.assert_close(mine, theirs, **FLOAT64)


@options
def test_gradcheck(options: dict) -> None:
    feats, values = drawn(num=2, cells=4)
    assert torch.autograd.gradcheck(
        lambda u, v: propagate(u, v, max_pairs=16, **options), (feats, values)
    )


def test_values_chunks_cover_the_batch() -> None:
    for num, pairs, most in ((5, 10, 20), (5, 10, 1), (1, 10, 1000), (7, 49, 7 * 49)):
        chunks = list(image_chunks(num, pairs, most))
        assert [i for part in chunks for i in range(num)[part]] == list(range(num))
        assert all((part.stop - part.start) * pairs <= max(most, pairs) for part in chunks)


def test_values_gamma_zero_is_the_sum_of_all_cells() -> None:
    feats, values = drawn()
    found = propagate(feats, values, gamma=0.0)
    torch.testing.assert_close(found, values.sum(dim=2, keepdim=True).expand_as(found), **FLOAT64)


def test_values_orthogonal_cells_keep_their_values() -> None:
    feats = torch.eye(4)[None]
    values = torch.randn(1, 3, 4)
    assert torch.equal(propagate(feats, values), values)


def test_equivalence_permuted_cells() -> None:
    feats, values = drawn()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    found = propagate(feats[:, :, order], values[:, :, order])
    torch.testing.assert_close(found, propagate(feats, values)[:, :, order], **FLOAT64)


def test_equivalence_under_autocast() -> None:
    """Forward and backward are in float32, whichever precision the inputs have."""
    feats, values = (x.detach().float().requires_grad_() for x in drawn())
    exact = propagate(feats, values)
    slope = torch.autograd.grad(exact.sum(), feats)[0]
    with torch.autocast("cpu", torch.bfloat16):
        found = propagate(feats, values)
        assert torch.equal(found, exact)
        assert torch.equal(torch.autograd.grad(found.sum(), feats)[0], slope)
    assert propagate(feats.bfloat16(), values).dtype == torch.float32


@pytest.mark.parametrize("num_layers", [0, 1, 2])
@pytest.mark.parametrize("normalize_value", [True, False])
def test_equivalence_module(num_layers: int, normalize_value: bool) -> None:
    head = PixelPropagation(4, num_layers=num_layers, normalize_value=normalize_value).double()
    x = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    values = x if head.value_transform is None else head.value_transform(x)
    values = F.normalize(values, dim=1) if normalize_value else values
    expected = formula(F.normalize(x, dim=1).flatten(2), values.flatten(2), 2.0, 0.0)
    torch.testing.assert_close(head(x), expected.view(2, 4, 3, 5), **FLOAT64)
    convolutions = [m for m in head.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == num_layers and all(m.bias is not None for m in convolutions)


def test_values_length_of_the_input_does_not_matter() -> None:
    head = PixelPropagation(4, num_layers=0)
    x = torch.randn(2, 4, 3, 3)
    scale = torch.rand(2, 1, 3, 3) + 0.5
    torch.testing.assert_close(head(x * scale), head(x))
    # a cell without length has no similarity to any other
    x[:, :, 0, 0] = 0
    assert head(x).isfinite().all() and not head(x)[:, :, 0, 0].any()


def test_values_number_of_parameters() -> None:
    """One layer, 256 channels: the 65 792 of the published model."""
    assert sum(p.numel() for p in PixelPropagation().parameters()) == 65792


def test_state_norm_of_two_layers_is_local_unless_asked() -> None:
    plain = PixelPropagation(4, num_layers=2).value_transform.layers[1]
    synchronised = PixelPropagation(4, num_layers=2, norm_cfg=dict(type="SyncBN"))
    assert type(plain) is torch.nn.BatchNorm2d
    assert isinstance(synchronised.value_transform.layers[1], torch.nn.SyncBatchNorm)


@pytest.mark.parametrize(
    ("options", "message"),
    [(dict(num_layers=3), "0, 1 or 2"), (dict(gamma=0.5, clamp=-1.0), "negative similarities")],
)
def test_raises_on_nonsense(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PixelPropagation(4, **options)


def test_raises_on_shapes_and_powers() -> None:
    with pytest.raises(ValueError, match="same images and cells"):
        propagate(torch.zeros(2, 3, 4), torch.zeros(2, 3, 5))
    with pytest.raises(ValueError, match="negative similarities"):
        propagate(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4), gamma=1.5, clamp=-1.0)
