"""What a clustering looks like, in a few numbers per level."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from mmssl.ops.collectives import gather_objects, rank
from mmssl.ops.partition import Contingency, contingency, nmi
from mmssl.structures import Clustering

_CHUNK = 1 << 18


def cluster_figures(clustering: Clustering, previous: Clustering | None) -> dict[str, float]:
    """Figures of each level l, under the names `<figure>_l<l>`.

    - `used`: prototypes that have an image;
    - `single`: prototypes with one member. Members are what k-means grouped: the images, above the finest
      level of a tree the prototypes of the level below;
    - `members_min`, `members_median`, `members_max`: of the prototypes that have any;
    - `phi_min`, `phi_median`, `phi_max`: temperatures;
    - `objective`: of k-means;
    - `nmi`: normalised mutual information with the clustering before, 1 if no image changed its company.

    Rank 0 computes them, the others wait for it. The images are read chunk by chunk; the higher levels of a
    tree follow from the finest one.

    Args:
        clustering: Of n images.
        previous: Of the same images; `None` if this is the first.

    Returns:
        The same on every rank.
    """
    found = _figures(clustering, previous) if rank() == 0 else None
    return cast(dict[str, float], gather_objects(found)[0])


def _figures(clustering: Clustering, previous: Clustering | None) -> dict[str, float]:
    figures: dict[str, float] = {}
    images = clustering.assignment.new_zeros(0, dtype=torch.long)
    table: Contingency | None = None
    for level, density in enumerate(clustering.density):
        above = bool(clustering.parents) and level > 0
        if above:
            parents = clustering.parents[level - 1]
            members = parents.bincount(minlength=len(density))
            images = torch.zeros_like(members).index_add_(0, parents, images)
        else:
            members = images = _counted(clustering.assignment[level], len(density))
        found = dict(
            used=int((images > 0).sum()),
            single=int((members == 1).sum()),
            **_range("members", members[members > 0]),
            **_range("phi", density),
            objective=clustering.objective[level],
        )
        if previous is not None:
            if above and table is not None:
                table = _coarser(table, previous, clustering, level)
            else:
                before = previous.assignment[level].to(clustering.assignment.device)
                table = contingency(before, clustering.assignment[level])
            found["nmi"] = nmi(table)
        figures.update({f"{name}_l{level}": float(value) for name, value in found.items()})
    return figures


def _counted(assignment: Tensor, num_prototypes: int) -> Tensor:
    """(M,) int64 images of each prototype; torch's `bincount` copies what it counts."""
    counts = assignment.new_zeros(num_prototypes, dtype=torch.long)
    for part in assignment.split(_CHUNK):
        counts += part.bincount(minlength=num_prototypes)
    return counts


def _coarser(
    table: Contingency, previous: Clustering, clustering: Clustering, level: int
) -> Contingency:
    """The table of a level of two trees, from that of the level below."""
    before = previous.parents[level - 1].to(table.rows.device)[table.row_labels]
    now = clustering.parents[level - 1][table.column_labels]
    return contingency(before[table.rows], now[table.columns], weights=table.counts)


def _range(name: str, values: Tensor) -> dict[str, float]:
    """Least, median and greatest of (M,) values."""
    points = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64, device=values.device)
    least, median, greatest = values.double().quantile(points).tolist()
    return {f"{name}_min": least, f"{name}_median": median, f"{name}_max": greatest}
