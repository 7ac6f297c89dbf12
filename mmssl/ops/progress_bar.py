"""A progress bar for work whose steps are not the items of one loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mmssl.ops.collectives import rank

Advance = Callable[[float], None]


@contextmanager
def progress_bar(title: str, total: float) -> Iterator[Advance]:
    """A bar on rank 0; nothing on the others or without a title.

    Args:
        title: Stands before the bar; empty shows none.
        total: The bar is full when the steps sum up to this. What was skipped is filled at the end.

    Yields:
        A function to call with the size of each finished step.

    Example:
        >>> with progress_bar("", total=2) as advance:
        ...     advance(1)
    """
    if not title or rank() != 0:
        yield lambda step: None
        return
    from rich.progress import Progress  # only where a bar is shown

    with Progress() as bar:
        task = bar.add_task(title, total=total)
        yield lambda step: bar.advance(task, step)
        bar.update(task, completed=total)
