"""FeatureBank: a running feature of every image of the training set.

Unsupervised Feature Learning via Non-Parametric Instance Discrimination (NPID), 2018, arXiv 1805.01978.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmssl.ops.collectives import gather_cat


class FeatureBank(nn.Module):
    """A row for each image; rows move towards the features of their images and keep unit length.

        v_i <- l2(m * v_i + (1 - m) * f_i)

    The start is uniform in +-sqrt(3 / dim), so rows have a length of about 1.

    Args:
        num_samples: Images of the training set.
        dim: Size of a feature.
        momentum: m, the weight of the old row.
    """

    same_on_all_ranks: ClassVar[bool] = True
    features: Tensor

    def __init__(self, num_samples: int, dim: int, *, momentum: float = 0.5) -> None:
        super().__init__()
        self.momentum = momentum
        bound = math.sqrt(3 / dim)
        self.register_buffer("features", torch.empty(num_samples, dim).uniform_(-bound, bound))

    def extra_repr(self) -> str:
        """Sizes, for `print`."""
        rows, dim = self.features.shape
        return f"num_samples={rows}, dim={dim}, momentum={self.momentum}"

    @torch.no_grad()
    def update(self, index: Tensor, features: Tensor) -> None:
        """Move the rows of a batch of all ranks.

        An image that comes twice (a sampler that fills up the last batch) is moved once, from its old row
        by its last feature in rank order. A feature that is not finite, of a batch whose step will be
        skipped, leaves its row as it was.

        Args:
            index: (B,) int64 rows, as many on every rank.
            features: (B, dim) unit rows.
        """
        index, features = gather_cat(index), gather_cat(features).to(self.features.dtype)
        number = torch.arange(len(index), device=index.device)
        same = index[:, None] == index[None]
        last = torch.where(same, number, -1).amax(dim=1)
        old = self.features[index]
        moved = F.normalize(self.momentum * old + (1 - self.momentum) * features[last], dim=1)
        self.features[index] = torch.where(moved.isfinite().all(dim=1, keepdim=True), moved, old)
