"""Classifiers and memories that are spread over the ranks, brought together while a checkpoint is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from mmssl.models.heads import InstanceClassifier
from mmssl.models.memories import EpochMemory, InstanceRows


@contextmanager
def collected_shards(model: nn.Module, folder: str | Path) -> Iterator[None]:
    """Inside of it `model.state_dict()` of rank 0 is complete; every rank has to enter.

    Args:
        model: The module without wrapper.
        folder: Where rank 0 may map a file of rows that are many: the checkpoint's.
    """
    held: list[InstanceRows | EpochMemory] = [
        part.rows
        for part in model.modules()
        if isinstance(part, InstanceClassifier) and part.rows is not None and part.save_classifier
    ]
    held += [part for part in model.modules() if isinstance(part, EpochMemory)]
    for rows in held:
        rows.collect(folder)
    try:
        yield
    finally:
        for rows in held:
            rows.release()
