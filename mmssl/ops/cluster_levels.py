"""Prototypes of a data set on several levels: a tree (HCSC) or independent clusterings (PCL).

HCSC: Hierarchical Contrastive Selective Coding (CVPR 2022, arXiv 2202.00455), section 3.2 and 3.3; compared
with `run_hkmeans` of hirl-team/HCSC @cec852d. Prototypical Contrastive Learning of Unsupervised
Representations (ICLR 2021, arXiv 2005.04966), section 3.3; compared with `run_kmeans` of salesforce/PCL.
Deviations: a level on which no prototype has two members is an error, as it has no temperatures (the official
codes go on with NaN); `min_members`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mmssl.ops.clusterer import Clusterer, KMeansResult
from mmssl.ops.collectives import gather_objects, sum_over_ranks
from mmssl.ops.exact_sums import grid_scale, on_grid
from mmssl.ops.nearest_centroid import nearest
from mmssl.ops.sharded_rows import gather_rows, num_rows, own_rows
from mmssl.structures.clustering import Clustering

CHUNK = 65536


@torch.no_grad()
def density(
    distances: Tensor,
    assignment: Tensor,
    num_clusters: int,
    *,
    temperature: float,
    smoothing: float = 10,
    clip: tuple[float, float] = (10, 90),
) -> Tensor:
    """Temperature phi of every prototype: small where its members lie close to it.

        r_j = mean of sqrt(distance) over the n_j members / ln(n_j + smoothing),   if n_j > 1
        r_j = max r otherwise; then r is clipped to two of its percentiles
        phi_j = temperature * r_j / mean(r)

    Args:
        distances: (n_local,) squared distances of this rank's rows to their centroids, not normalised.
        assignment: (n_local,) prototypes of these rows. The rows of all ranks count.
        num_clusters: k.
        temperature: Mean of the result.
        smoothing: Keeps small clusters from small temperatures.
        clip: Lower and upper percentile.

    Returns:
        (k,) float32, the same on every rank and for any number of ranks.

    Raises:
        ValueError: No prototype has two members, or all members coincide with their centroids.

    Example:
        >>> distances, assignment = torch.tensor([1.0, 1.0, 4.0, 4.0]), torch.tensor([0, 0, 1, 1])
        >>> density(distances, assignment, 2, temperature=0.2, clip=(0, 100))
        tensor([0.1333, 0.2667])
    """
    largest = float(distances.max()) ** 0.5 if len(distances) else 0.0
    held = gather_objects((largest, len(distances)))
    # float32 roots may be a rounding above the float64 one
    scale = grid_scale(2 * max(root for root, _ in held), sum(count for _, count in held))
    sums = torch.zeros(2, num_clusters, dtype=torch.float64, device=distances.device)
    for part, members in zip(distances.split(CHUNK), assignment.split(CHUNK), strict=True):
        sums[0].index_add_(0, members, on_grid(part.float().sqrt(), scale))
        sums[1] += members.bincount(minlength=num_clusters)
    totals, counts = sum_over_ranks(sums).cpu()
    several = counts > 1
    if not several.any():
        raise ValueError(
            f"None of the {num_clusters} prototypes of a level has two members, so there are no "
            "temperatures; ask for fewer clusters on this level."
        )
    # The official mean is a float32 one.
    spread = (totals / scale / counts.clamp(min=1)).float().double()
    spread /= (counts + smoothing).log()
    spread[~several] = spread[several].max()
    low, high = (float(np.percentile(spread.numpy(), share)) for share in clip)
    spread.clamp_(low, high)
    if spread.mean() == 0:
        raise ValueError(
            "All features coincide with their centroids, so the prototypes have no temperatures; the "
            "features have collapsed, or there are more clusters than different images."
        )
    return (temperature * spread / spread.mean()).float().to(distances.device)


def _images_per_prototype(found: KMeansResult, images: Tensor | None) -> Tensor:
    """(k,) int64 images of all ranks below each prototype; `images` as in `_Level.fit`."""
    if images is None:
        return found.counts
    counts = torch.zeros_like(found.counts)
    return sum_over_ranks(counts.index_add_(0, found.assignment, images.to(counts.device)))


@dataclass(frozen=True)
class _Level:
    """How every level is made; see `cluster_tree` for the fields."""

    clusterer: Clusterer
    temperature: float
    smoothing: float
    clip: tuple[float, float]
    min_members: int | None
    progress: str

    def fit(
        self, rows: Tensor, num_clusters: int, *, level: int, images: Tensor | None = None
    ) -> tuple[KMeansResult, Tensor]:
        """Cluster the rows of a level with its number as seed.

        Args:
            rows: (n_local, D) this rank's.
            num_clusters: k.
            level: Its number.
            images: (n_local,) int64 images below each row; `None`: each row is an image.

        Returns:
            The clusters, without those that are too small, and their (k,) `density`, on the CPU.

        Raises:
            ValueError: No prototype is large enough.
        """
        title = f"{self.progress}, {num_clusters} clusters" if self.progress else ""
        found = self.clusterer.fit(rows, num_clusters, seed=level, progress=title)
        if self.min_members is not None:
            large = _images_per_prototype(found, images) >= self.min_members
            if not large.any():
                raise ValueError(
                    f"None of the {num_clusters} prototypes of level {level} has min_members="
                    f"{self.min_members} images; ask for fewer clusters or lower min_members."
                )
            found = _only(found, large, rows)
        temperatures = density(
            found.distances,
            found.assignment,
            len(found.centroids),
            temperature=self.temperature,
            smoothing=self.smoothing,
            clip=self.clip,
        )
        return found, temperatures.cpu()


def _only(found: KMeansResult, large: Tensor, rows: Tensor) -> KMeansResult:
    """The clusters that are `large` (k,); the rows (n_local, D) of the others go to the nearest of these."""
    if large.all():
        return found
    centroids = found.centroids[large]
    distances, assignment = nearest(rows, centroids)
    return found._replace(
        centroids=centroids,
        assignment=assignment,
        distances=distances,
        counts=sum_over_ranks(assignment.bincount(minlength=len(centroids))),
    )


def _check_sizes(num_clusters: Sequence[int], *, falling: bool) -> None:
    """Refuse levels without clusters, and levels of a tree that do not get smaller."""
    sizes = list(num_clusters)
    if not sizes or min(sizes) < 1:
        raise ValueError(f"Clustering needs levels of one or more clusters, got {sizes}.")
    if falling and any(upper >= lower for lower, upper in pairwise(sizes)):
        raise ValueError(
            f"Each level of a tree has fewer clusters than the one before, got {sizes}; list the "
            "finest first."
        )


@torch.no_grad()
def cluster_tree(
    features: Tensor,
    num_clusters: Sequence[int],
    *,
    clusterer: Clusterer,
    temperature: float,
    smoothing: float = 10,
    clip: tuple[float, float] = (10, 90),
    min_members: int | None = None,
    progress: str = "",
) -> Clustering:
    """Cluster the images, then the unit centroids of each level to get the next one (HCSC).

    Level l is clustered with the seed l. From level 1 on the members of a prototype, of which its
    temperature is made, are the prototypes below it, not images.

    Args:
        features: (n_local, D) unit rows of this rank: image i is row i // W of rank i mod W, with W ranks;
            all images if there is one. May be mapped from a file.
        num_clusters: Prototypes of each level, the finest first.
        clusterer: Such as `KMeans()`.
        temperature: Mean temperature of each level; see `density`.
        smoothing: See `density`.
        clip: See `density`.
        min_members: Dissolve the prototypes with fewer images below them, on each level before the next is
            made of it. What belonged to them goes to the nearest that stays, so a level may have fewer
            prototypes than asked for. `None`, as the official code, keeps all; the paper is said to
            drop clusters under 10 images.
        progress: Title of the progress bars; empty shows none.

    Returns:
        On the CPU; the same on every rank.

    Raises:
        ValueError: Sizes that do not fall, what the clusterer or `density` refuses, or no prototype has
            `min_members`.
    """
    _check_sizes(num_clusters, falling=True)
    one = _Level(clusterer, temperature, smoothing, clip, min_members, progress)
    centroids: list[Tensor] = []
    densities: list[Tensor] = []
    maps: list[Tensor] = []
    objective: list[float] = []
    rows, total, images = features, num_rows(features), None
    for level, size in enumerate(num_clusters):
        found, temperatures = one.fit(rows, size, level=level, images=images)
        densities.append(temperatures)
        unit = F.normalize(found.centroids, dim=1)
        centroids.append(unit.cpu())
        maps.append(gather_rows(found.assignment.int(), total).cpu())
        objective.append(found.objective)
        images = own_rows(_images_per_prototype(found, images))
        rows, total = own_rows(unit), len(unit)
    parents = [each.long() for each in maps[1:]]
    return Clustering(centroids, densities, parents, maps[0][None], objective)


@torch.no_grad()
def cluster_flat(
    features: Tensor,
    num_clusters: Sequence[int],
    *,
    clusterer: Clusterer,
    temperature: float,
    smoothing: float = 10,
    clip: tuple[float, float] = (10, 90),
    min_members: int | None = None,
    progress: str = "",
) -> Clustering:
    """Cluster the images once per level, with the level as seed (PCL).

    Args:
        features: See `cluster_tree`.
        num_clusters: Prototypes of each level, in any order.
        clusterer: Such as `KMeans()`.
        temperature: Mean temperature of each level; see `density`.
        smoothing: See `density`.
        clip: See `density`.
        min_members: See `cluster_tree`.
        progress: Title of the progress bars; empty shows none.

    Returns:
        On the CPU; the same on every rank; `parents` is empty.

    Raises:
        ValueError: As `cluster_tree`, but sizes need not fall.
    """
    _check_sizes(num_clusters, falling=False)
    one = _Level(clusterer, temperature, smoothing, clip, min_members, progress)
    total = num_rows(features)
    levels = Clustering([], [], [], torch.empty(len(num_clusters), total, dtype=torch.int32), [])
    for level, size in enumerate(num_clusters):
        found, temperatures = one.fit(features, size, level=level)
        levels.density.append(temperatures)
        levels.centroids.append(F.normalize(found.centroids, dim=1).cpu())
        levels.assignment[level] = gather_rows(found.assignment.int(), total)
        levels.objective.append(found.objective)
    return levels
