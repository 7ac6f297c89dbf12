"""Where the taps of a sliding window lie, as slices of the map and of the output."""

from __future__ import annotations

from types import EllipsisType
from typing import NamedTuple

Box = tuple[EllipsisType, slice, slice, slice]
"""Index of rows and columns of (..., H, W, C)."""


class Tap(NamedTuple):
    """One tap of the window.

    Attributes:
        number: Row-major number within the window.
        here: Part of the output whose tap lies inside the map.
        there: Part of the map that it sees, of the same size.
        missing: Parts of the output, without overlap, whose tap lies outside.
    """

    number: int
    here: Box
    there: Box
    missing: list[Box]


def _span(offset: int, size: int, size_out: int, stride: int) -> tuple[slice, slice, list[slice]]:
    """Along one axis: outputs that are inside, what they see, and the outputs that are not."""
    first = min(max(-(offset // stride), 0), size_out)
    last = max(min((size - 1 - offset) // stride + 1, size_out), first)
    start = first * stride + offset
    there = slice(start, start + (last - first) * stride, stride) if last > first else slice(0, 0)
    missing = [part for part in (slice(0, first), slice(last, size_out)) if part.stop > part.start]
    return slice(first, last), there, missing


def _box(rows: slice, columns: slice) -> Box:
    return ..., rows, columns, slice(None)


def window_taps(
    kernel_size: tuple[int, int],
    size: tuple[int, int],
    size_out: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> list[Tap]:
    """The taps of a window that is centred on (stride * row, stride * column) of the map.

    Args:
        kernel_size: Rows and columns of the window.
        size: Height and width of the map.
        size_out: Height and width of the output.
        stride: Vertical and horizontal.
        dilation: Vertical and horizontal.

    Example:
        >>> tap = window_taps((3, 1), (4, 5), (4, 5), (1, 1), (1, 1))[0]
        >>> tap.here[1], tap.there[1], [box[1] for box in tap.missing]
        (slice(1, 4, None), slice(0, 3, 1), [slice(0, 1, None)])
    """
    spans = [
        [
            _span(dilation[axis] * (tap - kernel // 2), size[axis], size_out[axis], stride[axis])
            for tap in range(kernel)
        ]
        for axis, kernel in enumerate(kernel_size)
    ]
    taps: list[Tap] = []
    for rows, rows_there, rows_missing in spans[0]:
        for columns, columns_there, columns_missing in spans[1]:
            missing = [_box(part, slice(0, size_out[1])) for part in rows_missing]
            missing += [_box(rows, part) for part in columns_missing if rows.stop > rows.start]
            here, there = _box(rows, columns), _box(rows_there, columns_there)
            taps.append(Tap(len(taps), here, there, missing))
    return taps
