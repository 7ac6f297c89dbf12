"""Work that rank 0 does alone while the others wait, for as long as it takes."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from mmssl.ops.collectives import any_rank, gather_objects, rank, world_size

Result = TypeVar("Result")
# Far below every timeout of a backend, and not often enough to take time from the work.
SECONDS_BETWEEN_CALLS = 1.0


def on_first_rank(work: Callable[[], Result]) -> Result | None:
    """What rank 0 gets from `work`; `None` on the others, once it is done.

    The ranks meet again and again while rank 0 works in a thread, so the timeout of the process group (for
    NCCL half an hour) does not limit the work. That takes work which lets other threads of Python run, as
    faiss and torch do. On a single process `work` is simply called.

    Args:
        work: Uses no collective; called on rank 0 only.

    Raises:
        Exception: What `work` raised, on every rank; as a RuntimeError that names it, if it cannot be sent.

    Example:
        >>> on_first_rank(lambda: 6 * 7)
        42
    """
    if world_size() == 1:
        return work()
    future: Future[Result] | None = None
    with ThreadPoolExecutor(1) as pool:
        if rank() == 0:
            future = pool.submit(work)
        done = False
        while not done:
            if future is not None:
                wait([future], timeout=SECONDS_BETWEEN_CALLS)
            done = any_rank(future is not None and future.done())
    error = future.exception() if future is not None else None
    sent = gather_objects(None if error is None else _sendable(error))[0]
    if sent is not None:
        raise sent from error
    return None if future is None else future.result()


def _sendable(error: BaseException) -> BaseException:
    """The error as other processes will see it."""
    try:
        return pickle.loads(pickle.dumps(error))
    # an exception of a library may fail in any way to be built again from its arguments
    except Exception:
        return RuntimeError(f"{type(error).__name__} on rank 0: {error}")
