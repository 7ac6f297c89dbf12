"""Feature extraction: order, duplicates, branches, and a network left as it was found."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from torch import nn
from torch.utils.data import DataLoader

from mmssl.evaluation import (
    Features,
    evaluation_loader,
    extract_features,
    labelled,
    match_classes,
    preserved_rng,
    select_backbone,
)
from tests.helpers.monitored import Gratings, MonitoredByol, TinyBackbone


def network(seed: int = 0) -> MonitoredByol:
    torch.manual_seed(seed)
    model = MonitoredByol()
    for _ in range(3):  # running statistics that differ from batch statistics
        model.backbone(torch.randn(8, 3, 16, 16) * 2 + 1)
    return model.train()


def test_values_equal_a_plain_forward_pass() -> None:
    model, data = network(), Gratings(10)
    found = extract_features(model, evaluation_loader(data, batch_size=4))
    images = torch.stack([data[i]["inputs"].images[0] for i in range(10)]).float()
    mean, std = model.data_preprocessor.mean, model.data_preprocessor.std
    model.backbone.eval()
    with torch.no_grad():
        expected = model.backbone((images - mean) / std)[-1].mean(dim=(2, 3))
    torch.testing.assert_close(found.features, expected)
    assert found.labels.tolist() == data.labels


def test_values_in_dataset_order_without_duplicates() -> None:
    model, data = network(), Gratings(10)
    whole = extract_features(model, evaluation_loader(data))
    order = [7, 3, 9, 0, 1, 2, 3, 4, 5, 6, 8, 0]  # shuffled and padded, as samplers do
    loader = DataLoader(data, batch_size=5, sampler=order, collate_fn=default_collate)
    found = extract_features(model, loader)
    torch.testing.assert_close(found.features, whole.features)
    assert torch.equal(found.labels, whole.labels)


def test_values_a_backbone_and_its_algorithm_agree() -> None:
    model, data = network(), Gratings(6)
    assert torch.equal(
        extract_features(model.backbone, evaluation_loader(data)).features,
        extract_features(model, evaluation_loader(data)).features,
    )


def test_values_branches() -> None:
    model, data = network(), Gratings(6)
    twin = model.twin.backbone
    assert select_backbone(model, "twin") is twin
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(2)
    loader = evaluation_loader(data)
    online = extract_features(model, loader).features
    other = extract_features(model, loader, branch="twin").features
    assert not torch.allclose(online, other)
    model.twin.sync(model)
    torch.testing.assert_close(extract_features(model, loader, branch="twin").features, online)
    with pytest.raises(ValueError, match="algorithm with a twin"):
        select_backbone(TinyBackbone(), "twin")


def test_state_modes_statistics_and_generators_are_untouched() -> None:
    model, data = network(), Gratings(8)
    model.backbone.layers[1].eval()  # a frozen layer stays frozen
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    found = extract_features(model, evaluation_loader(data, num_workers=0))
    assert not found.features.requires_grad
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]


def test_raises_when_a_layer_ignores_eval_mode() -> None:
    class Stubborn(nn.BatchNorm2d):
        def train(self, mode: bool = True) -> Stubborn:
            return super().train(True)

    model = TinyBackbone(dim=8)
    model.layers[1] = Stubborn(8)
    with pytest.raises(RuntimeError, match="keeps training"):
        extract_features(model, evaluation_loader(Gratings(4)))


def test_raises_on_stage_and_empty_data() -> None:
    with pytest.raises(ValueError, match=r"returns 1 map\(s\)"):
        extract_features(TinyBackbone(), evaluation_loader(Gratings(4)), stage=1)
    with pytest.raises(ValueError, match="holds no image"):
        evaluation_loader(Gratings(0))


def test_values_limit_draws_the_same_images() -> None:
    keys = list(evaluation_loader(Gratings(400), limit=100, epoch=3).sampler)
    assert keys == list(evaluation_loader(Gratings(400), limit=100, epoch=3).sampler)
    positions = [position for _, position in keys]
    assert {epoch for epoch, _ in keys} == {3}
    assert positions == sorted(set(positions)) and len(positions) == 100
    assert min(torch.tensor(positions).remainder(4).bincount()) > 15  # no class of four is lost


def test_values_match_classes_by_name() -> None:
    data = Features(torch.zeros(4, 1), torch.tensor([0, 1, 1, -1]))
    matched = match_classes(data, ["b", "d"], ["a", "b", "c", "d"])
    assert matched.labels.tolist() == [1, 3, 3, -1]
    assert match_classes(data, None, ["a"]) is data
    with pytest.raises(ValueError, match="no training images: d"):
        match_classes(data, ["b", "d"], ["a", "b"])
    assert labelled(data).labels.tolist() == [0, 1, 1]


def test_state_preserved_rng() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    with preserved_rng():
        torch.rand(3), np.random.rand(), random.random()
        torch.manual_seed(5)
    after = torch.rand(1), np.random.rand(), random.random()
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    assert after == (torch.rand(1), np.random.rand(), random.random())
