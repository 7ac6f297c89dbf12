"""K-means of frozen features, compared with the classes: on one level or, for trees of classes, on all.

HCSC: Hierarchical Contrastive Selective Coding (CVPR 2022, arXiv 2202.00455) and PCL (ICLR 2021, arXiv
2005.04966), section 4: adjusted mutual information of clusters and classes. HCSC's script was never
published: the protocol is pooled features of the backbone of unit length, k-means as in their training
(`mmssl.ops.kmeans.KMeans`), seed 0, validation images; PCL's figures are for the training images and 25000
clusters. The scores are those of `mmssl.ops.partition` and `mmssl.ops.tree_agreement`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mmssl.evaluation.class_levels import OWN_LEVEL, class_levels
from mmssl.evaluation.features import Features, labelled
from mmssl.ops.clusterer import Clusterer
from mmssl.ops.kmeans import build_clusterer
from mmssl.ops.partition import contingency, partition_scores
from mmssl.ops.tree_agreement import (
    ancestor_agreement,
    ancestor_correlation,
    common_ancestors,
    dendrogram_purity,
)

# The matching needs a dense table of clusters and classes, 800 MB at this size.
MAX_MATCHING_CELLS = 100_000_000


@dataclass
class ClusterScores:
    """A clustering of the images against their classes; all in [0, 1] but for chance below 0.

    Attributes:
        nmi: Normalised mutual information, arithmetic mean.
        ami: The same adjusted for chance.
        ari: Adjusted Rand index.
        purity: Share of images of the most frequent class of their cluster.
        matching: Share of images whose class is the one that its cluster was matched to, in the best
            matching of clusters and classes one to one; None above 100 million pairs of them.
        num_nonempty: Clusters with images.
        levels: The first four against every level of the classes' hierarchy, if there is one.
    """

    nmi: float
    ami: float
    ari: float
    purity: float
    matching: float | None
    num_nonempty: int
    levels: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass
class TreeScores:
    """A tree of clusters against the tree of the classes; see `mmssl.ops.tree_agreement`.

    Attributes:
        num_nonempty: Clusters with images on each level, the finest first.
        levels: Per level of the clusters, the finest first: NMI, AMI, ARI and purity against every level
            of the classes.
        dendrogram_purity: Per level of the classes.
        correlation: Kendall's tau-b of the levels on which pairs of images meet in both trees.
        agreement: Share of pairs that meet on the same level; None if one tree has more levels.
        kappa: The same adjusted for chance.
        meeting: Pairs of images by the level on which they meet: rows for the clusters, columns for the
            classes, the roots last.
    """

    num_nonempty: list[int]
    levels: list[dict[str, dict[str, float]]]
    dendrogram_purity: dict[str, float]
    correlation: float
    agreement: float | None
    kappa: float | None
    meeting: list[list[int]]


@dataclass
class ClusteringResult:
    """What `cluster_features` found.

    Attributes:
        flat: Scores by the number of clusters.
        objective: By the number of clusters, the sum of squared distances that k-means reached.
        tree: Scores of the tree, if one was asked for.
        num_images: Images that were clustered.
    """

    flat: dict[int, ClusterScores]
    objective: dict[int, float]
    tree: TreeScores | None
    num_images: int


def matching_accuracy(clusters: Tensor, labels: Tensor) -> float | None:
    """Share of points on the best one-to-one matching of clusters and classes.

    Kuhn, The Hungarian method for the assignment problem (1955). Clusters or classes that stay without
    partner count as wrong.

    Args:
        clusters: (n,) int64 clusters of the points.
        labels: (n,) int64 classes of the points.

    Returns:
        In [0, 1]; None if there are more than 100 million pairs of a cluster and a class.

    Raises:
        ImportError: scipy is not installed.

    Example:
        >>> matching_accuracy(torch.tensor([4, 4, 4, 2]), torch.tensor([0, 0, 1, 1]))
        0.75
    """
    table = contingency(clusters, labels)
    shape = len(table.row_sizes), len(table.column_sizes)
    if shape[0] * shape[1] > MAX_MATCHING_CELLS:
        return None
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise ImportError(
            "Matching clusters and classes needs scipy; in the checkout: `pip install '.[evaluation]'`."
        ) from error
    dense = torch.zeros(shape, dtype=torch.int64)
    dense[table.rows.cpu(), table.columns.cpu()] = table.counts.cpu()
    rows, columns = linear_sum_assignment(dense.numpy(), maximize=True)
    return int(dense[torch.from_numpy(rows), torch.from_numpy(columns)].sum()) / len(labels)


def score_clusters(
    clusters: Tensor, labels: Tensor, *, levels: Mapping[str, Tensor] | None = None
) -> ClusterScores:
    """All scores of one clustering.

    Args:
        clusters: (n,) int64 clusters of the images.
        labels: (n,) int64 classes of the images.
        levels: Per level of the classes' hierarchy (n,) int64 groups of the images.
    """
    scores = partition_scores(clusters, labels)
    return ClusterScores(
        **scores._asdict(),
        matching=matching_accuracy(clusters, labels),
        num_nonempty=len(clusters.unique()),
        levels=_by_level(clusters, levels or {}),
    )


def _by_level(clusters: Tensor, levels: Mapping[str, Tensor]) -> dict[str, dict[str, float]]:
    return {level: partition_scores(clusters, groups)._asdict() for level, groups in levels.items()}


def score_tree(clusters: Sequence[Tensor], levels: Mapping[str, Tensor]) -> TreeScores:
    """All scores of a tree of clusters, such as the levels of a `Clustering`.

    Args:
        clusters: Per level (n,) int64 clusters of the images, the finest first.
        levels: Per level of the classes (n,) int64 groups of the images, the finest first.

    Raises:
        ValueError: Levels that are no tree.
    """
    groups = list(levels.values())
    table = common_ancestors(clusters, groups)
    agreement = kappa = None
    if len(clusters) == len(groups):
        agreement, kappa = ancestor_agreement(table)
    return TreeScores(
        num_nonempty=[len(level.unique()) for level in clusters],
        levels=[_by_level(level, levels) for level in clusters],
        dendrogram_purity={
            level: dendrogram_purity(clusters, labels) for level, labels in levels.items()
        },
        correlation=ancestor_correlation(table),
        agreement=agreement,
        kappa=kappa,
        meeting=table.tolist(),
    )


def _tree(
    features: Tensor, sizes: Sequence[int], clusterer: Clusterer, *, seed: int, progress: str
) -> list[Tensor]:
    """Bottom-up k-means: per level (n,) clusters of the images, the finest first."""
    levels: list[Tensor] = []
    points = features
    for level, size in enumerate(sizes):
        title = progress and f"{progress}: level {level + 1} of {len(sizes)}, {size} clusters"
        found = clusterer.fit(points, size, seed=seed + level, progress=title)
        own = found.assignment.cpu()
        levels.append(own[levels[-1]] if levels else own)
        points = F.normalize(found.centroids, dim=1)
    return levels


def cluster_features(
    data: Features,
    *,
    classes: Sequence[str] | None = None,
    num_clusters: Sequence[int] | None = None,
    tree: Sequence[int] = (),
    hierarchy: str | None = None,
    l2: bool = True,
    clusterer: Clusterer | dict[str, Any] | None = None,
    seed: int = 0,
    progress: str = "",
) -> ClusteringResult:
    """Cluster features and compare the clusters with the classes.

    Args:
        data: Features with one class per image; images without label are left out.
        classes: Names of the classes, which a hierarchy needs.
        num_clusters: For each entry one clustering; default as many as there are classes.
        tree: Also a tree of clusters, bottom-up: its sizes, the finest first. The centroids of each
            level, scaled to unit length, are clustered to get the next.
        hierarchy: See `class_levels`; a tree of clusters without one is compared with the classes alone.
        l2: Scale the features to unit length first.
        clusterer: A clusterer or its config; default `KMeans()`, HCSC's and PCL's.
        seed: Of k-means; level l of a tree has seed + l.
        progress: Title of the progress bars; empty shows none.

    Raises:
        ImportError: scipy is not installed.
        ValueError: No label or several per image, more clusters than images, sizes of a tree that do not
            fall, or a hierarchy that does not fit.
    """
    check_cluster_options(num_clusters=num_clusters, tree=tree)
    data = labelled(data)
    if data.labels.ndim != 1 or not len(data.labels):
        raise ValueError(
            "Clusters are compared with one class per image, got labels of shape "
            f"{tuple(data.labels.shape)}."
        )
    check_cluster_sizes(len(data.labels), num_clusters=num_clusters, tree=tree)
    levels = _levels_of_images(data.labels, classes, hierarchy)
    solver = build_clusterer(clusterer or dict(type="KMeans"))
    features = F.normalize(data.features.float(), dim=1) if l2 else data.features.float()
    flat, objective = {}, {}
    for count in num_clusters or [len(data.labels.unique())]:
        title = progress and f"{progress}: {count} clusters"
        found = solver.fit(features, count, seed=seed, progress=title)
        flat[count] = score_clusters(
            found.assignment.cpu(), data.labels, levels=levels if hierarchy else None
        )
        objective[count] = found.objective
    nested = _tree(features, tree, solver, seed=seed, progress=progress) if tree else []
    return ClusteringResult(
        flat=flat,
        objective=objective,
        tree=score_tree(nested, levels) if tree else None,
        num_images=len(data.labels),
    )


def check_cluster_options(
    *, num_clusters: Sequence[int] | None = None, tree: Sequence[int] = ()
) -> None:
    """Refuse numbers of clusters that no images can have.

    Args:
        num_clusters: See `cluster_features`.
        tree: See `cluster_features`.

    Raises:
        ValueError: A number below 1, or sizes of a tree that do not fall.
    """
    for name, sizes in (("num_clusters", num_clusters or ()), ("tree", tree)):
        if any(size < 1 for size in sizes):
            raise ValueError(f"{name} must be numbers of at least 1, got {list(sizes)}.")
    if any(finer <= coarser for finer, coarser in pairwise(tree)):
        raise ValueError(f"The levels of a tree get smaller from the finest on, got {list(tree)}.")


def check_cluster_sizes(
    num_images: int, *, num_clusters: Sequence[int] | None = None, tree: Sequence[int] = ()
) -> None:
    """Refuse more clusters than images.

    Args:
        num_images: Images to be clustered.
        num_clusters: See `cluster_features`.
        tree: See `cluster_features`.

    Raises:
        ValueError: More clusters than images.
    """
    most = max((*(num_clusters or ()), *tree), default=0)
    if most > num_images:
        raise ValueError(
            f"{most} clusters need at least as many images, got {num_images}; ask for fewer clusters."
        )


def _levels_of_images(
    labels: Tensor, classes: Sequence[str] | None, hierarchy: str | None
) -> dict[str, Tensor]:
    """Per level of the classes the (n,) groups of the images; without a hierarchy the classes only."""
    if hierarchy is None:
        return {OWN_LEVEL: labels}
    if classes is None:
        raise ValueError(f"The hierarchy {hierarchy!r} needs the names of the classes.")
    return {level: groups[labels] for level, groups in class_levels(hierarchy, classes).items()}
