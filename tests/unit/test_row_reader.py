"""Rows on their way to a device: order, precision, and when they are moved once."""

from __future__ import annotations

import pytest
import torch

from mmssl.ops import row_reader
from mmssl.ops.row_reader import RowReader, room_on

CPU = torch.device("cpu")
WAYS = pytest.mark.parametrize("way", ["_parts", "_through_pinned"])
CASES = [(10, 3, None), (10, 10, None), (10, 64, None), (0, 4, None), (10, 2, [7, 1, 1, 9, 0])]


def features(count: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(0)).to(dtype)


@WAYS
@pytest.mark.parametrize("count, chunk, rows", CASES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_values_rows_in_their_order(count, chunk, rows, dtype, way, monkeypatch) -> None:
    monkeypatch.setattr(RowReader, "_parts", getattr(RowReader, way))
    values = features(count, dtype)
    chosen = None if rows is None else torch.tensor(rows)
    expected = (values if chosen is None else values[chosen]).float()
    reader = RowReader(values, chunk=chunk, device=CPU, rows=chosen)
    assert len(reader) == len(expected)
    for _ in range(2):
        parts = list(reader)
        assert [start for start, _ in parts] == list(range(0, len(expected), chunk))
        assert all(len(part) <= chunk and part.dtype == torch.float32 for _, part in parts)
        assert torch.equal(torch.cat([features(0), *(part for _, part in parts)]), expected)


@pytest.mark.parametrize("rows", [None, [7, 1, 9]])
def test_values_moved_once_where_they_fit(rows, monkeypatch) -> None:
    """A device without memory stands for one elsewhere."""
    chosen = None if rows is None else torch.tensor(rows)
    reader = RowReader(
        features(10, torch.float16), chunk=4, device=torch.device("meta"), rows=chosen
    )
    size = len(reader) * 5 * 2
    monkeypatch.setattr(row_reader, "room_on", lambda device: size - 1)
    assert reader.kept() is reader
    monkeypatch.setattr(row_reader, "room_on", lambda device: size)
    kept = reader.kept()
    assert kept.features.device.type == "meta" and kept.features.dtype == torch.float16
    assert kept.features.shape == (len(reader), 5) and kept.rows is None
    assert kept.kept() is kept


def test_values_room_is_half_of_what_is_free(monkeypatch) -> None:
    assert room_on(CPU) == 0
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 4000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 300)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100)
    assert room_on(torch.device("cuda", 0)) == 600
