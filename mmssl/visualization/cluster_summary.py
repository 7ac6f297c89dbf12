"""What a clustering of images looks like in numbers: sizes, members, nearest images, classes.

HCSC: Hierarchical Contrastive Selective Coding, 2022, arXiv 2202.00455, section 3.1 and its figures of the
hierarchy. "Nearest" is by the cosine of an image's embedding and the prototype, over all images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from rich.progress import track
from torch import Tensor

from mmssl.structures import Clustering

# Similarities that are held at a time, 128 MB.
_BLOCK = 1 << 25


class Nearest(NamedTuple):
    """The images nearest to some prototypes, nearest first.

    Attributes:
        images: (M, k) int64 positions in the data set.
        similarity: (M, k) their cosines.
    """

    images: Tensor
    similarity: Tensor


class ClassCounts(NamedTuple):
    """Classes of the members of each prototype, the most frequent first.

    Attributes:
        top: Per prototype (class, images), at most as many as were asked for.
        known: Per prototype members whose class is known.
    """

    top: list[list[tuple[int, int]]]
    known: list[int]

    def purity(self, prototype: int) -> float | None:
        """Share of the most frequent class among the members of known class; `None` without any.

        Args:
            prototype: Its number.
        """
        counted = self.top[prototype]
        return counted[0][1] / self.known[prototype] if counted else None


@dataclass(frozen=True)
class LevelSummary:
    """One level of prototypes.

    Attributes:
        members: (M,) int64 images per prototype; 0 for an empty one.
        density: (M,) temperatures phi.
        parents: (M,) int64 prototypes of the next level of a tree, or `None`.
        nearest: The images nearest to each prototype.
        listed: (M, m) int64 members, nearest first, -1 behind the last; m = 0 where the prototypes have
            children instead.
        classes: Of the members, or `None` without labels.
    """

    members: Tensor
    density: Tensor
    parents: Tensor | None
    nearest: Nearest
    listed: Tensor
    classes: ClassCounts | None


@dataclass(frozen=True)
class ClusterSummary:
    """All levels of a clustering, the finest first.

    Attributes:
        levels: The levels.
        assigned: (L, n) int64 prototype of each image on each level.
        agreement: Share of images that lie nearest to their own prototype of the first level. It falls as
            the network moves on from the one that was clustered, and is near chance when the images are
            not those that were clustered.
        tree: Whether the levels are one tree; else they know nothing of each other.
    """

    levels: Sequence[LevelSummary]
    assigned: Tensor
    agreement: float
    tree: bool


def nearest_images(
    features: Tensor, centroids: Tensor, *, count: int, progress: str = ""
) -> tuple[Nearest, Tensor]:
    """The images nearest to each prototype, and the prototype nearest to each image.

    A block of prototypes at a time: the (M, n) similarities are never held as a whole.

    Args:
        features: (n, D) unit rows.
        centroids: (M, D) unit rows.
        count: k; fewer if there are fewer images.
        progress: Title of the progress bar; empty shows none.

    Returns:
        The images, and (n,) int64 prototypes.

    Example:
        >>> images = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
        >>> nearest, own = nearest_images(images, torch.eye(2), count=2)
        >>> nearest.images.tolist(), own.tolist()
        ([[0, 2], [1, 2]], [0, 1, 1])
    """
    rows = max(1, _BLOCK // max(1, len(features)))
    best = features.new_full((len(features),), -torch.inf)
    own = torch.zeros(len(features), dtype=torch.long, device=features.device)
    found = []
    blocks = centroids.to(features).split(rows)
    for number, block in enumerate(track(blocks, progress, disable=not progress)):
        similarity = block @ features.T
        found.append(similarity.topk(min(count, len(features)), dim=1))
        value, place = similarity.max(dim=0)
        closer = value > best
        best = torch.where(closer, value, best)
        own = torch.where(closer, place + number * rows, own)
    images = torch.cat([block.indices for block in found])
    return Nearest(images, torch.cat([block.values for block in found])), own


def listed_members(features: Tensor, centroids: Tensor, *, assigned: Tensor, count: int) -> Tensor:
    """The first members of each prototype, nearest first.

    Args:
        features: (n, D) unit rows.
        centroids: (M, D) unit rows.
        assigned: (n,) int64 prototype of each image.
        count: m.

    Returns:
        (M, m) int64 positions, -1 where a prototype has fewer members.

    Example:
        >>> rows = torch.tensor([[0.6, 0.8], [1.0, 0.0], [0.0, 1.0]])
        >>> listed_members(rows, torch.eye(2), assigned=torch.tensor([0, 0, 1]), count=2).tolist()
        [[1, 0], [2, -1]]
    """
    similarity = (features * centroids.to(features)[assigned]).sum(dim=1)
    order = similarity.argsort(descending=True, stable=True)
    order = order[assigned[order].argsort(stable=True)]
    sizes = assigned.bincount(minlength=len(centroids))
    group = assigned[order]
    place = torch.arange(len(order), device=order.device) - (sizes.cumsum(0) - sizes)[group]
    listed = order.new_full((len(centroids), count), -1)
    kept = place < count
    listed[group[kept], place[kept]] = order[kept]
    return listed


def class_counts(assigned: Tensor, labels: Tensor, *, num_prototypes: int, top: int) -> ClassCounts:
    """Classes of the members of each prototype.

    Args:
        assigned: (n,) int64 prototype of each image.
        labels: (n,) int64 classes, below 0 where unknown.
        num_prototypes: M.
        top: Classes that are listed per prototype.

    Example:
        >>> assigned, labels = torch.tensor([0, 0, 0, 2]), torch.tensor([5, 3, 5, -1])
        >>> counts = class_counts(assigned, labels, num_prototypes=3, top=4)
        >>> counts.top, counts.known, counts.purity(2)
        ([[(5, 2), (3, 1)], [], []], [3, 0, 0], None)
    """
    known = labels >= 0
    assigned, labels = assigned[known], labels[known]
    sizes = assigned.bincount(minlength=num_prototypes)
    num_classes = int(labels.max()) + 1 if len(labels) else 1
    pairs, counts = (assigned * num_classes + labels).unique(return_counts=True)
    order = counts.argsort(descending=True, stable=True)
    order = order[(pairs[order] // num_classes).argsort(stable=True)]
    classes = list(zip((pairs[order] % num_classes).tolist(), counts[order].tolist(), strict=True))
    per_prototype = (pairs // num_classes).bincount(minlength=num_prototypes)
    starts = (per_prototype.cumsum(0) - per_prototype).tolist()
    listed = [
        classes[start : start + min(number, top)]
        for start, number in zip(starts, per_prototype.tolist(), strict=True)
    ]
    return ClassCounts(listed, sizes.tolist())


def summarise_clusters(
    clustering: Clustering,
    features: Tensor,
    labels: Tensor | None = None,
    *,
    num_nearest: int = 8,
    num_members: int = 12,
    num_classes: int = 20,
    progress: str = "",
) -> ClusterSummary:
    """Numbers of every prototype of a clustering.

    Args:
        clustering: Of n images.
        features: (n, D) their embeddings, unit rows.
        labels: (n,) int64 their classes, below 0 where unknown.
        num_nearest: Nearest images per prototype.
        num_members: Members that are listed per prototype that has no children.
        num_classes: Classes that are listed per prototype.
        progress: Title of the progress bars; empty shows none.

    Raises:
        ValueError: Embeddings or labels of another number of images.
    """
    num_images = clustering.assignment.shape[1]
    for name, rows in (("embeddings", features), ("labels", labels)):
        if rows is not None and len(rows) != num_images:
            raise ValueError(
                f"The clustering is one of {num_images} images, but there are {name} of {len(rows)}. "
                "Give the images that the run was trained on, all of them and in the same order."
            )
    tree = bool(clustering.parents)
    assigned = torch.stack(
        [clustering.on_level(level).to(features.device) for level in range(clustering.num_levels)]
    )
    levels, agreement = [], 0.0
    for number, centroids in enumerate(clustering.centroids):
        title = f"{progress}, level {number}" if progress else ""
        nearest, own = nearest_images(features, centroids, count=num_nearest, progress=title)
        mine = assigned[number]
        if number == 0:
            agreement = (own == mine).double().mean().item()
        size = 0 if tree and number else num_members
        listed = listed_members(features, centroids, assigned=mine, count=size)
        counts = None
        if labels is not None:
            counts = class_counts(
                mine,
                labels.to(mine.device),
                num_prototypes=len(centroids),
                top=num_classes,
            )
        levels.append(
            LevelSummary(
                members=mine.bincount(minlength=len(centroids)),
                density=clustering.density[number],
                parents=clustering.parents[number] if number < len(clustering.parents) else None,
                nearest=nearest,
                listed=listed,
                classes=counts,
            )
        )
    return ClusterSummary(levels, assigned, agreement, tree)
