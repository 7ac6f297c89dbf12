"""What a clustering looks like, in a few numbers per level."""

from __future__ import annotations

import torch
from torch import Tensor

from mmssl.ops.partition import normalized_mutual_information
from mmssl.structures import Clustering


def cluster_figures(clustering: Clustering, previous: Clustering | None) -> dict[str, float]:
    """Figures of each level l, under the names `<figure>_l<l>`.

    - `used`: prototypes that have an image;
    - `single`: prototypes with one member. Members are what k-means grouped: the images, above the finest
      level of a tree the prototypes of the level below;
    - `members_min`, `members_median`, `members_max`: of the prototypes that have any;
    - `phi_min`, `phi_median`, `phi_max`: temperatures;
    - `objective`: of k-means;
    - `nmi`: normalised mutual information with the clustering before, 1 if no image changed its company.

    Args:
        clustering: Of n images.
        previous: Of the same images; `None` if this is the first.
    """
    figures: dict[str, float] = {}
    for level, density in enumerate(clustering.density):
        owners = clustering.on_level(level)
        grouped = clustering.parents[level - 1] if clustering.parents and level else owners
        members = grouped.bincount(minlength=len(density))
        found = dict(
            used=len(owners.unique()),
            single=int((members == 1).sum()),
            **_range("members", members[members > 0]),
            **_range("phi", density),
            objective=clustering.objective[level],
        )
        if previous is not None:
            found["nmi"] = normalized_mutual_information(
                previous.on_level(level).to(owners.device), owners
            )
        figures.update({f"{name}_l{level}": float(value) for name, value in found.items()})
    return figures


def _range(name: str, values: Tensor) -> dict[str, float]:
    """Least, median and greatest of (M,) values."""
    points = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64, device=values.device)
    least, median, greatest = values.double().quantile(points).tolist()
    return {f"{name}_min": least, f"{name}_median": median, f"{name}_max": greatest}
