"""Losses against a bank with a feature of every training image.

Unsupervised Feature Learning via Non-Parametric Instance Discrimination (NPID), 2018, arXiv 1805.01978,
sections 3.1 and 3.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_COLUMNS = 2048


def instance_cross_entropy(products: Tensor, target: Tensor, *, temperature: float) -> Tensor:
    """Cross-entropy of picking the own row of the bank.

    Args:
        products: (N, K) inner products of features and rows of the bank.
        target: (N,) columns of the own rows.
        temperature: Divides the products.

    Returns:
        Scalar.
    """
    return F.cross_entropy(products / temperature, target)


def noise_contrastive(
    products: Tensor, *, num_samples: int, normalizer: Tensor, temperature: float, eps: float = 1e-7
) -> Tensor:
    """Noise-contrastive estimation: is a row the image's own, or drawn from n images at random?

        P = exp(product / t) / Z,   q = K / n
        -1/N sum_i [ log(P_i0 / (P_i0 + q + eps)) + sum_k log(q / (P_ik + q + eps)) ]

    Args:
        products: (N, 1 + K), the own row first.
        num_samples: n, images of the training set.
        normalizer: Z, a constant.
        temperature: t.
        eps: Of the released code.

    Returns:
        Scalar.
    """
    probability = (products / temperature).exp() / normalizer
    noise = (products.shape[1] - 1) / num_samples
    own, others = probability[:, :1], probability[:, 1:]
    right = (own / (own + noise + eps)).log()
    wrong = (noise / (others + noise + eps)).log()
    return -(right.sum() + wrong.sum()) / len(products)


def bank_products(features: Tensor, bank: Tensor, rows: Tensor | None) -> Tensor:
    """Inner products of features (N, D) with the rows (N, K) of a bank (n, D), or with all of it; (N, K).

    A few thousand columns at a time: the (N, K, D) rows, a gigabyte at the published size, are never held.
    """
    if rows is None:
        return features @ bank.T
    parts = [
        torch.bmm(bank[columns], features[:, :, None])[:, :, 0]
        for columns in rows.split(_COLUMNS, dim=1)
    ]
    return torch.cat(parts, dim=1)


class _BankLoss(torch.autograd.Function):
    """A criterion on products with a bank; the gradient is made at once, for the bank changes after it."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        bank: Tensor,
        rows: Tensor | None,
        criterion: Callable[[Tensor], Tensor],
    ) -> Tensor:
        products = bank_products(features, bank, rows)
        with torch.enable_grad():
            leaf = products.requires_grad_()
            loss = criterion(leaf)
            (slope,) = torch.autograd.grad(loss, leaf)
        if rows is None:
            gradient = slope @ bank
        else:
            gradient = torch.zeros_like(features)
            columns = zip(rows.split(_COLUMNS, dim=1), slope.split(_COLUMNS, dim=1), strict=True)
            for column, weight in columns:
                gradient += torch.bmm(weight[:, None], bank[column])[:, 0]
        ctx.save_for_backward(gradient)
        return loss.detach()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return upstream * gradient, None, None, None


def bank_loss(
    features: Tensor, bank: Tensor, rows: Tensor | None, criterion: Callable[[Tensor], Tensor]
) -> Tensor:
    """A criterion on the products of features with rows of a bank, in float32 at least.

    The bank may be written to before the backward pass: nothing of it is read then.

    Args:
        features: (N, D) unit rows; they learn.
        bank: (n, D).
        rows: (N, K) int64 rows of the bank for each feature; `None` for all.
        criterion: Maps (N, K) products to a scalar.

    Returns:
        Scalar.

    Example:
        >>> from functools import partial
        >>> bank = torch.eye(3)
        >>> own = partial(instance_cross_entropy, target=torch.tensor([0]), temperature=1.0)
        >>> bank_loss(bank[:1], bank, None, own)  # log((e + 2) / e)
        tensor(0.5514)
    """
    dtype = torch.promote_types(features.dtype, torch.float32)
    with torch.autocast(features.device.type, enabled=False):
        return _BankLoss.apply(features.to(dtype), bank.to(dtype), rows, criterion)
