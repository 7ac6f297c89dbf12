"""What several shards of `InstanceRows` keep beside their rows, as the state of one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def merged_shards(shards: list[dict[str, Any]]) -> dict[str, Tensor]:
    """The state of all shards but for their rows.

    Args:
        shards: Of each rank: `births`, `operators`, `members` (in the numbers of all rows), `gradient`,
            `batch`, `num_steps` and `settings`, on the CPU.

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
        batch=first["batch"],
        num_steps=first["num_steps"],
        settings=first["settings"],
    )
