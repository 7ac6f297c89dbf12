"""The rows of a matrix that is spread over the ranks: global row i is row i // W of rank i mod W.

That is how a sampler without shuffling deals images to W processes, so features stay where they were
computed. On one process the matrix is simply the tensor.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmssl.ops.collectives import (
    gather_cat,
    gather_objects,
    rank,
    sum_over_ranks,
    wire_device,
    world_size,
)
from mmssl.ops.row_reader import RowReader

NAMED_ROWS = 5


def num_rows(local: Tensor) -> int:
    """How many rows all ranks hold together."""
    return int(sum_over_ranks(torch.tensor(len(local))))


def gather_rows(local: Tensor, total: int) -> Tensor:
    """(total, ...) all rows in their global order, from each rank's own (n_local, ...)."""
    if world_size() == 1:
        return local
    padded = local.new_zeros(-(-total // world_size()), *local.shape[1:])
    padded[: len(local)] = local
    parts = gather_cat(padded.to(wire_device())).to(local.device)
    parts = parts.view(world_size(), len(padded), *local.shape[1:])
    return parts.transpose(0, 1).flatten(0, 1)[:total]


def gather_rows_in_chunks(
    local: Tensor, total: int, *, chunk: int = 1 << 16, into: Tensor | None = None
) -> Tensor:
    """(total, ...) all rows in their global order, on the host of rank 0; (0, ...) on the others.

    Only rank 0 ever holds more than `chunk` rows of each rank.

    Args:
        local: (n_local, ...) each rank's own rows, of any type, on any device.
        total: Rows of all ranks.
        chunk: Rows of each rank that are sent at a time.
        into: (total, ...) on rank 0: where they go, and what is returned.
    """
    whole = into
    if whole is None:
        whole = torch.empty(total if rank() == 0 else 0, *local.shape[1:], dtype=local.dtype)
    longest = -(-total // world_size())
    for start in range(0, longest, chunk):
        rows = min(chunk, longest - start)
        part = gather_rows(local[start : start + rows], rows * world_size())
        first = start * world_size()
        if rank() == 0:
            whole[first : first + len(part)] = part[: total - first]
    return whole


def own_rows(everything: Tensor) -> Tensor:
    """(n_local, ...) this rank's rows of (n, ...) ones that every rank has."""
    return everything[rank() :: world_size()]


class ShardedRows:
    """Finite rows, read piece by piece.

    The tensor may be mapped from a file that is larger than the memory: it is never copied whole, except to
    an accelerator on which it fits (see `RowReader.kept`).

    Args:
        features: (n_local, D) this rank's rows, of any floating type, on any device.
        chunk: Rows that are read at a time.
        device: Where they are brought.

    Raises:
        ValueError: On every rank alike: not a floating matrix, rows of several lengths, a number of rows
            that is not this rank's share, or values that are not finite (the first such rows are named).

    Attributes:
        everything: Reads this rank's rows in their order.
        device: Where they are brought, with its number.
        total: Rows of all ranks.
        largest: Largest magnitude of a value, over all ranks.
        largest_square: Largest squared length of a row, over all ranks.
    """

    def __init__(self, features: Tensor, *, chunk: int, device: torch.device) -> None:
        self.features = features
        self._check_shapes()
        self.everything = RowReader(features, chunk=chunk, device=device).kept()
        self.device = self.everything.device
        self._check_values()

    def _check_shapes(self) -> None:
        features = self.features
        shape = tuple(features.shape)
        held = gather_objects((shape, features.is_floating_point()))
        if any(len(each) != 2 or not floating for each, floating in held):
            raise ValueError(
                "Clustering needs a floating-point matrix with a feature per row, got "
                f"{', '.join(str(each) for each, _ in held)} ({features.dtype})."
            )
        counts, widths = [each[0] for each, _ in held], {each[1] for each, _ in held}
        self.total = sum(counts)
        shares = [
            (self.total - place + len(counts) - 1) // len(counts) for place in range(len(counts))
        ]
        if len(widths) > 1 or counts != shares:
            raise ValueError(
                f"Row i of {self.total} belongs to rank i mod {len(counts)}, so the ranks should hold "
                f"{shares} rows of one length; they hold {counts} of lengths {sorted(widths)}."
            )

    def _check_values(self) -> None:
        largest, largest_square, bad, num_bad = 0.0, 0.0, [], 0
        for start, part in self.everything:
            squares = part.square().sum(1)
            # a factor that leaves room for the squared distance of two rows
            wrong = ~(squares * 8).isfinite()
            if wrong.any():
                found = wrong.nonzero().flatten().cpu() + start
                num_bad += len(found)
                bad += (found[:NAMED_ROWS] * world_size() + rank()).tolist()
            largest = max(largest, float(part.abs().max()))
            largest_square = max(largest_square, float(squares.max()))
        held = gather_objects((largest, largest_square, bad[:NAMED_ROWS], num_bad))
        if any(count for *_, count in held):
            first = sorted(place for *_, places, _ in held for place in places)[:NAMED_ROWS]
            raise ValueError(
                f"{sum(count for *_, count in held)} of {self.total} features hold NaN, infinite or "
                f"huge values; the first have index {', '.join(map(str, first))}. The network that "
                "computed them has diverged, or these images are damaged."
            )
        self.largest = max(largest for largest, *_ in held)
        self.largest_square = max(square for _, square, *_ in held)

    def reader(self, rows: Tensor) -> RowReader:
        """Of some of this rank's rows (m,) int64, in this order; kept on the device if they fit."""
        held = self.everything
        return RowReader(held.features, chunk=held.chunk, device=self.device, rows=rows).kept()

    def local(self, ids: Tensor) -> Tensor:
        """Which of the global rows `ids` (m,) this rank holds, as (m_local,) local rows in that order."""
        return ids[ids % world_size() == rank()] // world_size()

    def take(self, ids: Tensor) -> Tensor:
        """(m, D) float32 global rows `ids` (m,), the same on every rank, on the device."""
        taken = torch.zeros(len(ids), self.features.shape[1], device=self.device)
        mine = (ids % world_size() == rank()).nonzero().flatten().to(self.device)
        for start, part in self.reader(self.local(ids)):
            taken[mine[start : start + len(part)]] = part
        # 0 + x is x, except for the sign of zero, which must not depend on the number of ranks either
        return sum_over_ranks(taken + 0.0)
