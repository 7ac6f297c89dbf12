"""FeatureQueue: the keys of the last batches, first in, first out.

Momentum Contrast for Unsupervised Visual Representation Learning, 2020, arXiv 1911.05722, section 3.2.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmssl.ops.collectives import gather_cat


class FeatureQueue(nn.Module):
    """The newest `length` keys of all ranks; until it is full, random directions stand for the rest.

    A pointer walks round the rows, so a batch may have any size: what does not fit before the last row
    goes on at the first. `enqueue` writes in place. Where a loss with gradients reads `features`, give it
    a copy (`queue.features.clone()`), which stays what it was until the backward pass.

    Args:
        length: Rows.
        dim: Size of a key.
        with_index: Keep the dataset position of each key as well.

    Attributes:
        features: (length, dim) unit rows.
        pointer: () int64, the row that the next key is written to.
        index: (length,) int64 dataset positions, -1 in rows that no key was written to; `None` without
            `with_index`.

    Raises:
        ValueError: A length or size below 1.

    Example:
        >>> queue = FeatureQueue(3, 2)
        >>> rows = queue.enqueue(torch.eye(2))
        >>> queue.features[:2].tolist(), int(queue.pointer)
        ([[1.0, 0.0], [0.0, 1.0]], 2)
    """

    same_on_all_ranks: ClassVar[bool] = True
    features: Tensor
    pointer: Tensor
    index: Tensor | None

    def __init__(self, length: int, dim: int, *, with_index: bool = False) -> None:
        super().__init__()
        if length < 1 or dim < 1:
            raise ValueError(
                f"A queue needs length >= 1 and dim >= 1, got length={length}, dim={dim}."
            )
        self.register_buffer("features", F.normalize(torch.randn(length, dim), dim=1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))
        self.register_buffer("index", torch.full((length,), -1) if with_index else None)

    def extra_repr(self) -> str:
        """Length and size, for `print`."""
        return f"length={len(self.features)}, dim={self.features.shape[1]}"

    @torch.no_grad()
    def enqueue(self, keys: Tensor, index: Tensor | None = None) -> Tensor:
        """Write the keys of all ranks, in rank order, over the oldest ones.

        A key that is not finite, of a batch whose step will be skipped, leaves its row as it was: it would
        spoil the loss of every batch until it is the oldest.

        Args:
            keys: (B, dim) keys of this process, as many on every rank; they are gathered here.
            index: (B,) their dataset positions, for a queue `with_index`.

        Returns:
            The rows of `features` that were written, int64.

        Raises:
            ValueError: Keys of another size, or an index where none is kept, or none where one is.
        """
        if keys.ndim != 2 or keys.shape[1] != self.features.shape[1]:
            raise ValueError(
                f"The queue holds keys of size {self.features.shape[1]}, got a batch of shape "
                f"{tuple(keys.shape)}; build it with the dim of the projector."
            )
        if (index is None) != (self.index is None):
            raise ValueError(
                "A queue with_index=True needs the dataset positions of the keys (`views.index`), and "
                "only such a queue takes them."
            )
        length = len(self.features)
        keys = gather_cat(keys).to(self.features.dtype)
        number = len(keys)
        rows = (self.pointer + torch.arange(number, device=self.pointer.device)) % length
        rows, keys = rows[-length:], keys[-length:]  # of more keys than rows only the newest stay
        finite = keys.isfinite().all(dim=1)
        self.features[rows] = torch.where(finite[:, None], keys, self.features[rows])
        if index is not None and self.index is not None:
            own = gather_cat(index.to(self.index.device))[-length:]
            self.index[rows] = torch.where(finite, own, self.index[rows])
        self.pointer.add_(number).remainder_(length)
        return rows
