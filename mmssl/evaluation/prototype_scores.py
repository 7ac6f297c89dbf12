"""How well a tree of prototypes knows the classes: agreement on every level, and what it would select.

HCSC: Hierarchical Contrastive Selective Coding (CVPR 2022, arXiv 2202.00455), section 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from mmssl.evaluation.clustering import TreeScores, score_tree
from mmssl.evaluation.mining import MiningCounts, MiningMetrics, mining_counts
from mmssl.losses.prototype import MOST_KEPT
from mmssl.models.memories import Prototypes
from mmssl.ops.cluster_levels import cluster_tree
from mmssl.ops.clusterer import Clusterer

_QUERIES = 256
_MOST_KEYS = 1024


@dataclass
class PrototypeScores:
    """Scores of the prototypes of one network.

    Attributes:
        tree: Clusters against classes.
        selection: Per level of the prototypes, the finest first, and per level of the classes: what share
            of the false negatives (same class) the selection removes, and so on.
        num_keys: Images that stood for the queue.
    """

    tree: TreeScores
    selection: list[dict[str, MiningMetrics]]
    num_keys: int


def keys_of_queue(num_images: int, num_keys: int | None = None) -> int:
    """How many images stand for the queue: 1024, at most half of all, unless it is said.

    Args:
        num_images: All images.
        num_keys: What was asked for.

    Raises:
        ValueError: No key, or no image is left as a query.

    Example:
        >>> keys_of_queue(100), keys_of_queue(5000), keys_of_queue(5000, 8)
        (50, 1024, 8)
    """
    chosen = min(_MOST_KEYS, num_images // 2) if num_keys is None else num_keys
    if not 0 < chosen < num_images:
        raise ValueError(
            f"num_keys={chosen} of {num_images} images stand for the queue (--num-keys): take at least 1 "
            "and leave some as queries."
        )
    return chosen


def score_prototypes(
    features: Tensor,
    levels: Mapping[str, Tensor],
    num_clusters: Sequence[int],
    *,
    clusterer: Clusterer,
    temperature: float = 0.2,
    num_keys: int | None = None,
    seed: int = 0,
    progress: str = "",
) -> PrototypeScores:
    """Cluster embeddings as HCSC does and compare with the classes.

    It asks the same of any method: one that never saw a prototype may have learnt what a selection by
    prototypes needs.

    Args:
        features: (n, D) unit rows, one per image.
        levels: Per level of the classes, the finest first, (n,) int64 groups of the images, -1 if unknown.
        num_clusters: Sizes of the levels of prototypes, the finest first.
        clusterer: Such as `KMeans()`.
        temperature: Of the prototypes; see `density`.
        num_keys: Images, drawn at random, that stand for the keys of the queue; the others are queries.
            Default: see `keys_of_queue`.
        seed: Of the draw.
        progress: Title of the progress bars; empty shows none.

    Raises:
        ValueError: No image is left as a query, levels that are no tree, or what the clusterer refuses.
    """
    num_keys = keys_of_queue(len(features), num_keys)
    clustering = cluster_tree(
        features, num_clusters, clusterer=clusterer, temperature=temperature, progress=progress
    )
    prototypes = Prototypes(num_clusters, features.shape[1], temperature=temperature)
    prototypes.load(clustering, epoch=0)
    known = torch.stack([groups >= 0 for groups in levels.values()]).all(dim=0)
    tree = score_tree(
        [clustering.on_level(level)[known] for level in range(clustering.num_levels)],
        {name: groups[known] for name, groups in levels.items()},
    )
    drawn = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))
    selection = _selection(prototypes, features, drawn, levels, num_keys)
    return PrototypeScores(tree, selection, num_keys)


def _selection(
    prototypes: Prototypes,
    features: Tensor,
    drawn: Tensor,
    levels: Mapping[str, Tensor],
    count: int,
) -> list[dict[str, MiningMetrics]]:
    """Expected shares of removed and kept pairs of the first `count` drawn images with all others."""
    keys = drawn[:count]
    partition = torch.stack([level.log_partition(features[keys]) for level in prototypes.levels])
    counts: list[dict[str, list[MiningCounts]]] = [
        {name: [] for name in levels} for _ in prototypes.levels
    ]
    for queries in drawn[count:].split(_QUERIES):
        assigned = prototypes.assign(queries)
        keep = prototypes.keep_keys(features[keys], assigned, log_partition=partition)
        # as in training, a key is removed with a probability of at least 0.001
        for found, probability in zip(counts, keep.clamp(0, MOST_KEPT), strict=True):
            for name, groups in levels.items():
                found[name].append(mining_counts(groups[queries], groups[keys], probability))
    return [
        {name: reduce(MiningCounts.plus, parts).metrics() for name, parts in found.items()}
        for found in counts
    ]
