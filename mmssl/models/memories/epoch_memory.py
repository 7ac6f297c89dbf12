"""EpochMemory: the embeddings that an epoch made of every image, and the clusters they fell into.

Unsupervised Learning of Visual Features by Contrasting Cluster Assignments, 2020, arXiv 2006.09882, on
DeepCluster-v2.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mmssl.ops.collectives import any_rank, gather_cat, rank, world_size
from mmssl.ops.spherical_kmeans import SphericalClusters

from .shard_state import gathered


class EpochMemory(nn.Module):
    """A bank of embeddings for each of the first views, and a cluster of every image for each head.

    before an epoch     the banks are clustered; `load` takes the clusters, and all embeddings become absent
    for each batch      `assigned(index)` before, `write(index, embeds)` behind the loss

    So the banks hold what the last epoch made, no older row of an image that it left out. Image i lies on
    rank i mod W. The banks take their room with the first batch, so a model that is only built or exported
    has none. `state_dict` has the rows of all images, of several ranks inside of `collect` and `release`
    only; so a checkpoint fits any number of ranks.

    Args:
        num_samples: N, images of the training set.
        dim: D, size of an embedding.
        num_banks: Q, views that are kept.
        num_heads: H, clusterings.

    Attributes:
        embeds: (n, Q, D) this rank's embeddings; n = 0 before the first batch.
        present: (n,) bool, which of them are of the running epoch.
        assignment: (H, N) int32 clusters of all images, -100 where an image had no embedding; (H, 0) before
            the first clustering.
        epoch: () int64, at whose beginning they were found; -1 before.
    """

    is_shard: ClassVar[bool] = True
    embeds: Tensor
    present: Tensor
    assignment: Tensor
    epoch: Tensor

    def __init__(self, num_samples: int, dim: int, *, num_banks: int, num_heads: int) -> None:
        super().__init__()
        self.num_samples = num_samples
        self.register_buffer("embeds", torch.zeros(0, num_banks, dim), persistent=False)
        self.register_buffer("present", torch.zeros(0, dtype=torch.bool), persistent=False)
        self.register_buffer("assignment", torch.zeros(num_heads, 0, dtype=torch.int32))
        self.register_buffer("epoch", torch.tensor(-1))
        self._collected: dict[str, Tensor] | None = None

    def extra_repr(self) -> str:
        """Sizes, for `print`."""
        _, banks, dim = self.embeds.shape
        heads = len(self.assignment)
        return f"num_samples={self.num_samples}, dim={dim}, num_banks={banks}, num_heads={heads}"

    @property
    def is_ready(self) -> bool:
        """Whether there has been a clustering; asks the host only."""
        return self.assignment.shape[1] > 0

    @property
    def fits(self) -> bool:
        """Whether rows that were loaded are of as many images as there are here."""
        rows, clustered = len(self.present), self.assignment.shape[1]
        return rows in (0, self._num_own(self.num_samples)) and clustered in (0, self.num_samples)

    @staticmethod
    def _num_own(total: int) -> int:
        return len(range(rank(), total, world_size()))

    def is_empty(self) -> bool:
        """Whether no rank holds an embedding of the running epoch. Collective."""
        return not any_rank(bool(self.present.any()))

    def bank(self, number: int) -> Tensor:
        """(n, D) this rank's embeddings of a view."""
        return self.embeds[:, number]

    def assigned(self, index: Tensor) -> Tensor:
        """Clusters (H, B) int64 of images (B,) at these positions of the data set.

        Raises:
            ValueError: A position outside of the data set.
        """
        self.check(index)
        return self.assignment[:, index].long()

    @torch.no_grad()
    def write(self, index: Tensor, embeds: Tensor) -> None:
        """Keep the embeddings of a batch of all ranks; of an image that comes twice the last ones.

        An image with one that is not finite, of a batch whose step will be skipped, is left out: it would
        spoil the next clustering.

        Args:
            index: (B,) int64 positions in the data set, as many on every rank.
            embeds: (Q, B, D) unit embeddings of the views.
        """
        own = self._num_own(self.num_samples)
        if not len(self.present):
            self.embeds = self.embeds.new_zeros(own, *self.embeds.shape[1:])
            self.present = self.present.new_zeros(own)
        everyone = gather_cat(index)
        values = gather_cat(embeds.transpose(0, 1).contiguous()).to(self.embeds.dtype)
        mine = (everyone % world_size() == rank()) & values.flatten(1).isfinite().all(dim=1)
        rows, values = everyone[mine] // world_size(), values[mine]
        same = rows[:, None] == rows[None]
        last = torch.where(same, torch.arange(len(rows), device=rows.device), -1)
        if len(rows):
            self.embeds[rows] = values[last.amax(dim=1)]
            self.present[rows] = True

    def load(self, found: Sequence[SphericalClusters], *, epoch: int) -> None:
        """Take over a clustering for each head; the banks wait for the embeddings of the epoch.

        Args:
            found: H clusterings of all images.
            epoch: At whose beginning they were made (0-based).
        """
        rows = [clusters.assignment for clusters in found]
        self.assignment = torch.stack(rows).to(self.assignment.device, torch.int32)
        self.forget_rows()
        self.epoch.fill_(epoch)

    def forget_rows(self) -> None:
        """No image has an embedding of this epoch."""
        self.present.zero_()

    def clear(self) -> None:
        """Forget embeddings and clusters."""
        self.embeds, self.present = self.embeds[:0].clone(), self.present[:0].clone()
        self.assignment = self.assignment.new_zeros(len(self.assignment), 0)
        self.epoch.fill_(-1)

    def check(self, index: Tensor) -> None:
        """Refuse positions (B,) that have no row.

        Raises:
            ValueError: One outside of the data set.
        """
        lowest, highest = torch.stack(index.aminmax()).tolist()  # one question to a GPU, not two
        if lowest < 0 or highest >= self.num_samples:
            raise ValueError(
                f"The memory has a row for each of {self.num_samples} training images, but the batch holds "
                f"the images {lowest}..{highest}. Set num_samples to the size of the data set, which has to "
                "tell the position of each image (ViewBatch.index)."
            )

    # ---- checkpoints

    @torch.no_grad()
    def collect(self, folder: str | Path | None = None) -> None:
        """Bring the rows of all ranks together on rank 0, where `state_dict` has them. Collective.

        Args:
            folder: Where rank 0 may put them, if they are many; see `gathered`.
        """
        if world_size() == 1:
            return
        total = self.num_samples if len(self.embeds) else 0
        banks, dim = self.embeds.shape[1:]
        embeds = gathered(self.embeds.flatten(1), total, world_size(), folder)
        present = gathered(self.present, total, world_size())
        if rank() == 0:
            self._collected = dict(embeds=embeds.view(-1, banks, dim), present=present)

    def release(self) -> None:
        """Forget what `collect` brought."""
        self._collected = None

    def _save_to_state_dict(self, destination, prefix, keep_vars) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        state = self._collected or {}
        if world_size() == 1:
            state = dict(embeds=self.embeds, present=self.present)
        for name, value in state.items():
            destination[prefix + name] = value

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Clusters, and of the banks what belongs to this rank, of as many images as the file has."""
        saved = {name: state_dict.get(prefix + name) for name in ("embeds", "present")}
        known = {prefix + name for name in saved}
        clusters = state_dict.get(prefix + "assignment")
        if clusters is not None and clusters.ndim == 2:
            self.assignment = self.assignment.new_zeros(len(self.assignment), clusters.shape[1])
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        unexpected_keys[:] = [key for key in unexpected_keys if key not in known]
        own = slice(rank(), None, world_size())
        for name, rows in saved.items():
            if rows is None:
                missing_keys.append(prefix + name)
                continue
            held = getattr(self, name)
            if rows.shape[1:] != held.shape[1:]:
                error_msgs.append(
                    f"size mismatch for {prefix}{name}: {tuple(rows.shape[1:])} per image in the file, "
                    f"{tuple(held.shape[1:])} here."
                )
                continue
            setattr(self, name, rows[own].to(held, copy=True))
