"""Label-free measures of the quality of features, and of their collapse.

| measure | healthy | collapsed | source |
|---|---|---|---|
| `feature_std` | about 1 / sqrt(D) | 0 | SimSiam (arXiv 2011.10566), section 4.1 |
| `effective_rank` | up to min(N, D) | near 1 | RankMe (arXiv 2210.02885), equation 1 |
| `alpha_req` | near 1 | far above 1 | alpha-ReQ (NeurIPS 2022); toolbox BARL-SSL/reptrix |
| `lidar` | up to the number of images | near 1 | LiDAR (arXiv 2312.04000) |
| `alignment` | low | 0 | arXiv 2005.10242; ssnl/align_uniform |
| `uniformity` | about -3.5 to -4 | 0 | arXiv 2005.10242; ssnl/align_uniform |

Ranks compare runs of one method on the same images only, and need more images than dimensions.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


def _check(features: Tensor, rows: int) -> Tensor:
    if features.ndim != 2 or len(features) < rows:
        raise ValueError(
            f"Expected features (N, D) with N >= {rows}, got shape {tuple(features.shape)}."
        )
    return features.float() if features.dtype in (torch.float16, torch.bfloat16) else features


def _exp_entropy(weights: Tensor, eps: float) -> float:
    shares = weights / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny) + eps
    return torch.exp(-(shares * shares.log()).sum()).item()


def feature_std(features: Tensor) -> float:
    """Mean over channels of the unbiased standard deviation of the L2-normalised features.

    1 / sqrt(D) when the features cover the sphere evenly, 0 when all images look the same.

    Args:
        features: (N, D), N >= 2.

    Raises:
        ValueError: Not (N, D), or fewer than two rows.

    Example:
        >>> feature_std(torch.ones(4, 3))
        0.0
    """
    return F.normalize(_check(features, 2), dim=1).std(dim=0).mean().item()


def effective_rank(
    features: Tensor,
    *,
    spectrum: Literal["singular", "variance"] = "singular",
    center: bool = False,
    eps: float = 1e-7,
) -> float:
    """Exponential of the entropy of the normalised spectrum (RankMe).

    p_k = s_k / sum(s) + eps,  rank = exp(-sum_k p_k log p_k)

    Args:
        features: (N, D), N >= 1; neither centred nor normalised by the paper.
        spectrum: `singular` takes singular values s (the paper), `variance` their squares.
        center: Subtract the mean first; together with `variance` this is what public toolboxes
            compute under the same name.
        eps: Added to each share.

    Returns:
        A number between 1 and min(N, D).

    Raises:
        ValueError: Not (N, D), empty, or an unknown `spectrum`.

    Example:
        >>> round(effective_rank(torch.eye(5)), 3)
        5.0
    """
    if spectrum not in ("singular", "variance"):
        raise ValueError(f"spectrum must be 'singular' or 'variance', got {spectrum!r}.")
    features = _check(features, 1)
    if center:
        features = features - features.mean(dim=0)
    values = torch.linalg.svdvals(features)
    return _exp_entropy(values if spectrum == "singular" else values.square(), eps)


def alpha_req(features: Tensor, *, first_rank: int = 11, last_rank: int = 100) -> float:
    """Decay exponent of the eigenvalues of the centred covariance: lambda_i ~ i ** -alpha.

    Least squares of log lambda on -log rank with weights 1 / rank, over the ranks `first_rank` to
    min(`last_rank`, N, D); range and weights are the toolbox's. Unreliable when fewer eigenvalues
    than that differ from zero.

    Args:
        features: (N, D).
        first_rank: First rank of the fit, counted from 1.
        last_rank: Last rank of the fit.

    Raises:
        ValueError: min(N, D) leaves fewer than two ranks to fit.
    """
    features = _check(features, 2).double()
    centred = features - features.mean(dim=0)
    eigenvalues = torch.linalg.svdvals(centred).square() / len(features)
    last_rank = min(last_rank, len(eigenvalues))
    if last_rank - first_rank < 1:
        raise ValueError(
            f"alpha-ReQ fits ranks {first_rank} to {last_rank}, which needs more images and "
            f"dimensions than the given {tuple(features.shape)}."
        )
    ranks = torch.arange(first_rank, last_rank + 1, dtype=torch.double, device=features.device)
    x = -ranks.log()
    y = eigenvalues[first_rank - 1 : last_rank].clamp_min(torch.finfo(torch.double).tiny).log()
    weight = (1 / ranks) / (1 / ranks).sum()
    dx, dy = x - (weight * x).sum(), y - (weight * y).sum()
    return ((weight * dx * dy).sum() / (weight * dx * dx).sum()).item()


def lidar(embeddings: Tensor, *, delta: float = 1e-4, eps: float = 1e-7) -> float:
    """Effective rank of the linear discriminant analysis between images, over augmented views.

    With m_i the mean over the views of image i: S_b = covariance of m_i, S_w = mean within-image
    covariance + delta * I, lambda = eigenvalues of S_w^-1/2 S_b S_w^-1/2, entropy rank as in RankMe.

    Args:
        embeddings: (N, Q, D) of Q >= 2 views of N images, augmented as in training.
        delta: Ridge of the within-image covariance.
        eps: Added to each share of the spectrum.

    Raises:
        ValueError: Not (N, Q, D) with N >= 2 and Q >= 2.
    """
    if embeddings.ndim != 3 or min(embeddings.shape[:2]) < 2:
        raise ValueError(
            f"Expected embeddings (N, Q, D) with N, Q >= 2, got shape {tuple(embeddings.shape)}."
        )
    embeddings = embeddings.double()
    images, views, dim = embeddings.shape
    means = embeddings.mean(dim=1)
    between = means - means.mean(dim=0)
    within = (embeddings - means[:, None]).reshape(-1, dim)
    s_b = between.T @ between / images
    s_w = within.T @ within / (images * views)
    s_w += delta * torch.eye(dim, dtype=s_w.dtype, device=s_w.device)
    values, vectors = torch.linalg.eigh(s_w)
    whiten = vectors * values.rsqrt() @ vectors.T
    spectrum = torch.linalg.eigvalsh(whiten @ s_b @ whiten).clamp_min(0)
    return _exp_entropy(spectrum, eps)


def alignment(features: Tensor, others: Tensor, *, alpha: float = 2.0) -> float:
    """Mean distance, to the power `alpha`, between the L2-normalised features of positive pairs.

    Args:
        features: (N, D) of one view.
        others: (N, D) of the other view of the same images.
        alpha: Exponent of the distance.

    Raises:
        ValueError: The shapes differ.

    Example:
        >>> alignment(torch.eye(2), torch.eye(2))
        0.0
    """
    if features.shape != others.shape:
        raise ValueError(
            f"Positive pairs need equal shapes, got {tuple(features.shape)} and "
            f"{tuple(others.shape)}."
        )
    difference = F.normalize(_check(features, 1), dim=1) - F.normalize(_check(others, 1), dim=1)
    return difference.norm(dim=1).pow(alpha).mean().item()


def uniformity(features: Tensor, *, temperature: float = 2.0, chunk: int = 2048) -> float:
    """log of the mean over pairs i < j of exp(-temperature * |x_i - x_j|^2), x L2-normalised.

    Args:
        features: (N, D), N >= 2.
        temperature: t of the paper.
        chunk: Rows whose distances exist at a time.

    Raises:
        ValueError: Not (N, D), or fewer than two rows.
    """
    unit = F.normalize(_check(features, 2), dim=1)
    count, total = len(unit), 0.0
    for start in range(0, count, chunk):
        rows = unit[start : start + chunk]
        squared = (2 - 2 * rows @ unit[start:].T).clamp_min(0)
        total += (-temperature * squared).exp().double().triu(diagonal=1).sum().item()
    return math.log(total / (count * (count - 1) / 2))
