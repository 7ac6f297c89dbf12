"""Leave the random number generators as they were found."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def preserved_rng() -> Iterator[None]:
    """Restore the states of Python's, NumPy's and torch's generators on leaving.

    What happens inside, for example a k-NN evaluation between two epochs, then cannot change the
    training that follows; resuming a run stays exact whether or not it is monitored.

    Example:
        >>> with preserved_rng():
        ...     _ = torch.manual_seed(0)
        ...     first = torch.rand(1)
    """
    python, numpy = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
