"""Clustering: prototypes of a data set on one or several levels, and which image belongs to which."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Clustering(NamedTuple):
    """L levels of prototypes, the finest first; n images, features of size D, M_l prototypes on level l.

    A tree (HCSC) clusters the prototypes of each level to get the next, so an image's prototype on a
    higher level follows from that on the finest: `assignment` has one row, `parents` L - 1 entries.
    Flat levels (PCL) are clusterings of the images that know nothing of each other: `assignment` has L
    rows and `parents` is empty. With one level the two are the same.

    Attributes:
        centroids: Per level (M_l, D) float32 unit rows.
        density: Per level (M_l,) float32 temperatures phi of the prototypes.
        parents: Per level but the last (M_l,) int64 prototypes of the next level; empty if flat.
        assignment: (1, n) or (L, n) int32 prototype of each image, in the order of the data set.
        objective: Per level the sum of squared distances that k-means reached.
    """

    centroids: list[Tensor]
    density: list[Tensor]
    parents: list[Tensor]
    assignment: Tensor
    objective: list[float]

    @property
    def num_levels(self) -> int:
        """L."""
        return len(self.centroids)

    def on_level(self, level: int) -> Tensor:
        """(n,) int64 prototypes of all images on a level."""
        if not self.parents:
            return self.assignment[level].long()
        found = self.assignment[0].long()
        for parents in self.parents[:level]:
            found = parents[found]
        return found
