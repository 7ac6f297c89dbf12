"""Where the taps of a sliding window lie, as slices of the map and of the output."""

from __future__ import annotations

from typing import NamedTuple

Box = tuple[slice, slice]


class Tap(NamedTuple):
    """One tap of the window.

    Attributes:
        number: Row-major number within the window.
        here: Rows and columns of the output whose tap lies inside the map.
        there: Rows and columns of the map that they see, of the same size.
        missing: Boxes of the output, without overlap, whose tap lies outside.
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
        >>> tap.here[0], tap.there[0], [box[0] for box in tap.missing]
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
            missing = [(part, slice(0, size_out[1])) for part in rows_missing]
            missing += [(rows, part) for part in columns_missing if rows.stop > rows.start]
            taps.append(Tap(len(taps), (rows, columns), (rows_there, columns_there), missing))
    return taps
