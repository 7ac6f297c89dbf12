"""The same rows of a matrix on a device, chunk by chunk, as often as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

RESIDENT_SHARE = 0.5


def room_on(device: torch.device) -> int:
    """Bytes that rows may take of an accelerator: half of what is free on it; 0 on a CPU.

    Memory that torch has reserved but not given away counts as free.
    """
    if device.type != "cuda":
        return 0
    free = torch.cuda.mem_get_info(device)[0]
    idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(RESIDENT_SHARE * (free + idle))


class RowReader:
    """Rows that are read again and again, each time from the beginning.

    The matrix may be mapped from a file that is larger than the memory: it is never copied whole, except by
    `kept`.

    Args:
        features: (n, D) of any floating type, on any device.
        chunk: Rows that are read at a time.
        device: Where they are brought.
        rows: (m,) int64 the rows to read, in this order; `None` reads all.
    """

    def __init__(
        self, features: Tensor, *, chunk: int, device: torch.device, rows: Tensor | None = None
    ) -> None:
        self.features = features
        self.chunk = chunk
        # with its number, so that it can be compared
        self.device = torch.empty(0, device=device).device
        self.rows = None if rows is None else rows.to(features.device)

    def __len__(self) -> int:
        return len(self.features) if self.rows is None else len(self.rows)

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        """Read all once.

        Yields:
            How many rows came before, and (up to chunk, D) float32 rows on the device; not to be written.
        """
        for start, part in self._parts():
            yield start, part.float()

    def kept(self) -> RowReader:
        """A reader of the same rows that has them on the device, if they are elsewhere and fit there.

        They fit if they take no more than `room_on`.
        """
        dim, dtype = self.features.shape[1], self.features.dtype
        size = len(self) * dim * dtype.itemsize
        if self.features.device == self.device or size > room_on(self.device):
            return self
        held = torch.empty(len(self), dim, dtype=dtype, device=self.device)
        for start, part in self._parts():
            held[start : start + len(part)] = part
        return RowReader(held, chunk=self.chunk, device=self.device)

    def _parts(self) -> Iterator[tuple[int, Tensor]]:
        """As `__iter__`, in the type of the features."""
        if self.device.type == "cuda" and self.features.device.type == "cpu":
            yield from self._through_pinned()
            return
        for start in range(0, len(self), self.chunk):
            span = slice(start, start + self.chunk)
            part = self.features[span] if self.rows is None else self.features[self.rows[span]]
            yield start, part.to(self.device)

    def _through_pinned(self) -> Iterator[tuple[int, Tensor]]:
        """As `_parts`; the host prepares a chunk while the device copies and uses the one before."""
        pinned = self.device.type == "cuda"
        size = min(self.chunk, len(self)), self.features.shape[1]
        buffers = [
            torch.empty(size, dtype=self.features.dtype, pin_memory=pinned) for _ in range(2)
        ]
        copied = [torch.cuda.Event() if pinned else None for _ in buffers]
        for number, start in enumerate(range(0, len(self), self.chunk)):
            count = min(self.chunk, len(self) - start)
            buffer, event = buffers[number % 2][:count], copied[number % 2]
            if event is not None:
                event.synchronize()
            if self.rows is None:
                buffer.copy_(self.features[start : start + count])
            else:
                rows = self.rows[start : start + count]
                torch.index_select(self.features, 0, rows, out=buffer)
            part = buffer.to(self.device, non_blocking=True, copy=True)
            if event is not None:
                event.record(torch.cuda.current_stream(self.device))
            yield start, part
