"""Clusters of features against classes: golden, by hand, perfect trees, hierarchies of classes, errors."""

from __future__ import annotations

import json
import sys
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmssl.datasets.shapes import LEAVES
from mmssl.evaluation.class_levels import class_levels
from mmssl.evaluation.clustering import (
    MAX_MATCHING_CELLS,
    cluster_features,
    matching_accuracy,
    score_clusters,
    score_tree,
)
from mmssl.evaluation.features import Features
from mmssl.ops.partition import partition_scores

NAMES = [leaf.name for leaf in LEAVES]
QUICK = dict(type="KMeans", iterations=10, restarts=3)


def shapes_like(per_class: int, *, spread: float = 0.02) -> Features:
    """Features in which varieties are near their species and species near their family."""
    generator = torch.Generator().manual_seed(0)

    def centres(count: int, size: float) -> Tensor:
        return size * F.normalize(torch.randn(count, 16, generator=generator), dim=1)

    leaves = torch.arange(24)
    own = centres(4, 4.0)[leaves // 6] + centres(12, 1.5)[leaves // 2] + centres(24, 0.6)
    labels = leaves.repeat(per_class)
    noise = spread * torch.randn(len(labels), 16, generator=generator)
    return Features(own[labels] + noise, labels)


def test_values_matching_by_enumeration() -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(4, (60,), generator=generator)
    clusters = torch.where(
        torch.rand(60, generator=generator) < 0.5,
        3 - labels,
        torch.randint(4, (60,), generator=generator),
    )
    best = max(
        sum(int(((clusters == k) & (labels == matched[k])).sum()) for k in range(4))
        for matched in permutations(range(4))
    )
    assert matching_accuracy(clusters * 5 - 2, labels) == best / 60
    assert matching_accuracy(torch.arange(60), labels) == 4 / 60  # one image for every class
    assert matching_accuracy(torch.zeros(60).long(), labels) == labels.bincount().max() / 60


def test_values_matching_of_too_many_pairs_is_none() -> None:
    many = torch.arange(int(MAX_MATCHING_CELLS**0.5) + 1)
    assert matching_accuracy(many, many) is None
    assert score_clusters(many, many).ami == 1.0


def test_values_scores_and_levels() -> None:
    labels = torch.arange(24).repeat(3)
    levels = {name: groups[labels] for name, groups in class_levels("shapes", NAMES).items()}
    found = score_clusters(7 - labels // 2, labels, levels=levels)
    assert (found.num_nonempty, found.purity, found.matching) == (12, 0.5, 0.5)
    assert list(found.levels) == ["variety", "species", "family"]
    assert found.levels["species"] == pytest.approx(dict(nmi=1, ami=1, ari=1, purity=1))
    assert found.levels["family"]["purity"] == 1
    assert found.levels["variety"]["ami"] == pytest.approx(found.ami)
    assert found.levels["family"]["ami"] < 1


def test_values_a_perfect_tree() -> None:
    labels = torch.arange(24).repeat(4)
    levels = {name: groups[labels] for name, groups in class_levels("shapes", NAMES).items()}
    found = score_tree([50 - groups for groups in levels.values()], levels)
    assert found.num_nonempty == [24, 12, 4]
    assert found.dendrogram_purity == dict(variety=1.0, species=1.0, family=1.0)
    assert (found.agreement, found.kappa) == (1.0, 1.0)
    assert found.correlation == pytest.approx(1.0)
    for number, own in enumerate(("variety", "species", "family")):
        assert found.levels[number][own] == pytest.approx(dict(nmi=1, ami=1, ari=1, purity=1))
        assert found.meeting[number][number] > 0
    shuffled = labels[torch.randperm(96, generator=torch.Generator().manual_seed(0))]
    chance = {name: groups[shuffled] for name, groups in class_levels("shapes", NAMES).items()}
    worse = score_tree(list(levels.values()), chance)
    assert abs(worse.kappa or 0) < 0.03
    assert worse.dendrogram_purity["family"] < 0.45


def test_values_trees_of_other_heights_have_no_kappa() -> None:
    labels = torch.arange(24).repeat(4)
    levels = {name: groups[labels] for name, groups in class_levels("shapes", NAMES).items()}
    found = score_tree([labels // 2, labels // 6], levels)
    assert (found.agreement, found.kappa) == (None, None)
    assert 0.8 < found.correlation < 1


def test_values_features_that_show_the_hierarchy() -> None:
    data = shapes_like(6)
    found = cluster_features(
        data,
        classes=NAMES,
        num_clusters=[24, 4],
        tree=[24, 12, 4],
        hierarchy="shapes",
        clusterer=QUICK,
        progress="",
    )
    assert found.num_images == 144
    assert list(found.flat) == [24, 4]
    assert found.flat[24].ami > 0.9
    assert found.flat[4].levels["family"]["ami"] > 0.7
    assert found.objective[24] < found.objective[4]
    assert found.tree is not None
    assert found.tree.levels[0]["variety"]["purity"] == found.flat[24].purity  # the same clusters
    assert found.tree.correlation > 0.7
    assert found.tree.kappa is not None
    assert found.tree.kappa > 0.6
    same = cluster_features(data, classes=NAMES, num_clusters=[24, 4], clusterer=QUICK)
    assert same.flat[24].ami == found.flat[24].ami
    assert (same.tree, same.flat[24].levels) == (None, {})


def test_values_defaults_and_length_of_features() -> None:
    """As many clusters as classes; unit length takes away what only the length tells."""
    generator = torch.Generator().manual_seed(0)
    direction = F.normalize(torch.randn(3, 8, generator=generator), dim=1)
    labels = torch.arange(3).repeat(20)
    length = 10 ** torch.rand(60, 1, generator=generator)
    data = Features(torch.cat([direction[labels] * length, torch.ones(4, 8)]),
                    torch.cat([labels, torch.full((4,), -1)]))  # fmt: skip
    found = cluster_features(data, clusterer=QUICK)
    assert found.num_images == 60
    assert list(found.flat) == [3]
    assert found.flat[3].ami == pytest.approx(1.0)
    raw = cluster_features(data, clusterer=QUICK, l2=False)
    assert raw.flat[3].ami < 0.9


def test_values_a_tree_without_hierarchy_is_compared_with_the_classes() -> None:
    found = cluster_features(shapes_like(4), tree=[24, 6], clusterer=QUICK).tree
    assert found is not None
    assert list(found.dendrogram_purity) == ["class"]
    assert (len(found.meeting), len(found.meeting[0])) == (3, 2)


def test_equivalence_of_a_file_and_the_taxonomy(tmp_path: Path) -> None:
    path = tmp_path / "levels.json"
    tree = {
        "family": {leaf.name: leaf.at("family") for leaf in LEAVES} | {"dragon": "monster"},
        "species": {leaf.name: leaf.at("species") for leaf in LEAVES} | {"dragon": "dragon"},
    }
    path.write_text(json.dumps(tree))
    found, known = class_levels(str(path), NAMES), class_levels("shapes", NAMES)
    assert list(found) == ["class", "species", "family"]
    for own, name in zip(found, known, strict=True):
        assert partition_scores(found[own], known[name]).ami == 1.0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "neither 'shapes' nor a file"),
        ("{", "is no JSON"),
        ("[1]", "must hold"),
        ('{"a": 1}', "must hold"),
        ('{"kind": {"x": "1", "y": "1"}}', r"level 'kind' .* no group for 1 of the 3 classes: z"),
        (
            '{"a": {"x": "1", "y": "1", "z": "2"}, "b": {"x": "1", "y": "2", "z": "2"}}',
            "are no tree",
        ),
    ],
)
def test_raises_on_hierarchies(content: str | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "levels.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=words):
        class_levels(str(path), ["x", "y", "z"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(tree=[4, 4]), r"get smaller from the finest on, got \[4, 4\]"),
        (dict(hierarchy="shapes"), "names of the classes"),
        (dict(num_clusters=[500]), "500 clusters"),
    ],
)
def test_raises_on_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        cluster_features(shapes_like(2), clusterer=QUICK, **options)


def test_raises_on_several_classes_per_image_or_none() -> None:
    with pytest.raises(ValueError, match=r"one class per image, got labels of shape \(5, 3\)"):
        cluster_features(Features(torch.randn(5, 2), torch.ones(5, 3)))
    with pytest.raises(ValueError, match=r"got labels of shape \(0,\)"):
        cluster_features(Features(torch.randn(5, 2), torch.full((5,), -1)))


def test_raises_without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[evaluation\]'"):
        matching_accuracy(torch.arange(3), torch.arange(3))
