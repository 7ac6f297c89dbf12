"""Contrast with prototypes, and the selection of negatives by them.

HCSC: Hierarchical Contrastive Selective Coding, 2022, arXiv 2202.00455, sections 3.2 and 3.3; Prototypical
Contrastive Learning of Unsupervised Representations (PCL), 2021, arXiv 2005.04966, equation 11.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mmssl.ops.precision import full_float32

MaskMode = Literal["zero", "exclude"]
MOST_KEPT = 0.999
"""HCSC limits the probability to keep a key to this (official code)."""


def keep_probability(
    candidates: Tensor,
    own: Tensor,
    *,
    scale: Tensor,
    log_partition: Tensor,
) -> Tensor:
    """How likely a candidate is a true negative: not of the prototype of the query.

        p_ij = 1 - softmax_m(z_j.c_m / phi_m)[a_i] = 1 - exp(z_j.c_{a_i} / phi_{a_i} - log Z_j)

    `log_partition` holds log Z_j, the only part that needs all M prototypes: it depends on the candidate
    alone, so who keeps it over the steps never computes the (R, M) softmax again.

    Args:
        candidates: (R, D) unit rows z_j.
        own: (N, D) prototypes c_{a_i} of the queries.
        scale: (N,) their temperatures phi_{a_i}.
        log_partition: (R,) log Z_j.

    Returns:
        (N, R), float32 at least, without gradient.
    """
    with torch.no_grad(), full_float32(candidates.device):
        dtype = torch.promote_types(candidates.dtype, torch.float32)
        logits = (own.to(dtype) / scale.to(dtype)[:, None]) @ candidates.to(dtype).T
        return 1 - (logits - log_partition.to(dtype)).exp()


def removed_logits(logits: Tensor, keep: Tensor, mask_mode: MaskMode) -> Tensor:
    """Logits of negatives after selection.

    Args:
        logits: Of the negatives, any shape.
        keep: bool, broadcastable: which of them are kept.
        mask_mode: `zero`: a removed negative has logit 0, so it counts as one that is orthogonal to the
            query (the released code of HCSC); `exclude`: it is left out of the softmax (the article).

    Raises:
        ValueError: Another mode.
    """
    if mask_mode not in ("zero", "exclude"):
        raise ValueError(f"mask_mode must be 'zero' or 'exclude', got {mask_mode!r}.")
    return torch.where(keep, logits, 0.0 if mask_mode == "zero" else -torch.inf)


def selective_info_nce(
    q: Tensor,
    k: Tensor,
    queue: Tensor,
    *,
    keep: Tensor,
    temperature: float,
    mask_mode: MaskMode = "zero",
) -> Tensor:
    """InfoNCE with the negatives that each level of prototypes has kept (HCSC, instance-wise).

        level l: mean_i - log( exp(q_i.k_i / t) / ( exp(q_i.k_i / t) + sum_j exp(m^l_ij q_i.n_j / t) ) )

    With everything kept each level is `info_nce`.

    Args:
        q: (N, D) queries, unit rows; they learn.
        k: (N, D) the key of each query, unit rows.
        queue: (K, D) keys of other images, unit rows; not written to before the backward pass.
        keep: (L, N, K) bool masks m.
        temperature: t.
        mask_mode: See `removed_logits`.

    Returns:
        (L,) losses, float32 at least.
    """
    dtype = torch.promote_types(q.dtype, torch.float32)
    with torch.autocast(q.device.type, enabled=False):
        q, k, queue = q.to(dtype), k.to(dtype), queue.to(dtype)
        positive = (q * k).sum(dim=1) / temperature
        negative = removed_logits(q @ queue.T / temperature, keep, mask_mode).logsumexp(dim=2)
        return (torch.logaddexp(positive, negative) - positive).mean(dim=1)


def prototype_contrast(
    q: Tensor,
    centroids: Tensor,
    *,
    density: Tensor,
    assigned: Tensor,
    negatives: Tensor,
    keep: Tensor | None = None,
    mask_mode: MaskMode = "zero",
) -> Tensor:
    """Tell the own prototype from the other prototypes of a level (HCSC, prototype-wise).

        mean_i - log( exp(q_i.c_{a_i} / phi_{a_i}) / sum_{j = a_i, negatives} exp(m_ij q_i.c_j / phi_j) )

    Args:
        q: (N, D) queries, unit rows; they learn.
        centroids: (M, D) prototypes, unit rows.
        density: (M,) temperatures phi.
        assigned: (N,) prototypes a of the queries.
        negatives: (M,) bool: candidates, the same for all queries; the own prototype is none.
        keep: (N, M) bool masks m of the selection; `None` keeps all.
        mask_mode: See `removed_logits`.

    Returns:
        Scalar, float32 at least.
    """
    dtype = torch.promote_types(q.dtype, torch.float32)
    with torch.autocast(q.device.type, enabled=False):
        logits = q.to(dtype) @ (centroids.to(dtype) / density.to(dtype)[:, None]).T
        positive = logits.gather(1, assigned[:, None])[:, 0]
        if keep is not None:
            logits = removed_logits(logits, keep, mask_mode)
        negative = logits.masked_fill(~negatives, -torch.inf).logsumexp(dim=1)
        return (torch.logaddexp(positive, negative) - positive).mean()


def shared_prototype_contrast(
    q: Tensor,
    centroids: Tensor,
    *,
    density: Tensor,
    assigned: Tensor,
    negatives: Tensor,
) -> Tensor:
    """Tell the own prototype from those of the other images of the batch and from sampled ones (PCL).

    The columns are the prototypes of the N images, duplicates included, and the R negatives; row i belongs to
    column i. Two images of one prototype are thus each other's negatives, as in the released code.

    Args:
        q: (N, D) queries, unit rows; they learn.
        centroids: (M, D) prototypes, unit rows.
        density: (M,) temperatures phi.
        assigned: (N,) prototypes of the queries.
        negatives: (R,) int64 sampled prototypes.

    Returns:
        Scalar, float32 at least.
    """
    columns = torch.cat([assigned, negatives])
    dtype = torch.promote_types(q.dtype, torch.float32)
    with torch.autocast(q.device.type, enabled=False):
        chosen = centroids[columns].to(dtype) / density[columns, None].to(dtype)
        target = torch.arange(len(q), device=q.device)
        return F.cross_entropy(q.to(dtype) @ chosen.T, target)
