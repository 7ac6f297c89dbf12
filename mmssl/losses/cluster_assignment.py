"""Cross-entropy of scores against the clusters that images were assigned to.

Unsupervised Learning of Visual Features by Contrasting Cluster Assignments, 2020, arXiv 2006.09882, on
DeepCluster-v2; Deep Clustering for Unsupervised Learning of Visual Features, 2018, arXiv 1807.05520.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def assignment_cross_entropy(
    scores: Tensor, assignment: Tensor, *, temperature: float, ignore: int = -100
) -> Tensor:
    """Every view of an image names its cluster; mean over the views of the images that have one.

        mean_{v, b} - log softmax(scores_vb / t)[assignment_b]

    Args:
        scores: (V, B, K) products of the views with the centroids; carry the gradient. Computed in float32 at
            least, under autocast too.
        assignment: (B,) int64 clusters of the images.
        temperature: t.
        ignore: The cluster of images without one. If no image has one the loss is 0, and no NaN.

    Example:
        >>> scores = torch.zeros(2, 3, 4)
        >>> assignment_cross_entropy(scores, torch.tensor([0, 1, -100]), temperature=0.1)  # log(4)
        tensor(1.3863)
    """
    dtype = torch.promote_types(scores.dtype, torch.float32)
    targets = assignment.expand(len(scores), -1)
    total = F.cross_entropy(
        scores.to(dtype).flatten(0, 1) / temperature,
        targets.flatten(),
        ignore_index=ignore,
        reduction="sum",
    )
    return total / (targets != ignore).sum().clamp(min=1)
