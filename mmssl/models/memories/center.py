"""Center: the running mean of the teacher's logits.

DINO (Caron et al. 2021, arXiv 2104.14294, equation 4): subtracted from the logits before the softmax, it
keeps one prototype from winning everywhere.
"""

from __future__ import annotations

import torch
from mmengine.model import BaseModule
from torch import Tensor

from mmssl.ops.collectives import reduce_mean


class Center(BaseModule):
    """Exponential running mean, starting from zero.

        center <- momentum * center + (1 - momentum) * mean

    Args:
        dim: Number K of logits.
        momentum: Share of the old value.
    """

    mean: Tensor

    def __init__(self, dim: int, momentum: float = 0.9) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(1, dim))

    @torch.no_grad()
    def update(self, batch_mean: Tensor) -> None:
        """Take in a batch, after it was compared with the old center; one that is not finite changes nothing.

        Args:
            batch_mean: (K,) or (1, K) mean of this process's raw logits, without temperature and
                center; the mean over the processes, whose batches are of equal size, is taken here.
        """
        mean = reduce_mean(batch_mean.to(self.mean)).view_as(self.mean)
        mean = torch.where(mean.isfinite().all(), mean, self.mean)  # its step will be skipped
        self.mean.mul_(self.momentum).add_(mean * (1 - self.momentum))

    def update_from_rows(self, rows: Tensor, prototypes: Tensor) -> None:
        """Take in a batch by what stands before the last layer.

        Logits are linear in the rows, so the mean of the logits is that of the rows times the prototypes:
        the logits themselves are not needed.

        Args:
            rows: (..., D) rows of this process.
            prototypes: (K, D) weight of the last layer, which has no bias.
        """
        with torch.no_grad(), torch.autocast(rows.device.type, enabled=False):
            mean = rows.to(prototypes.dtype).flatten(0, -2).mean(dim=0)
            self.update(mean @ prototypes.T)
