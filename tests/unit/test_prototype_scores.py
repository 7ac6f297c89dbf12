"""Prototypes of embeddings against classes: agreement and what a selection would remove."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mmssl.evaluation.prototype_scores import score_prototypes
from mmssl.ops.kmeans import KMeans


def two_levels(spread: float) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """180 embeddings of 6 kinds in 3 families: kinds of a family lie close to each other."""
    generator = torch.Generator().manual_seed(0)
    kind = torch.arange(180) % 6
    family = kind // 2
    centre = torch.eye(8)[family] + 0.4 * torch.eye(8)[3 + kind % 2]
    noise = spread * torch.randn(180, 8, generator=generator)
    return F.normalize(centre + noise, dim=1), dict(kind=kind, family=family)


def test_values_of_clear_classes():
    features, levels = two_levels(0.02)
    found = score_prototypes(
        features, levels, (6, 3), clusterer=KMeans(), temperature=0.05, num_keys=60
    )
    assert found.tree.levels[0]["kind"]["ami"] == pytest.approx(1)
    assert found.tree.levels[1]["family"]["ami"] == pytest.approx(1)
    finest, coarsest = found.selection
    assert finest["kind"].positive_recall > 0.9 and finest["kind"].negative_recall > 0.9
    # what the families' prototypes remove is half of another kind
    assert coarsest["family"].positive_recall > 0.9
    assert coarsest["kind"].positive_precision == pytest.approx(0.5, abs=0.1)


def test_values_unknown_images_are_left_out():
    features, levels = two_levels(0.02)
    options = dict(clusterer=KMeans(), temperature=0.05, num_keys=60)
    whole = score_prototypes(features, levels, (6, 3), **options)
    unknown = {name: groups.clone() for name, groups in levels.items()}
    for groups in unknown.values():
        groups[::7] = -1
    part = score_prototypes(features, unknown, (6, 3), **options)
    assert part.tree.levels[0]["kind"]["ami"] == pytest.approx(1)
    assert part.selection[0]["kind"].positive_recall == pytest.approx(
        whole.selection[0]["kind"].positive_recall, abs=0.05
    )


def test_values_of_noise():
    features = F.normalize(torch.randn(300, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    kind = torch.arange(300) % 6
    found = score_prototypes(features, dict(kind=kind), (12, 6), clusterer=KMeans(), num_keys=100)
    for agreement, mining in zip(found.tree.levels, found.selection, strict=True):
        assert abs(agreement["kind"]["ami"]) < 0.05
        removed = mining["kind"].positive_recall, 1 - mining["kind"].negative_recall
        assert removed[0] == pytest.approx(removed[1], abs=0.02)


def test_raises_without_a_query():
    features, levels = two_levels(0.1)
    for num_keys in (0, 180):
        with pytest.raises(ValueError, match=f"num_keys={num_keys} of 180 images"):
            score_prototypes(features, levels, (6, 3), clusterer=KMeans(), num_keys=num_keys)
