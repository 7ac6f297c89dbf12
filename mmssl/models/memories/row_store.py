"""RowStore: where the rows of a large classifier lie while nothing reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from mmssl.ops.feature_store import FeatureStore
from mmssl.ops.progress_bar import progress_bar

ACTIVE = -1
MANY = 1 << 21  # rows that take seconds
_CHUNK = 1 << 16


class RowStore(nn.Module):
    """Weight, momentum and cohort of every row, on the device of the model or in the memory of the host.

    Nothing of it is a buffer that torch saves or that DDP would send: `InstanceRows` does that.

    Args:
        num_rows: n, rows of this rank.
        dim: D.
        storage: `device`, or `host`: `.to(device)` leaves the rows where they are.
        folder: With `host`: keep weights and momenta in files there, mapped into memory, for rows that the
            memory does not hold. The files have no name and go with the process.

    Attributes:
        weight: (n, D) w.
        momentum: (n, D) u.
        cohort: (n,) int32 birth of the row's cohort, -1 for rows that are in use elsewhere.

    Raises:
        ValueError: An unknown storage, or a folder without `host`.
    """

    weight: Tensor
    momentum: Tensor
    cohort: Tensor

    def __init__(
        self,
        num_rows: int,
        dim: int,
        *,
        storage: Literal["device", "host"] = "device",
        folder: str | Path | None = None,
    ) -> None:
        super().__init__()
        if storage not in ("device", "host") or (folder is not None and storage != "host"):
            raise ValueError(
                "storage must be 'device' or 'host', and only 'host' takes a folder for files; got "
                f"{storage!r} with folder={folder!r}."
            )
        self.storage = storage
        weight = FeatureStore(num_rows, dim, folder=folder).rows
        momentum = FeatureStore(num_rows, dim, folder=folder).rows
        cohort = torch.zeros(num_rows, dtype=torch.int32)
        for name, tensor in (("weight", weight), ("momentum", momentum), ("cohort", cohort)):
            if storage == "device":
                self.register_buffer(name, tensor, persistent=False)
            else:
                setattr(self, name, tensor)

    def _apply(self, fn, recurse=True):
        """Rows of the host follow a change of their type, not of the device."""
        super()._apply(fn, recurse)
        if self.storage == "host":
            dtype = fn(self.weight[:0]).dtype
            self.weight, self.momentum = self.weight.to(dtype), self.momentum.to(dtype)
        return self

    def __len__(self) -> int:
        return len(self.weight)

    @torch.no_grad()
    def draw(self, std: float, total: int, *, place: int, num_shards: int) -> None:
        """Set the weights to N(0, std).

        Every rank draws all rows and keeps its own, so that the start does not depend on the number of ranks.

        Args:
            std: Standard deviation.
            total: Rows of all ranks.
            place: This rank has the rows `place`, `place + num_shards`, ...
            num_shards: G.
        """
        whole = torch.empty(min(_CHUNK, total), self.weight.shape[1])
        done = 0
        with progress_bar("Drawing class weights" * (total > MANY), total=total) as advance:
            for start in range(0, total, _CHUNK):
                part = whole[: total - start].normal_(0, std)
                part = part[(place - start) % num_shards :: num_shards]
                self.weight[done : done + len(part)] = part
                done += len(part)
                advance(_CHUNK)

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weights (m, D) and momenta (m, D) of rows (m,) int64 on their device; cohorts (m,) on the CPU."""
        here = rows.to(self.weight.device)
        weight, momentum = (_sent(part[here], rows.device) for part in (self.weight, self.momentum))
        return weight, momentum, self.cohort[here].cpu()

    def write(self, rows: Tensor, weight: Tensor, momentum: Tensor) -> None:
        """Put weights and momenta (m, D) of rows (m,) back; their cohorts stay."""
        here = rows.to(self.weight.device)
        self.weight[here] = weight.to(self.weight)
        self.momentum[here] = momentum.to(self.momentum)

    def mark(self, rows: Tensor, cohort: int) -> None:
        """Set the cohort of rows (m,)."""
        self.cohort[rows.to(self.cohort.device)] = cohort

    def active(self) -> Tensor:
        """(m,) int64 rows that are in use, ascending, on the device of the store."""
        return (self.cohort == ACTIVE).nonzero().flatten()

    def idle_chunks(self) -> Iterator[Tensor]:
        """Rows that are not in use, some ten thousand at a time."""
        for start in range(0, len(self), _CHUNK):
            yield start + (self.cohort[start : start + _CHUNK] != ACTIVE).nonzero().flatten()


def _sent(rows: Tensor, device: torch.device) -> Tensor:
    """`rows` on a device; to a GPU through pinned memory, without waiting for it."""
    if device.type == "cuda" and rows.device.type == "cpu":
        return rows.pin_memory().to(device, non_blocking=True)
    return rows.to(device)
