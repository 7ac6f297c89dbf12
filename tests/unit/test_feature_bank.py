"""The bank of NPID, its losses, and the method."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn import functional as F

from mmssl.losses import bank_loss, instance_cross_entropy, noise_contrastive
from mmssl.losses.feature_bank import bank_products
from mmssl.models.memories import FeatureBank
from tests.helpers.tiny import own_views, tiny_model, tiny_npid, total_loss


def unit(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.double), dim=-1)


def test_values_rows_move_by_the_momentum_of_the_old_row():
    bank = FeatureBank(5, 2, momentum=0.75)
    bank.features.copy_(torch.tensor([[1.0, 0.0]]).expand(5, 2))
    bank.update(torch.tensor([3, 1]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    expected = torch.tensor([0.75, 0.25]) / math.hypot(0.75, 0.25)
    torch.testing.assert_close(bank.features[3], expected)
    assert torch.equal(bank.features[[0, 1, 2, 4]], torch.tensor([[1.0, 0.0]]).expand(4, 2))


def test_values_of_an_image_that_comes_twice_the_last_feature_counts():
    bank = FeatureBank(3, 2, momentum=0.0)
    bank.update(torch.tensor([2, 0, 2]), torch.tensor([[1.0, 0.0], [0.0, -1.0], [0.0, 1.0]]))
    assert bank.features[2].tolist() == [0.0, 1.0] and bank.features[0].tolist() == [0.0, -1.0]


def test_values_start():
    torch.manual_seed(0)
    bank = FeatureBank(4000, 16)
    bound = math.sqrt(3 / 16)
    assert bank.features.abs().max() <= bound
    assert bank.features.norm(dim=1).square().mean().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("nce", [False, True])
def test_equivalence_with_autograd_whatever_happens_to_the_bank(nce, whole, monkeypatch):
    monkeypatch.setattr("mmssl.losses.feature_bank._COLUMNS", 3)
    features, bank = unit(4, 6).requires_grad_(), unit(20, 6, seed=1)
    rows = None
    if not whole:
        rows = torch.randint(20, (4, 8), generator=torch.Generator().manual_seed(0))
    if nce:
        criterion = partial(
            noise_contrastive, num_samples=20, normalizer=torch.tensor(30.0), temperature=0.3
        )
    else:
        target = torch.tensor([0, 1, 2, 3])
        criterion = partial(instance_cross_entropy, target=target, temperature=0.3)
    products = features @ bank.T if whole else (features[:, None] * bank[rows]).sum(dim=2)
    expected = criterion(products)
    (slope,) = torch.autograd.grad(expected, features)
    torch.testing.assert_close(bank_products(features, bank, rows), products)
    loss = bank_loss(features, bank, rows, criterion)
    bank.zero_()
    loss.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(features.grad, slope)


def test_gradcheck():
    bank, rows = unit(9, 4, seed=1), torch.tensor([[0, 3, 3], [8, 1, 0]])
    criterion = partial(instance_cross_entropy, target=torch.tensor([0, 0]), temperature=0.5)
    assert gradcheck(lambda x: bank_loss(x, bank, rows, criterion), unit(2, 4).requires_grad_())


def test_values_nce_at_its_optimum_rows():
    """One own row and K noise rows that are as likely under the model as under the noise."""
    products = torch.zeros(1, 5)
    loss = noise_contrastive(
        products, num_samples=4, normalizer=torch.tensor(1.0), temperature=1.0, eps=0.0
    )
    assert loss.item() == pytest.approx(5 * math.log(2))


def test_state_normalizer_is_of_the_first_batch():
    model = tiny_model("npid_nce")
    assert model.normalizer == 0
    model(own_views(model, 0), mode="loss")
    first = model.normalizer.clone()
    assert first > 0
    model(own_views(model, 1), mode="loss")
    assert torch.equal(model.normalizer, first)


def test_values_bank_moves_after_the_loss_is_computed():
    model = tiny_model("npid_bank")
    views = own_views(model)
    before = model.bank.features.clone()
    loss = total_loss(model(views, mode="loss"))
    features = model.project(views.images[0])
    expected = F.cross_entropy(features @ before.T / 0.07, views.index)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)
    moved = (model.bank.features - before).abs().amax(dim=1)
    assert (moved[:4] > 0).all() and (moved[4:] == 0).all()


def test_raises_for_wrong_options():
    for options in (dict(criterion="triplet"), dict(criterion="nce", num_negatives=None)):
        with pytest.raises(ValueError, match="NPID takes criterion"):
            tiny_npid(**options)
