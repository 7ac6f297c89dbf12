"""Prototypes: what a clustering of the data set has found, as a part of the model.

HCSC: Hierarchical Contrastive Selective Coding, 2022, arXiv 2202.00455, section 3.1; Prototypical Contrastive
Learning of Unsupervised Representations (PCL), 2021, arXiv 2005.04966.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from mmssl.losses import keep_probability
from mmssl.ops.precision import full_float32
from mmssl.registry import MODELS
from mmssl.structures import Clustering

_ROWS = 4096
_IMAGES = 2**22
_MIN_DENSITY = 1e-3


class PrototypeLevel(nn.Module):
    """The prototypes of one level; its buffers take their sizes from what is loaded.

    Args:
        num_prototypes: M.
        dim: D.
        num_parents: Prototypes of the next level of a tree; 0 without one.
    """

    centroids: Tensor
    density: Tensor
    parents: Tensor
    kin_partition: Tensor

    def __init__(self, num_prototypes: int, dim: int, num_parents: int) -> None:
        super().__init__()
        self.register_buffer("centroids", torch.zeros(num_prototypes, dim))
        self.register_buffer("density", torch.ones(num_prototypes))
        if num_parents:
            self.register_buffer("parents", torch.zeros(num_prototypes, dtype=torch.long))
            self.register_buffer("kin_partition", torch.zeros(num_prototypes))

    @property
    def scale(self) -> Tensor:
        """(M,) temperatures that divide: the densities, and at least 1e-3.

        The official codes have this floor in the selection of keys only; elsewhere prototypes of equal
        images, whose density is 0, would make their losses infinite.
        """
        return self.density.clamp(min=_MIN_DENSITY)

    def log_partition(self, features: Tensor, temperature: Tensor | None = None) -> Tensor:
        """log sum_m exp(z.c_m / phi_m) over the prototypes of the level.

        A few thousand rows at a time: (R, M) is never held as a whole.

        Args:
            features: (R, D) unit rows z.
            temperature: (M,) instead of the densities.

        Returns:
            (R,) in the precision of the features, float32 at least.
        """
        scale = self.scale if temperature is None else temperature
        with torch.no_grad(), full_float32(features.device):
            dtype = torch.promote_types(features.dtype, torch.float32)
            directions = (self.centroids.to(dtype) / scale.to(dtype)[:, None]).T
            parts = [
                (rows.to(dtype) @ directions).logsumexp(dim=1) for rows in features.split(_ROWS)
            ]
            return torch.cat(parts)


@MODELS.register_module()
class Prototypes(nn.Module):
    """Levels of prototypes, the prototype of every image, and how clusterings of this model are made.

    Empty (`is_ready` is false) until `load` is given a first clustering. All of it is part of checkpoints, so
    a run goes on inside an epoch with the prototypes it had.

    Args:
        num_clusters: Prototypes per level, the finest first.
        dim: Size of an embedding.
        tree: Cluster the prototypes of each level to get the next (HCSC), or the images each time (PCL).
        temperature: T; the densities phi of a level have this mean.
        smoothing: Added to the number of members in the density.
        clip: Percentiles to which densities are clipped.
        min_members: Prototypes with fewer members are dissolved; `None` keeps all, as the released codes.

    Raises:
        ValueError: No level, or a level of a tree with as many prototypes as the one below.
    """

    same_on_all_ranks: ClassVar[bool] = True
    assignment: Tensor
    last_used: Tensor
    epoch: Tensor

    def __init__(
        self,
        num_clusters: Sequence[int] = (3000, 2000, 1000),
        dim: int = 128,
        *,
        tree: bool = True,
        temperature: float = 0.2,
        smoothing: float = 10.0,
        clip: tuple[float, float] = (10.0, 90.0),
        min_members: int | None = None,
    ) -> None:
        super().__init__()
        self.num_clusters = list(num_clusters)
        grows = any(
            above >= below
            for below, above in zip(self.num_clusters, self.num_clusters[1:], strict=False)
        )
        if not self.num_clusters or min(self.num_clusters) < 1 or (tree and grows):
            raise ValueError(
                "num_clusters must list the prototypes of each level, the finest first and in a tree fewer "
                f"on each level, got {self.num_clusters}."
            )
        self.dim, self.tree, self.temperature = dim, tree, temperature
        self.smoothing, self.clip, self.min_members = smoothing, tuple(clip), min_members
        above = [*self.num_clusters[1:], 0] if tree else [0] * len(self.num_clusters)
        levels = nn.ModuleList(
            PrototypeLevel(count, dim, parents)
            for count, parents in zip(self.num_clusters, above, strict=True)
        )
        # to the type checker a list of torch's modules is one of anything
        self.levels = cast(Sequence[PrototypeLevel], levels)
        rows = 1 if tree else len(self.num_clusters)
        self.register_buffer("assignment", torch.zeros(rows, 0, dtype=torch.int32))
        self.register_buffer("last_used", torch.zeros(len(self.num_clusters), dtype=torch.long))
        self.register_buffer("epoch", torch.tensor(-1))
        self._num_used: list[int] | None = None

    def extra_repr(self) -> str:
        """Levels and kind, for `print`."""
        return f"num_clusters={self.num_clusters}, dim={self.dim}, tree={self.tree}"

    @property
    def num_levels(self) -> int:
        """L."""
        return len(self.levels)

    @property
    def is_ready(self) -> bool:
        """Whether there has been a clustering; asks the host only."""
        return self.assignment.shape[1] > 0

    @property
    def num_used(self) -> list[int]:
        """One more than the highest prototype with an image, per level; asks the device once a clustering."""
        if self._num_used is None:
            self._num_used = [int(last) + 1 for last in self.last_used]
        return self._num_used

    @torch.no_grad()
    def load(self, clustering: Clustering, *, epoch: int) -> None:
        """Take over a clustering, the same on every rank.

        Args:
            clustering: Of as many levels, on any device.
            epoch: At whose beginning it was made (0-based).

        Raises:
            ValueError: Other levels, another kind, or embeddings of another size.
        """
        dims = {centroids.shape[1] for centroids in clustering.centroids}
        kind_fits = self.num_levels == 1 or bool(clustering.parents) == self.tree
        if clustering.num_levels != self.num_levels or dims != {self.dim} or not kind_fits:
            raise ValueError(
                f"{clustering.num_levels} levels of prototypes of size {sorted(dims)} do not fit "
                f"{self!r}."
            )
        device = self.assignment.device
        for number, level in enumerate(self.levels):
            level.centroids = clustering.centroids[number].to(device)
            level.density = clustering.density[number].to(device)
        for number, parents in enumerate(clustering.parents):
            level, above = self.levels[number], self.levels[number + 1]
            level.parents = parents.to(device)
            level.kin_partition = above.log_partition(level.centroids, self.kin_scale(number + 1))
        self.assignment = clustering.assignment.to(device, torch.int32)
        self.last_used = _last_used(clustering).to(device)
        self._num_used = None
        self.epoch.fill_(epoch)

    def clear(self) -> None:
        """Forget the clustering: `is_ready` is false until the next one."""
        self.assignment = self.assignment.new_zeros(len(self.assignment), 0)
        self.last_used = torch.zeros_like(self.last_used)
        self._num_used = None
        self.epoch.fill_(-1)

    def kin_scale(self, level: int) -> Tensor:
        """(M,) temperatures of a level as parents: its densities with mean T once more, at least 1e-3."""
        density = self.levels[level].density
        return (density / density.mean() * self.temperature).clamp(min=_MIN_DENSITY)

    def assign(self, index: Tensor) -> Tensor:
        """Prototypes of images on every level.

        Args:
            index: (B,) int64 positions in the data set.

        Returns:
            (L, B) int64.
        """
        found = [rows[index].long() for rows in self.assignment]
        if self.tree:
            for level in self.levels[:-1]:
                found.append(level.parents[found[-1]])
        return torch.stack(found)

    def keep_keys(self, keys: Tensor, assigned: Tensor, *, log_partition: Tensor) -> Tensor:
        """Probability that a key is of another prototype than an image, on each level.

        Args:
            keys: (K, D) unit rows.
            assigned: (L, N) prototypes of the images.
            log_partition: (L, K) `PrototypeLevel.log_partition` of the keys.

        Returns:
            (L, N, K); see `keep_probability`.
        """
        levels = zip(self.levels, assigned, log_partition, strict=True)
        return torch.stack(
            [
                keep_probability(
                    keys, level.centroids[own], scale=level.scale[own], log_partition=partition
                )
                for level, own, partition in levels
            ]
        )

    def keep_kin(self, level: int, parents: Tensor) -> Tensor:
        """Probability that a prototype of a level has another parent than an image's prototype has.

        Args:
            level: Its number; not that of the top.
            parents: (N,) the images' prototypes on the next level.

        Returns:
            (N, M); see `keep_probability`.
        """
        below, above = self.levels[level], self.levels[level + 1]
        return keep_probability(
            below.centroids,
            above.centroids[parents],
            scale=self.kin_scale(level + 1)[parents],
            log_partition=below.kin_partition,
        )

    def others(self, level: int, assigned: Tensor, *, skip_last: bool) -> Tensor:
        """Prototypes of a level that no image of the batch has.

        Args:
            level: Its number.
            assigned: (N,) prototypes of the batch.
            skip_last: Leave out the highest one that any image has, too (the released code of HCSC).

        Returns:
            (M,) bool; false behind the highest one that any image has.
        """
        ids = torch.arange(len(self.levels[level].centroids), device=assigned.device)
        last = self.last_used[level]
        free = ids < last if skip_last else ids <= last
        free[assigned] = False
        return free

    def clustering(self) -> Clustering:
        """What was loaded, without the objectives."""
        parents = [level.parents for level in self.levels[:-1]] if self.tree else []
        return Clustering(
            [level.centroids for level in self.levels],
            [level.density for level in self.levels],
            parents,
            self.assignment,
            [],
        )

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        """torch's, after buffers whose size is not known before the first clustering got that of the file."""
        for name, buffer in list(self.named_buffers()):
            saved = state_dict.get(prefix + name)
            if saved is not None and saved.shape != buffer.shape and saved.ndim == buffer.ndim:
                owner, _, last = name.rpartition(".")
                setattr(self.get_submodule(owner), last, buffer.new_zeros(saved.shape))
        self._num_used = None
        super()._load_from_state_dict(state_dict, prefix, *args)


def _last_used(clustering: Clustering) -> Tensor:
    """(L,) highest prototype of each level that an image has; a chunk of the images at a time."""
    used: list[Tensor] = []
    for number, centroids in enumerate(clustering.centroids):
        found = torch.zeros(len(centroids), dtype=torch.bool, device=clustering.assignment.device)
        if used and clustering.parents:
            parents = clustering.parents[number - 1].to(found.device)
            found[parents[used[-1]]] = True
        else:
            for images in clustering.assignment[number].split(_IMAGES):
                found[images.long()] = True
        used.append(found)
    return torch.stack([found.nonzero().max() for found in used])
