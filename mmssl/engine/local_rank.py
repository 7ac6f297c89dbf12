"""The number of a process on its machine, as launchers tell it."""

from __future__ import annotations

import os


def set_local_rank(default: int = 0) -> None:
    """Put it into LOCAL_RANK, where mmengine looks for the device of DDP; Open MPI has another name for it.

    Args:
        default: Without a launcher that tells it.
    """
    told = os.environ.get("OMPI_COMM_WORLD_LOCAL_RANK", str(default))
    os.environ.setdefault("LOCAL_RANK", told)
