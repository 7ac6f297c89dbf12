"""The state of `InstanceRows` in checkpoints: made of several shards, made anew, or of other options."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from mmssl.ops.collectives import rank
from mmssl.ops.feature_store import FeatureStore
from mmssl.ops.sharded_rows import gather_rows_in_chunks

from .idle_cohorts import CORRECTIONS, Correction

IN_MEMORY = 1 << 30


def merged_shards(shards: list[dict[str, Any]]) -> dict[str, Tensor]:
    """The state of all shards but for their rows.

    Args:
        shards: Of each rank: `births`, `operators`, `members` (in the numbers of all rows), `gradient`,
            `batch`, `num_steps`, `settings` and `correction`, on the CPU.

    Returns:
        The same without `members`, whose gradients are in the order of all rows.
    """
    first = shards[0]
    births = torch.cat([shard["births"] for shard in shards])
    operators = torch.cat([shard["operators"] for shard in shards])
    births, place = births.unique(return_inverse=True)
    # a cohort has the same operator on every rank: any of them will do
    merged = operators.new_empty(len(births), 2, 2)
    merged[place] = operators
    order = torch.cat([shard["members"] for shard in shards]).argsort()
    gradient = torch.cat([shard["gradient"] for shard in shards])
    return dict(
        births=births,
        operators=merged,
        gradient=gradient[order] if len(gradient) else gradient,
        **{name: first[name] for name in ("batch", "num_steps", "settings", "correction")},
    )


def fresh_state(weight: Tensor, correction: Correction, recent: Tensor | None) -> dict[str, Tensor]:
    """The state before the first step, of rows that begin where those of another classifier are.

    Args:
        weight: (N, D) all rows.
        correction: The one of this run.
        recent: (min(K, N),) the recent list, if there is one.
    """
    state = dict(
        weight=weight,
        momentum=weight.new_zeros(1, 1).expand_as(weight),
        cohort=torch.zeros(1, dtype=torch.int32).expand(len(weight)),
        births=torch.zeros(1, dtype=torch.long),
        operators=torch.eye(2, dtype=torch.float64)[None],
        gradient=weight[:0],
        batch=torch.zeros(0, dtype=torch.long),
        num_steps=torch.tensor(0),
        settings=torch.zeros(3, dtype=torch.float64),
        correction=torch.tensor(CORRECTIONS.index(correction)),
    )
    return state if recent is None else state | {"recent.index": recent}


def misfit(
    state: dict[str, Tensor], shape: tuple[int, int], correction: Correction, prefix: str
) -> str | None:
    """Why a state cannot be gone on with, `None` if it can.

    Args:
        state: Of a checkpoint.
        shape: N and D here.
        correction: The one of this run.
        prefix: Of the names in the checkpoint.
    """
    weight, theirs = state["weight"], CORRECTIONS[int(state["correction"])]
    if tuple(weight.shape) != shape:
        return (
            f"size mismatch for {prefix}weight: a row for each of {len(weight)} images of "
            f"{weight.shape[-1]} numbers in the file, {shape} here."
        )
    if theirs != correction:
        return (
            f"{prefix}correction is {theirs!r} in the file and {correction!r} here: what idle rows owe is "
            f"noted in another way. Set correction={theirs!r} of the classifier."
        )
    return None


def gathered(own: Tensor, total: int, num_shards: int, folder: str | Path | None = None) -> Tensor:
    """All rows in their global order on the host of rank 0, (0, ...) on other ranks; collective.

    Args:
        own: (n, ...) rows of this rank's shard.
        total: N.
        num_shards: G; of a single one it is `own`, on every rank.
        folder: Of rank 0, for a file that it maps into memory if the rows take more than `IN_MEMORY` bytes:
            it is gone with the last reference. On a disk without room for it they come into memory.
    """
    if num_shards == 1:
        return own.cpu()
    place = None
    many = own[:1].numel() * total * own.element_size() > IN_MEMORY
    if folder is not None and many and own.ndim == 2 and own.dtype == torch.float32 and rank() == 0:
        try:
            place = FeatureStore(total, own.shape[1], folder=folder).rows
        except OSError as error:  # the other ranks wait for this one
            print_log(f"{error} The rows go through memory.", "current", logging.WARNING)
    return gather_rows_in_chunks(own, total, into=place)
