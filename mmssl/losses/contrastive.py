"""InfoNCE: tell the key of an image from keys of other images, of a queue or of the batch.

Momentum Contrast for Unsupervised Visual Representation Learning, 2020, arXiv 1911.05722, equation 1.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def info_nce(q: Tensor, k: Tensor, queue: Tensor, *, temperature: float) -> Tensor:
    """Cross-entropy of picking a query's own key among the keys of a queue.

        mean_i - log( exp(q_i.k_i / t) / ( exp(q_i.k_i / t) + sum_j exp(q_i.n_j / t) ) )

    Nothing is normalised, gathered or detached here, and products and softmax are computed in float32 at
    least, under autocast too.

    | queries and keys           | value                                |
    |----------------------------|--------------------------------------|
    | an empty queue             | 0                                    |
    | all features the same      | log(1 + K)                           |
    | q = k, orthogonal to queue | log(1 + K exp(-1 / t)), for unit rows |

    Args:
        q: (B, D) queries, unit rows; they learn.
        k: (B, D) the key of each query, unit rows; the caller detaches them where the method does.
        queue: (K, D) keys of other images, unit rows; not written to before the backward pass.
        temperature: t.

    Returns:
        Scalar, float32 or float64.

    Raises:
        ValueError: Queries and keys of different shapes, or a queue of another size.

    Example:
        >>> unit = torch.tensor([[1.0, 0.0]])
        >>> info_nce(unit, unit, unit.repeat(3, 1), temperature=0.2)  # log 4
        tensor(1.3863)
    """
    if q.shape != k.shape:
        raise ValueError(
            f"Queries and keys must have the same shape, got {tuple(q.shape)} and {tuple(k.shape)}."
        )
    if queue.ndim != 2 or queue.shape[1] != q.shape[1]:
        raise ValueError(
            f"The queue must have shape (K, {q.shape[1]}), as the queries, got {tuple(queue.shape)}."
        )
    dtype = torch.promote_types(q.dtype, torch.float32)
    with torch.autocast(q.device.type, enabled=False):
        q, k, queue = q.to(dtype), k.to(dtype), queue.to(dtype)
        positive = (q * k).sum(dim=1, keepdim=True)
        logits = torch.cat([positive, q @ queue.T], dim=1) / temperature
        return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long, device=q.device))


def contrast_among(q: Tensor, keys: Tensor, own: Tensor, *, temperature: float) -> Tensor:
    """Cross-entropy of picking a query's own key among the keys of a batch.

        mean_i - log( exp(q_i.k_own(i) / t) / sum_j exp(q_i.k_j / t) )

    Nothing is normalised, gathered or detached here, and products and softmax are computed in float32 at
    least, under autocast too.

    Args:
        q: (B, D) queries, unit rows; they learn.
        keys: (K, D) keys, unit rows, such as those of all ranks; the caller detaches them.
        own: (B,) int64, which key is each query's own.
        temperature: t.

    Returns:
        Scalar, float32 or float64.

    Example:
        >>> unit = torch.tensor([[1.0, 0.0]])
        >>> contrast_among(unit, unit.repeat(3, 1), torch.tensor([1]), temperature=0.2)  # log 3
        tensor(1.0986)
    """
    dtype = torch.promote_types(q.dtype, torch.float32)
    with torch.autocast(q.device.type, enabled=False):
        return F.cross_entropy(q.to(dtype) @ keys.to(dtype).T / temperature, own)
