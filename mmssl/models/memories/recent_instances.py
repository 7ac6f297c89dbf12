"""RecentInstances: which images were seen last.

Parametric Instance Classification for Unsupervised Visual Feature Learning (PIC), 2020, arXiv 2006.14618,
"recent negative sampling".
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn


class RecentInstances(nn.Module):
    """Distinct instances in the order of their last visit, the `length` newest ones.

    Args:
        length: K.
        num_instances: N; more than N entries are never kept.
        everything: Start with all instances, 0 the oldest; else the list starts empty.

    Attributes:
        index: (min(K, N),) int64 instances, the oldest first; -1 stands for one that has not come yet.

    Raises:
        ValueError: A length below 1.

    Example:
        >>> recent = RecentInstances(3, 10)
        >>> for batch in ([4, 5], [6, 4], [7, 7]):
        ...     recent.visit(torch.tensor(batch))
        >>> recent.index.tolist()
        [6, 4, 7]
    """

    same_on_all_ranks: ClassVar[bool] = True
    index: Tensor

    def __init__(self, length: int, num_instances: int, *, everything: bool = False) -> None:
        super().__init__()
        if length < 1:
            raise ValueError(
                f"A list of recent instances needs a length of at least 1, got {length}."
            )
        self.num_instances, self.everything = num_instances, everything
        self.length = min(length, num_instances)
        self.register_buffer("index", self.start())

    def extra_repr(self) -> str:
        """Its length, for `print`."""
        return f"length={len(self.index)}"

    def start(self) -> Tensor:
        """(min(K, N),) the list before the first batch."""
        if self.everything:
            return torch.arange(self.num_instances - self.length, self.num_instances)
        return torch.full((self.length,), -1)

    def restart(self) -> None:
        """Forget all visits."""
        self.index.copy_(self.start())

    @property
    def known(self) -> Tensor:
        """(n,) the instances on the list, the oldest first."""
        return self.index[self.index >= 0]

    def visit(self, index: Tensor) -> None:
        """Move the instances of a batch to the newest places, in its order.

        Args:
            index: (B,) int64, the same on every rank; of one that comes twice the last place counts.
        """
        distinct, place = index.unique(return_inverse=True)
        order = torch.arange(len(index), device=index.device)
        last = torch.zeros_like(distinct).scatter_reduce_(0, place, order, "amax")
        older = self.index[~torch.isin(self.index, distinct)]
        self.index = torch.cat([older, index[last.sort().values]])[-len(self.index) :]

    def _load_from_state_dict(
        self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
    ) -> None:
        saved = state_dict.get(prefix + "index")
        if saved is not None and len(saved) != self.length:
            error_msgs.append(
                f"size mismatch for {prefix}index: num_negatives (at most the number of images) is "
                f"{self.length} here, {len(saved)} in the file. Set num_negatives={len(saved)}."
            )
            return
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
