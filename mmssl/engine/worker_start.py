"""start_worker: loader workers outlive a SIGTERM for a while.

torchrun and Slurm send it to all processes; the workers are needed until the main process has saved, which
then ends them.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

# A worker that gets SIGTERM dies after this time, if the main process has not ended it by then.
_GRACE_SECONDS = 60


def start_worker(init: Callable[[int], None] | None, worker_id: int) -> None:
    """Of a loader worker, after torch has set its own signal handlers.

    Args:
        init: What the loader would have called without this.
        worker_id: Number of the worker.
    """
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE_SECONDS))
    if init is not None:
        init(worker_id)
